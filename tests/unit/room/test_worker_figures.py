"""Published figures are read unchanged, or refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.room.worker_figures import Figures, RequestCounts, parse_figures

COUNTS = st.integers(0, 2**53 - 1)
BUCKETS = st.lists(COUNTS, max_size=30).map(tuple)
SERVED = st.builds(
    RequestCounts,
    forwarded=st.integers(1, 2**53 - 1),  # a room without figures is not sent
    waiting=COUNTS,
    failures=st.dictionaries(st.sampled_from(["500", "timeout", "other"]), COUNTS),
    origin=BUCKETS,
    waits=BUCKETS,
    lanes=st.dictionaries(st.sampled_from(["members", "friends"]), BUCKETS),
)
FIGURES = st.builds(
    Figures,
    replica=st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True),
    heartbeat_s=st.floats(0, 2**52),
    connections=COUNTS,
    rooms=st.dictionaries(st.sampled_from(["", "default", "sale"]), SERVED),
    store_up=st.booleans(),
    events_up=st.booleans(),
    ended=st.booleans(),
)
SALE = RequestCounts(2, 3, {"502": 6}, (7, 8), (9, 10))
ONE = Figures("one", 1.5, 1, {"sale": SALE}, True, False)


def in_the_sale(**change: object) -> dict[str, object]:
    return {"rooms": {"sale": json.loads(ONE.to_json())["rooms"]["sale"] | change}}


@given(FIGURES)
def test_figures_round_trip(figures: Figures) -> None:
    assert parse_figures(figures.to_json()) == figures


@given(FIGURES)
def test_counts_of_all_rooms_are_the_sums(figures: Figures) -> None:
    every = figures.served()
    assert every.forwarded == sum(each.forwarded for each in figures.rooms.values())
    causes = [cause for each in figures.rooms.values() for cause in each.failures]
    assert every.failures.keys() == set(causes)
    assert sum(every.waits) == sum(sum(each.waits) for each in figures.rooms.values())


@given(FIGURES)
def test_waits_of_lanes_are_added_by_lane(figures: Figures) -> None:
    every = figures.served().lanes
    for lane in ("members", "friends"):
        expected = sum(sum(each.lanes.get(lane, ())) for each in figures.rooms.values())
        assert sum(every.get(lane, ())) == expected


def test_idle_room_is_left_out() -> None:
    idle = replace(ONE, rooms={"sale": SALE, "idle": RequestCounts()})
    assert parse_figures(idle.to_json()) == ONE
    assert ONE.served("idle") == RequestCounts()


def test_unknown_field_is_ignored() -> None:
    assert parse_figures(json.dumps(json.loads(ONE.to_json()) | {"new": [1]}).encode()) == ONE


@pytest.mark.parametrize(
    "change",
    [
        {"replica": ""},
        {"replica": "x" * 201},
        {"replica": "two\nlines"},
        {"replica": 3},
        {"heartbeat_s": -1},
        {"heartbeat_s": "now"},
        {"connections": 1.5},
        {"connections": True},
        {"connections": 2**53},
        {"rooms": []},
        {"rooms": {"sale": 3}},
        {"rooms": {str(number): {} for number in range(1001)}},
        in_the_sale(forwarded=-1),
        in_the_sale(failures=[]),
        in_the_sale(failures={str(status): 1 for status in range(200)}),
        in_the_sale(origin={}),
        in_the_sale(origin=[0] * 101),
        in_the_sale(origin=[-1]),
        in_the_sale(waits=3),
    ],
    ids=str,
)
def test_malformed_figures_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_figures(json.dumps(json.loads(ONE.to_json()) | change).encode())


@pytest.mark.parametrize("missing", ["replica", "heartbeat_s", "rooms", "store_up"])
def test_missing_field_is_refused(missing: str) -> None:
    raw = json.loads(ONE.to_json())
    del raw[missing]
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        parse_figures(json.dumps(raw).encode())


ADDED_LATER = {"full", "lanes", "limited", "refused"}  # an earlier release does not send them


@pytest.mark.parametrize(
    "missing", [each for each in RequestCounts.__dataclass_fields__ if each not in ADDED_LATER]
)
def test_missing_field_of_a_room_is_refused(missing: str) -> None:
    raw = json.loads(ONE.to_json())
    del raw["rooms"]["sale"][missing]
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        parse_figures(json.dumps(raw).encode())


@given(st.binary(max_size=200))
def test_any_bytes_raise_only_value_errors(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_figures(data)
