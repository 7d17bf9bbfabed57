"""What a replica asks the store to move a place to another device, and the reply."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId

# `used`: the place became another device's since the code was made, or may have, as the store has
# lost data since then. `claimed`: the visitor entered. `void`: they left, were revoked, or have
# spent the ticket.
MoveRefused = Literal["used", "claimed", "void"]


class Move(NamedTuple):
    """The place is the new device's since that moment of the store's clock."""

    moved_us: int


MoveResult = Move | MoveRefused


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
    """What `move` replied. Raises StoreError for any other reply."""
    text = reply.decode() if isinstance(reply, bytes) else ""
    word, _, moved_us = text.partition(" ")
    if word == "moved" and moved_us.isdecimal():
        return Move(int(moved_us))
    for result in get_args(MoveRefused):
        if text == result:
            found: MoveRefused = result
            return found
    raise StoreError("unexpected reply from the store")
