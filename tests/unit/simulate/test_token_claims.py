"""Tokens as the crowd reads and forges them, with the gate's own reader as the judge of lies."""

from itertools import islice

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Tokens, VisitorId
from gatekeeper.simulate.token_claims import PASS, TICKET, Claims, claims_of, forgeries

ROOM = RoomName("default")
NOW_S = 1_000.0
TOKENS = Tokens(Keyring([b"a secret of the tests, longer than 32 bytes"]), ROOM)
MINE = Ticket(ROOM, VisitorId("a" * 22), 2_000_000_000, NOW_S, NOW_S + 600)
OTHERS = MINE._replace(visitor=VisitorId("b" * 22), arrival_us=1_000_000_000)
EACH_LIE = 7


def test_the_claims_of_a_ticket_are_read_without_the_key() -> None:
    assert claims_of(TOKENS.mint(MINE)) == Claims(TICKET, MINE.visitor, MINE.arrival_us)


def test_a_pass_is_told_from_a_ticket() -> None:
    token = Pass(ROOM, MINE.visitor, MINE.arrival_us, NOW_S, NOW_S + 60, NOW_S + 600)
    claims = claims_of(TOKENS.mint(token))

    assert claims is not None
    assert claims.kind == PASS


@pytest.mark.parametrize("raw", ["", "a.b", "a.b.c", "....", "e30.e30.", "W10.W10.x", "é.é.é"])
def test_what_is_no_token_has_no_claims(raw: str) -> None:
    assert claims_of(raw) is None


def test_every_lie_differs_from_the_truth_and_from_the_others() -> None:
    mine, others = TOKENS.mint(MINE), TOKENS.mint(OTHERS)
    lies = list(islice(forgeries(mine, others), EACH_LIE))

    assert len({mine, others, *lies}) == EACH_LIE + 2


def test_some_lies_claim_an_earlier_arrival_and_some_a_pass() -> None:
    lies = islice(forgeries(TOKENS.mint(MINE), TOKENS.mint(OTHERS)), EACH_LIE)
    claims = [found for lie in lies if (found := claims_of(lie)) is not None]

    assert any(each.arrival_us < MINE.arrival_us for each in claims)
    assert any(each.kind == PASS for each in claims)


def test_the_gate_believes_none_of_them() -> None:
    mine, others = TOKENS.mint(MINE), TOKENS.mint(OTHERS)

    assert TOKENS.read(mine, now_s=NOW_S) == MINE
    for lie in islice(forgeries(mine, others), EACH_LIE):
        assert TOKENS.read(lie, now_s=NOW_S) is None
