"""Reading and forging tokens; the gate's own parser must reject every forgery."""

from dataclasses import replace
from itertools import islice

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Tokens, VisitorId
from gatekeeper.simulate.token_claims import PASS, TICKET, Claims, claims_of, forgeries

ROOM = RoomName("default")
NOW_S = 1_000.0
TOKENS = Tokens(Keyring([b"a secret of the tests, longer than 32 bytes"]), ROOM)
MINE = Ticket(ROOM, VisitorId("a" * 22), 2_000_000_000, NOW_S, NOW_S + 600)
OTHERS = replace(MINE, visitor=VisitorId("b" * 22), arrival_us=1_000_000_000)
FORGERIES = 7


def test_claims_of_ticket_are_read_without_key() -> None:
    assert claims_of(TOKENS.mint(MINE)) == Claims(
        TICKET, MINE.visitor, MINE.arrival_us, MINE.arrival_us
    )


def test_claims_of_moved_ticket_have_its_turn() -> None:
    claims = claims_of(TOKENS.mint(replace(MINE, own_turn_us=MINE.arrival_us + 7)))

    assert claims == Claims(TICKET, MINE.visitor, MINE.arrival_us, MINE.arrival_us + 7)


def test_claims_of_pass_have_kind_pass() -> None:
    token = Pass(ROOM, MINE.visitor, MINE.arrival_us, NOW_S, NOW_S + 60, NOW_S + 600)
    claims = claims_of(TOKENS.mint(token))

    assert claims is not None
    assert claims.kind == PASS


@pytest.mark.parametrize("raw", ["", "a.b", "a.b.c", "....", "e30.e30.", "W10.W10.x", "é.é.é"])
def test_claims_of_invalid_text_are_none(raw: str) -> None:
    assert claims_of(raw) is None


def test_forgeries_are_all_different() -> None:
    mine, others = TOKENS.mint(MINE), TOKENS.mint(OTHERS)
    forged_tokens = list(islice(forgeries(mine, others), FORGERIES))

    assert len({mine, others, *forged_tokens}) == FORGERIES + 2


def test_forgeries_include_earlier_arrival_and_pass() -> None:
    forged_tokens = islice(forgeries(TOKENS.mint(MINE), TOKENS.mint(OTHERS)), FORGERIES)
    claims = [found for forged in forged_tokens if (found := claims_of(forged)) is not None]

    assert any(each.arrival_us < MINE.arrival_us for each in claims)
    assert any(each.kind == PASS for each in claims)


def test_forgeries_are_all_rejected_by_the_gate() -> None:
    mine, others = TOKENS.mint(MINE), TOKENS.mint(OTHERS)

    assert TOKENS.read(mine, now_s=NOW_S) == MINE
    for forged in islice(forgeries(mine, others), FORGERIES):
        assert TOKENS.read(forged, now_s=NOW_S) is None
