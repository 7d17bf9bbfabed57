"""A store that lost everything, and what may not fall with it."""

from gatekeeper.room.state import RoomState
from tests.contract.grounds import (
    Ground,
)

WINDOW_S = 40  # beyond the recovery window of these rooms: 30 s of longest refresh and a quarter
TOTALS = (
    "watermark_us",
    "last_arrival_us",
    "arrived_total",
    "released_total",
    "admitted_total",
    "abandoned_total",
)


async def lose_everything(ground: Ground) -> None:
    """From now on the store knows nothing, and the replicas what they knew."""
    await ground.write({})
    await ground.pass_time(1)


def fell(before: RoomState, after: RoomState) -> list[str]:
    return [name for name in TOTALS if getattr(after, name) < getattr(before, name)]
