"""Tickets that are unconfirmed because the room's challenge has to be solved first.

Rules. Pure. A newcomer of a room with a challenge gets a ticket that is not confirmed. It keeps the
turn, costs no store call, and is never renewed: so a second ticket of a place that was spent
meanwhile cannot be kept alive. Once solved, it is the same ticket, confirmed, with the same issue
and expiry; the store decides everything else, as for every other ticket. Tickets that are confirmed
are never challenged, so visitors in line keep their places when an operator switches it on.

Without script the challenge cannot be solved. With `challenge_noscript = "wait"` a ticket that is
returned `NOSCRIPT_WAIT_S` after its issue counts as confirmed. Any client may wait that long
instead of solving it: the gate cannot know whether it has script.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Ticket

NOSCRIPT_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class WaitForChallenge:
    """A decision: the visitor waits with the turn until the challenge is solved."""

    ticket: Ticket


def is_unsolved(ticket: Ticket, *, rules: Rules, now_s: float) -> bool:
    """Whether the holder of the ticket has not solved the room's challenge yet."""
    if ticket.confirmed or rules.challenge == "off":
        return False
    return rules.challenge_noscript == "refuse" or now_s < ticket.issued_at_s + NOSCRIPT_WAIT_S
