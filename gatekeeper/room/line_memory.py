"""What a replica remembers of a room's line, for the time when the store has lost it.

Rules. About once a second the replica reads the turns at some places of the line, and keeps them
for as long as the longest poll interval. From them follows how many visitors were ahead of any
turn, and so when a visitor at that turn was told to poll again. After a loss a visitor may be
released once everyone ahead had the time for that. While the store recovers the line is partial and
not read.

A visitor who polled at place p waits for the poll interval of p, less what has passed since. Each
reading therefore counts for the visitors that polled between it and the next one, and the latest
for visitors that poll now, also while the store is unreachable. What was before the first reading
is unknown.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.pacing import poll_interval_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState

_READ_EVERY_S = 1.0
_MOST_READINGS = 64
_RECENT_S = 3.0
# Replicas find the store within a tick of each other.
_LEAD_S = 1.0
_MARGIN = 1.25  # of a poll interval, as in `policy.pacing.recovery_s`
_STEP_S = 0.25
_UNKNOWN_S = 10.0  # the poll interval of visitors who came while the store was unreachable


class Place(NamedTuple):
    """A place in line: how many visitors are ahead of the one at this turn."""

    ahead: int
    turn_us: int


def places_of(reply: Sequence[bytes | int]) -> list[Place]:
    """The places as the script returns them."""
    return [Place(*pair) for pair in zip(*[iter(map(int, reply))] * 2, strict=True)]


@dataclass(frozen=True, slots=True)
class Reading:
    """The line at one moment of the replica's monotonic clock. `intervals_s`: the longest poll
    interval at each place."""

    at_s: float
    turns_us: tuple[int, ...]
    ahead: tuple[int, ...]
    intervals_s: tuple[float, ...]
    released_total: int


class ReturnPlan(NamedTuple):
    """The visitors that may be released so long after the store's return: `turns`, as the scripts
    read it, and the seconds until all may be."""

    turns: str
    line_s: float


class LineMemory:
    """The line of one room, as one replica remembers it."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._readings: deque[Reading] = deque()
        self._is_stale = False

    def is_due(self) -> bool:
        """Whether the line is to be read again."""
        readings = self._readings
        return not readings or self._monotonic_s() - readings[-1].at_s >= _READ_EVERY_S

    def note(self, places: Sequence[Place], state: RoomState, *, rules: Rules) -> None:
        """The line was read just now, with this state."""
        longest_s, now_s = rules.longest_poll_interval_s, self._monotonic_s()
        pace = state.expected_rate_per_minute
        is_undrawn = bool(places) and places[-1].turn_us >= PROVISIONAL_US
        intervals_s = tuple(
            longest_s
            if is_undrawn
            else float(poll_interval_s(each.ahead, rate_per_minute=pace, rules=rules))
            for each in places
        )
        readings = self._readings
        # The one before the latest goes where the readings would be more than are kept.
        least_s = longest_s / (_MOST_READINGS - 2)
        if len(readings) > 1 and readings[-1].at_s - readings[-2].at_s < least_s:
            readings.pop()
        turns_us, ahead = tuple(p.turn_us for p in places), tuple(p.ahead for p in places)
        self._is_stale = False
        readings.append(Reading(now_s, turns_us, ahead, intervals_s, state.released_total))
        while len(readings) > 2 and now_s - readings[1].at_s > longest_s:
            readings.popleft()
        while len(readings) > _MOST_READINGS:
            readings.popleft()

    def note_outage(self) -> None:
        """The store does not respond any more. This replica may have been paused before."""
        self._is_stale = not self._is_recent()

    def _is_recent(self) -> bool:
        readings = self._readings
        return bool(readings) and self._monotonic_s() - readings[-1].at_s <= _RECENT_S

    def ahead_of(self, turn_us: int, *, released_total: int) -> int | None:
        """About how many visitors are ahead of that turn, when so many were released in all; None
        if the turn is not within the line that is known."""
        known = self._ahead_of(turn_us, released_total=released_total)
        return None if known is None else known[1]

    def ahead_by_return(self, turn_us: int, *, returned: int, released_total: int) -> int:
        """How many visitors are ahead of that turn, of whom so many have returned: these, where
        they may be all."""
        known = self._ahead_of(turn_us, released_total=released_total)
        return returned if known is None or returned >= known[0] else known[1]

    def _ahead_of(self, turn_us: int, *, released_total: int) -> tuple[int, int] | None:
        """At least, and about."""
        if not self._readings:
            return None
        latest = self._readings[-1]
        at = bisect_left(latest.turns_us, turn_us)
        if at == len(latest.turns_us):
            return None
        least = about = latest.ahead[at]
        if at and latest.turns_us[at] > turn_us:
            before_us, before = latest.turns_us[at - 1], latest.ahead[at - 1]
            share = (turn_us - before_us) / (latest.turns_us[at] - before_us)
            least, about = before + 1, before + round((about - before) * share)
        released = max(released_total - latest.released_total, 0)
        return max(least - released, 0), max(about - released, 0)

    def plan(self, *, rules: Rules, window_s: float, was_unreachable: bool) -> ReturnPlan | None:
        """The times of releases, counted from now, within the recovery window; None: the line is
        not known. `was_unreachable`: visitors may have come whom the store never had."""
        if self._is_stale or not (self._readings and (was_unreachable or self._is_recent())):
            return None
        latest = self._readings[-1]
        if latest.turns_us and latest.turns_us[-1] >= PROVISIONAL_US:
            return None
        stages: dict[float, int] = {}
        longest_s = 0.0
        for turn_us in latest.turns_us:
            longest_s = max(longest_s, self._return_s(turn_us, rules=rules))
            stages[_delay_s(longest_s, window_s)] = turn_us
        last_s = _UNKNOWN_S if was_unreachable else 1.0
        line_s = _delay_s(max(longest_s, min(last_s, rules.longest_poll_interval_s)), window_s)
        turns = "".join(f"{turn} {round(delay_s * 1000)};" for delay_s, turn in stages.items())
        return ReturnPlan(turns, line_s)

    def _return_s(self, turn_us: int, *, rules: Rules) -> float:
        """Until when, from now, a visitor of that turn polls again."""
        readings, now_s = self._readings, self._monotonic_s()
        # Before the first reading any interval may have been told.
        until_s = rules.longest_poll_interval_s - (now_s - readings[0].at_s)
        for number, reading in enumerate(readings):
            if not reading.turns_us:
                continue
            is_last = number + 1 == len(readings)
            age_s = 0.0 if is_last else now_s - readings[number + 1].at_s
            if reading.turns_us[-1] >= PROVISIONAL_US:
                until_s = max(until_s, reading.intervals_s[-1] - age_s)
                continue
            at = bisect_left(reading.turns_us, turn_us)
            if at < len(reading.turns_us):  # else they came later
                until_s = max(until_s, reading.intervals_s[at] - age_s)
        return until_s


def _delay_s(return_s: float, window_s: float) -> float:
    """From the store's return until a visitor may be released whose predecessors poll by then."""
    wanted_s = math.ceil((_LEAD_S + return_s * _MARGIN) / _STEP_S) * _STEP_S
    return min(wanted_s, window_s)
