"""A room's state and a ticket, for tests of what is made of them."""

from dataclasses import replace

from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import Mode
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.state import RoomState

_STATE = RoomState(
    epoch=1,
    version=1,
    mode=Mode.AUTO,
    rate_per_minute=500.0,
    message="",
    watermark_us=0,
    last_arrival_us=0,
    pending_grants=0,
    arrived_total=0,
    released_total=0,
    admitted_total=0,
    abandoned_total=0,
    recovering_until_us=0,
    revocations=0,
    queue_length=2000,
    active=3,
    expected=0,
    replicas=1,
    now_us=0,
)

TICKET = Ticket(
    RoomName("default"),
    VisitorId("v" * 22),
    arrival_us=10**15,
    issued_at_s=2e9,
    expires_at_s=3e9,
)


def state(mode: Mode, *, rate: float = 500.0, active: int = 3, message: str = "") -> RoomState:
    return replace(_STATE, mode=mode, rate_per_minute=rate, active=active, message=message)
