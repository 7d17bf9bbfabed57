"""A reading of the admin listener, with the crowd's counts before and after it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.simulate.judge import RoomSample
from gatekeeper.simulate.room_monitor import RoomFigures


@dataclass(frozen=True, slots=True)
class SampleStart:
    """The certain counts when a reading of the admin listener began."""

    began_s: float
    direct: int
    gone: int
    left: int


def sample_of(
    figures: RoomFigures, start: SampleStart, *, now_s: float, direct: int, returned: int
) -> RoomSample:
    """The sample of a reading that has ended. `direct` are the admissions on arrival that are
    possible by now, `returned` likewise those that visitors gave back."""
    return RoomSample(
        began_s=start.began_s,
        ended_s=now_s,
        released_total=figures.released_total,
        returned_certain=figures.abandoned_total + start.left,
        returned_possible=figures.abandoned_total + returned,
        active=figures.active,
        max_active=figures.max_active,
        queue_length=figures.queue_length,
        rate_per_minute=figures.rate_per_minute,
        direct_certain=start.direct,
        direct_possible=direct,
        watermark_us=figures.watermark_us,
    )
