"""References: derived from the visitor id, and read in the ways that people write them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.policy.reference import parse_reference, reference_of
from gatekeeper.policy.tokens import VisitorId

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
visitors = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=22, max_size=22
).map(VisitorId)


@given(visitors)
def test_reference_is_forty_bits_of_the_hash(visitor: VisitorId) -> None:
    digest = hashlib.sha256(f"reference|{visitor}".encode()).hexdigest()
    number = 0
    for character in reference_of(visitor).replace("-", ""):
        number = number * 32 + ALPHABET.index(character)
    assert f"{number:010x}" == digest[:10]


@given(visitors)
def test_reference_has_one_shape(visitor: VisitorId) -> None:
    reference = reference_of(visitor)
    assert len(reference) == 9
    assert reference[4] == "-"
    assert parse_reference(reference) == reference


def test_reference_of_a_known_visitor() -> None:
    """It never changes, since support keeps earlier references."""
    assert reference_of(VisitorId("AAAAAAAAAAAAAAAAAAAAAA")) == "X8ZV-898K"


def test_visitors_have_references_of_their_own() -> None:
    visitors = [VisitorId(f"{number:022}") for number in range(1000)]
    assert len({reference_of(visitor) for visitor in visitors}) == 1000


@pytest.mark.parametrize(
    "text", ["01O1-ILZ9", "0101-11Z9", "0101 11z9", "o1oiliz9", " 0101-11Z9 ", "01-01-11-Z9"]
)
def test_reference_is_read_as_people_spell_it(text: str) -> None:
    assert parse_reference(text) == "0101-11Z9"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "0101-11Z",
        "0101-11Z99",
        "0101-11ZU",
        "0101-11Z*",
        "0101\n11Z9",
        "\u0660101-11Z9",
        "0" * 1000,
        "-" * 30 + "0101-11Z9",
        "AAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_other_text_is_no_reference(text: str) -> None:
    assert parse_reference(text) is None
