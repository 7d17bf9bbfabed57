"""A store that lost everything, and the totals that must not decrease."""

from gatekeeper.room.state import RoomState
from tests.contract.grounds import (
    Ground,
)

WINDOW_S = 40  # more than the recovery window of these rooms: 1.25 times the longest refresh, 30 s
TOTALS = (
    "watermark_us",
    "last_arrival_us",
    "arrived_total",
    "released_total",
    "admitted_total",
    "abandoned_total",
)


async def lose_everything(ground: Ground) -> None:
    """The store loses everything; the replicas keep what they know."""
    await ground.write({})
    await ground.pass_time(1)


def fell(before: RoomState, after: RoomState) -> list[str]:
    return [name for name in TOTALS if getattr(after, name) < getattr(before, name)]
