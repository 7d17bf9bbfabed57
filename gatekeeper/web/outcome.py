"""The outcome of a request in a room: it is forwarded, waits, or is denied.

Rules: plain values. An exit matches all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatekeeper.policy.decision import QueuePosition, WaitWithoutPlace
from gatekeeper.policy.tokens import Pass, Ticket
from gatekeeper.record import record


@record
class Admit:
    """Forward the request. `pass_` is None outside of rooms, and for a request that creates no
    place and takes one admission; `changed`: the visitor does not hold this pass yet; `may_wait`:
    it can be sent with a later response."""

    pass_: Pass | None
    changed: bool
    may_wait: bool = False


@record
class Wait:
    """In line. `position` is None while it is unknown; `is_new`: the visitor has not returned the
    ticket yet. An unconfirmed ticket is not in line yet: the challenge has to be solved."""

    ticket: Ticket
    position: QueuePosition | None
    changed: bool
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused with `status`; an unknown case is denied too."""

    reason: str
    status: int = 403


Outcome = Admit | Wait | WaitWithoutPlace | Deny

# A request without a valid token creates a place, takes one admission if there is room (else it
# waits without a place), or is denied.
Newcomers = Literal["queued", "once", "denied"]
