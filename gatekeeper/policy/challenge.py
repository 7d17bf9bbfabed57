"""Which tickets are worth nothing yet, because the room's challenge has to be solved first.

Rules. Pure. A newcomer of a room with a challenge gets a ticket that is not confirmed. It keeps the
turn, costs no store call, and is never renewed: so nobody can keep a second ticket of a place alive
that was used up meanwhile. Solved, it is the same ticket, confirmed, with the same issue and
expiry; the store decides on everything else, as for every other ticket. Tickets that are confirmed
are never challenged, so visitors in line keep their places when an operator switches it on.

Without script nobody can solve it. With `challenge_noscript = "wait"` a ticket that is returned
`NOSCRIPT_WAIT_S` after its issue counts as confirmed. Any client may wait that long instead of
solving it: the gate cannot know which of them have script.
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
    """Whether the holder of the ticket has yet to solve the room's challenge."""
    if ticket.confirmed or rules.challenge == "off":
        return False
    return rules.challenge_noscript == "refuse" or now_s < ticket.issued_at_s + NOSCRIPT_WAIT_S
