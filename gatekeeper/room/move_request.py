"""What a replica asks the store to move a place to another device, and the reply."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId

# `used`: the place became another device's since the code was made. `claimed`: the visitor entered.
# `void`: they left, were revoked, or have spent the ticket.
MoveResult = Literal["moved", "used", "claimed", "void"]


class MoveRequest(NamedTuple):
    """The move of a place to the device `to`, by a code that was made on the device `made_on`."""

    visitor: VisitorId
    made_on: str | None
    to: str

    def arguments(self, rules: Rules) -> tuple[str, str, str, str]:
        """The request as the script reads it."""
        ticket_us = round(rules.longest_ticket_life_s * 1_000_000)
        return str(ticket_us), self.visitor, self.made_on or "", self.to


def move_result_of(reply: bytes | int) -> MoveResult:
    """What `move` replied."""
    for result in get_args(MoveResult):
        if isinstance(reply, bytes) and reply.decode() == result:
            found: MoveResult = result
            return found
    raise StoreError("unexpected reply from the store")
