"""The request that moves a place to another device, and the store's reply."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId

# `used`: the place was moved to another device since the code was made, or may have been, as the
# store has lost data since then. `claimed`: the visitor entered. `void`: they left, were revoked,
# or have spent the ticket.
MoveConflict = Literal["used", "claimed", "void"]


class Move(NamedTuple):
    """The place belongs to the new device since that time of the store's clock."""

    moved_us: int


MoveResult = Move | MoveConflict


class MoveRequest(NamedTuple):
    """The move of a place to the device `to`, by a code that was made on the device `made_on`."""

    visitor: VisitorId
    made_on: str | None
    to: str
    made_us: int

    def arguments(self, rules: Rules) -> tuple[str, ...]:
        """The request as the script reads it."""
        ticket_us = round(rules.longest_ticket_life_s * 1_000_000)
        return str(ticket_us), self.visitor, self.made_on or "", self.to, str(self.made_us)


def move_result_of(reply: bytes | int) -> MoveResult:
    """Parse the reply of `move`. Raises StoreError for an unexpected reply."""
    text = reply.decode() if isinstance(reply, bytes) else ""
    word, _, moved_us = text.partition(" ")
    if word == "moved" and moved_us.isdecimal():
        return Move(int(moved_us))
    for result in get_args(MoveConflict):
        if text == result:
            found: MoveConflict = result
            return found
    raise StoreError("unexpected reply from the store")
