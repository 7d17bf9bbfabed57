"""The cost of a long field: a list is read up to a bound, and a member at most by its length."""

from collections.abc import Callable

import pytest

from gatekeeper.pages.languages import preferred
from gatekeeper.policy.facts import Client, RequestFacts, members_of
from gatekeeper.policy.fetch_metadata import creates_place
from tests.work import calls_of

LONGEST = 16_000  # of one field
PIECES = [",", "a,", "q=,", "a;q=1,", "de-", "d-", "-", ";", " ", "text/html,", "x-y-z;q=0.5,"]


def facts(value: str) -> RequestFacts:
    return RequestFacts(
        Client("192.0.2.1", "https", "shop.example"),
        "GET",
        "/",
        accept=value,
        accept_encoding=value,
        fields=lambda _: [value],
    )


READERS: dict[str, Callable[[str], object]] = {
    "language": preferred,
    "html": lambda value: facts(value).accepts_html,
    "gzip": lambda value: facts(value).accepts_gzip,
    "place": lambda value: creates_place(facts(value)),
}


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("reader", READERS)
def test_long_field_costs_little(reader: str, piece: str) -> None:
    assert {preferred(code).code for code in ("de", "en")} == {"de", "en"}  # read once for all
    value = (piece * LONGEST)[:LONGEST]
    assert calls_of(lambda: READERS[reader](value)) < 5000


def test_language_of_many_subtags_is_looked_up() -> None:
    assert preferred("de-" + "x-" * 8000).code == "de"
    assert preferred("zh-Hant-" + "a" * 8000).code == "zh-Hant"
    assert preferred("x" * 8000 + ", fr").code == "fr"


def test_members_are_read_up_to_a_bound() -> None:
    assert members_of("a, b") == ["a", " b"]
    assert members_of("") == [""]
    assert len(members_of("," * LONGEST)) == 100
    assert facts("text/plain," * 50 + "text/html").accepts_html
