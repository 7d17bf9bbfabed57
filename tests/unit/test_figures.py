"""What replicas tell each other they counted: it comes through as it was, or is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.room.figures import Figures, parse_figures

COUNTS = st.integers(0, 2**53 - 1)
FIGURES = st.builds(
    Figures,
    replica=st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True),
    beat_s=st.floats(0, 2**52),
    connections=COUNTS,
    forwarded=COUNTS,
    waiting=COUNTS,
    unreachable=COUNTS,
    timeouts=COUNTS,
    server_errors=st.dictionaries(st.sampled_from(["500", "502", "other"]), COUNTS),
    origin=st.lists(COUNTS, max_size=20).map(tuple),
    waits=st.dictionaries(
        st.sampled_from(["default", "sale"]),
        st.lists(st.integers(1, 9), min_size=1, max_size=30).map(tuple),
    ),
    store_up=st.booleans(),
    events_up=st.booleans(),
    ended=st.booleans(),
)
ONE = Figures("one", 1.5, 1, 2, 3, 4, 5, {"502": 6}, (7, 8), {"sale": (9, 10)}, True, False)


@given(FIGURES)
def test_figures_come_through_as_they_were(figures: Figures) -> None:
    assert parse_figures(figures.to_json()) == figures


def test_a_field_of_a_newer_release_is_left_alone() -> None:
    assert parse_figures(json.dumps(json.loads(ONE.to_json()) | {"new": [1]}).encode()) == ONE


@pytest.mark.parametrize(
    "change",
    [
        {"replica": ""},
        {"replica": "x" * 201},
        {"replica": "two\nlines"},
        {"replica": 3},
        {"beat_s": -1},
        {"beat_s": "now"},
        {"forwarded": 1.5},
        {"forwarded": True},
        {"forwarded": 2**53},
        {"server_errors": []},
        {"server_errors": {str(status): 1 for status in range(200)}},
        {"origin": {}},
        {"origin": [0] * 101},
        {"origin": [-1]},
        {"waits": {"sale": 3}},
    ],
    ids=str,
)
def test_what_is_none_of_ours_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_figures(json.dumps(json.loads(ONE.to_json()) | change).encode())


@pytest.mark.parametrize("missing", ["replica", "beat_s", "origin", "waits", "store_up"])
def test_what_lacks_a_field_is_refused(missing: str) -> None:
    raw = json.loads(ONE.to_json())
    del raw[missing]
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        parse_figures(json.dumps(raw).encode())


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise_anything_else(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_figures(data)
