"""Lanes: invited visitors whose turn is earlier by a head start.

Rules. Pure; times are microseconds of the store's clock. The turn of a lane's visitor is the
arrival less the head start, and later than every turn of which a visitor was released. `arrive.lua`
computes it; `turn_ahead_us` is the same for a replica without the store.

In a draw, lanes replace head starts: each lane has its own span of turns before the prequeue, in
which its visitors are drawn. A longer head start has the earlier span (`draw.lane_spans`):

    lanes, members 30 min, friends 10 min     everyone else
    |--- members ---|-- friends --|           |------ drawn ------|
    P - 30 min      P - 10 min    P = prequeue                    start

Visitors who waited before the prequeue are between them, by their arrivals. If one of them was
released within the longest head start before it, the spans shrink in proportion, so that none
begins before that turn.
"""

from __future__ import annotations

from typing import NamedTuple

from gatekeeper.config.lane_schema import LaneConfig
from gatekeeper.policy.schedule import Schedule


class Lane(NamedTuple):
    """A lane of one room."""

    name: str
    head_start_us: int

    @classmethod
    def of(cls, lane: LaneConfig) -> Lane:
        return cls(lane.name, round(lane.head_start * 1_000_000))


def turn_ahead_us(
    arrival_us: int, head_start_us: int, *, lowest_us: int, schedule: Schedule
) -> int:
    """The turn of a newcomer with a head start, not below `lowest_us`. In the prequeue of a draw it
    is the arrival, and after a draw it is not before that prequeue."""
    for event in schedule.events:
        if event.covers(arrival_us) and not event.cancelled:
            return arrival_us
        if event.has_draw and event.start_us <= arrival_us and not event.cancelled:
            lowest_us = max(lowest_us, event.first_us)
    return min(arrival_us, max(arrival_us - head_start_us, lowest_us))
