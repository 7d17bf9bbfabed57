"""The turn of a token, and which turns a watermark has released."""

from dataclasses import replace

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.ordering import ARRIVAL_ORDER, PROVISIONAL_US, is_released, turn_of
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId

TICKET = Ticket(RoomName("default"), VisitorId("A" * 22), 1_000, 1.0, 2.0)
PASS = Pass(RoomName("default"), VisitorId("A" * 22), 1_000, 1.0, 2.0, 3.0)


class DrawnOrder:
    """An example of another strategy: the turn depends on the visitor, not on the arrival."""

    def turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:  # noqa: ARG002
        return ord(visitor[0])

    def drawn_turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:  # noqa: ARG002
        return 12


@pytest.mark.parametrize("token", [TICKET, PASS])
def test_turn_in_order_of_arrival_is_the_arrival(token: Token) -> None:
    assert turn_of(token, ARRIVAL_ORDER) == 1_000


@pytest.mark.parametrize("token", [TICKET, PASS])
@pytest.mark.parametrize("own_turn_us", [0, 7, PROVISIONAL_US - 1])
def test_turn_of_a_token_that_names_one_is_that(token: Token, own_turn_us: int) -> None:
    named = replace(token, own_turn_us=own_turn_us)
    assert turn_of(named, ARRIVAL_ORDER) == turn_of(named, DrawnOrder()) == own_turn_us


@pytest.mark.parametrize("token", [TICKET, PASS])
def test_provisional_turn_is_worth_the_drawn_one(token: Token) -> None:
    named = replace(token, own_turn_us=PROVISIONAL_US + token.arrival_us)
    assert turn_of(named, ARRIVAL_ORDER) == 1_000
    assert turn_of(named, DrawnOrder()) == 12


def test_turn_of_another_order_follows_its_strategy() -> None:
    assert turn_of(TICKET, DrawnOrder()) == ord("A")


@pytest.mark.parametrize(("turn_us", "released"), [(6, True), (7, True), (8, False)])
def test_watermark_releases_the_turns_up_to_its_own(turn_us: int, *, released: bool) -> None:
    assert is_released(turn_us, 7) is released
