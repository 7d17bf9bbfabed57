"""The order of the queue.

Rules. A ticket has an arrival (when the visitor came) and a turn (their number in the queue). Both
are microseconds of the store's clock, below 2^53. "In line since", waits, the jitter of polls and
the age of a first ticket use the arrival. The queue, the watermark, returns, spent tickets and
recovery use the turn. First come, first served means that the two are equal; then the ticket does
not contain the turn.

A strategy is an `Ordering`: a pure function from a visitor and their arrival to a turn, the same on
every replica and at any time, so that a store that lost everything gets the queue back from the
tickets. `policy.event_order` is another one: for arrivals in the prequeue of a draw `turn = f(seed,
visitor id)`, and for others the arrival.

Before a draw a confirmed visitor's ticket names a provisional turn, PROVISIONAL_US plus the
arrival: from the draw on such a ticket has the drawn turn. One that was not returned before the
opening names none, and comes after all drawn turns: otherwise a client could collect many tickets
and choose the best.

Equal turns are ordered by visitor id (by its bytes, as in the store's ZSET). A watermark covers
every visitor of a turn or none of them: see `is_released` and `advance.lua`.
"""

from __future__ import annotations

from typing import Final, Protocol

from gatekeeper.policy.tokens import Ticket, Token, VisitorId

# In the prequeue of a draw the turn of a visitor is this plus the arrival: above every real turn,
# below 2^53. `_room.lua` has the same constant.
PROVISIONAL_US: Final = 4_000_000_000_000_000


class Ordering(Protocol):
    """The order of one room's queue."""

    def turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:
        """The turn of a visitor whose ticket names none; 0 ≤ turn < 2^53."""
        ...

    def drawn_turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:
        """The turn of a visitor whose ticket names a provisional one."""
        ...


class ArrivalOrder:
    """First come, first served."""

    def turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:  # noqa: ARG002
        return arrival_us

    def drawn_turn_us(
        self,
        visitor: VisitorId,  # noqa: ARG002
        arrival_us: int,
        lane: str = "",  # noqa: ARG002
    ) -> int:
        return arrival_us


ARRIVAL_ORDER: Final = ArrivalOrder()


def turn_of(token: Token, ordering: Ordering) -> int:
    """The turn of the token's holder: the one in the token, else the one by the ordering."""
    own_us = token.own_turn_us
    if own_us is None and ordering is ARRIVAL_ORDER:  # nearly every poll
        return token.arrival_us
    # The holder of a pass does not wait for a turn.
    lane = token.lane if isinstance(token, Ticket) else ""
    if own_us is None:
        return ordering.turn_us(token.visitor, token.arrival_us, lane)
    if own_us < PROVISIONAL_US:
        return own_us
    return ordering.drawn_turn_us(token.visitor, token.arrival_us, lane)


def is_released(turn_us: int, watermark_us: int) -> bool:
    """Whether every visitor of this turn who was in the queue has been released.

    A release may take only some of several visitors with equal turns. The watermark then stays one
    microsecond short of that turn until the last of them is released: until then the released ones
    can only learn it from the store.
    """
    return turn_us <= watermark_us
