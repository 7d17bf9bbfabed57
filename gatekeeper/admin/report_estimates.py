"""The accuracy of the estimated waits: the wait that the page showed against the actual one.

Rules. Pure, computed from the points of the kept minutes only. A visitor who arrived at the time of
a point was shown its `shown_wait_s`, and is released when the watermark reaches that turn: the
visitors of a minute are attributed to its points in equal shares. After a draw the participants
were shown an estimate for their drawn turns, which lie evenly in the prequeue; `_DRAWN_SHARES`
samples represent all of them. A visitor who left or did not claim is counted like the others: the
turn came. Visitors of a point whose release falls into a gap are left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from gatekeeper.admin.report_minutes import Minute, MinutePoint
from gatekeeper.policy.pacing import eta_s
from gatekeeper.policy.schedule import Event, Schedule

# The page shows a range from 20 % less to 25 % more, in whole minutes (`pages.waiting_view`).
LOW, HIGH, ROUNDING_S = 0.8, 1.25, 30.0
_MAX_GAP_US = 60_000_000
_DRAWN_SHARES = 40


class Estimate(NamedTuple):
    """The wait that `visitors` were shown, and the actual one, seconds."""

    shown_wait_s: float
    took_s: float
    visitors: float

    @property
    def error_s(self) -> float:
        """Positive: the actual wait was longer."""
        return self.took_s - self.shown_wait_s


class EstimateQuality(NamedTuple):
    """Shares of the visitors whose turn has come; all None without such visitors."""

    visitors: int
    within: float | None = None  # the range that the page showed
    longer: float | None = None
    shorter: float | None = None
    error_p50_s: float | None = None  # of the absolute error
    error_p90_s: float | None = None


def quality_of(minutes: Sequence[Minute], schedule: Schedule) -> EstimateQuality:
    """The quality of all estimates of these minutes."""
    found = [*estimates(minutes), *drawn_estimates(minutes, schedule)]
    total = sum(each.visitors for each in found)
    if total < 1:
        return EstimateQuality(0)
    longer = sum(e.visitors for e in found if e.took_s > e.shown_wait_s * HIGH + ROUNDING_S)
    shorter = sum(e.visitors for e in found if e.took_s < e.shown_wait_s * LOW - ROUNDING_S)
    errors = sorted((abs(each.error_s), each.visitors) for each in found)
    return EstimateQuality(
        round(total),
        within=round((total - longer - shorter) / total, 4),
        longer=round(longer / total, 4),
        shorter=round(shorter / total, 4),
        error_p50_s=_weighted_quantile(errors, total / 2),
        error_p90_s=_weighted_quantile(errors, total * 0.9),
    )


def estimates(minutes: Sequence[Minute]) -> Iterator[Estimate]:
    """Estimates of the visitors who arrived while the page showed newcomers a wait."""
    line = _Line(minutes)
    for minute in minutes:
        shown = [point for point in minute.points if point.shown_wait_s is not None]
        if not minute.arrived or not shown:
            continue
        for point in shown:
            released_us = line.released_us(point.at_us, after_us=point.at_us)
            if released_us is not None and point.shown_wait_s is not None:
                took_s = (released_us - point.at_us) / 1_000_000
                yield Estimate(point.shown_wait_s, took_s, minute.arrived / len(minute.points))


def drawn_estimates(minutes: Sequence[Minute], schedule: Schedule) -> Iterator[Estimate]:
    """Estimates of the participants of draws, from the time at which all of them had their turn."""
    line = _Line(minutes)
    for event in schedule.events:
        if not event.has_draw or event.cancelled:
            continue
        before, first = _around_draw(line.points, event)
        if before is None or first is None or first.rate_per_minute <= 0:
            continue
        ahead = before.queue_length - before.undrawn  # in line since before the prequeue
        for index in range(_DRAWN_SHARES):
            share = (index + 0.5) / _DRAWN_SHARES
            shown_wait_s = eta_s(
                int(ahead + before.undrawn * share), rate_per_minute=first.rate_per_minute
            )
            turn_us = event.first_us + int(event.span_us * share)
            released_us = line.released_us(turn_us, after_us=first.at_us)
            if shown_wait_s is not None and released_us is not None:
                took_s = (released_us - first.at_us) / 1_000_000
                yield Estimate(shown_wait_s, took_s, before.undrawn / _DRAWN_SHARES)


def _around_draw(
    points: Sequence[MinutePoint], event: Event
) -> tuple[MinutePoint | None, MinutePoint | None]:
    """The last point with participants without a drawn turn, and the point after it."""
    before: MinutePoint | None = None
    for point in points:
        if point.undrawn and event.first_us <= point.at_us:
            before = point
        elif before is not None and point.at_us >= event.start_us:
            is_near = point.at_us - before.at_us <= _MAX_GAP_US
            return (before, point) if is_near else (None, None)
    return None, None


class _Line:
    """The release times of a room's turns."""

    def __init__(self, minutes: Sequence[Minute]) -> None:
        points = [point for minute in minutes for point in minute.points]
        self.points = sorted(points, key=lambda point: point.at_us)
        self._times = [point.at_us for point in self.points]
        self._watermarks = list(accumulate((point.watermark_us for point in self.points), max))
        self._empty = [i for i, point in enumerate(self.points) if point.queue_length == 0]

    def released_us(self, turn_us: int, *, after_us: int) -> int | None:
        """When the turn was released, or the queue was empty; None: unknown."""
        by_watermark = bisect_left(self._watermarks, turn_us)
        next_ = bisect_left(self._times, after_us + 1)
        at_empty = bisect_left(self._empty, next_)
        by_empty = self._empty[at_empty] if at_empty < len(self._empty) else len(self.points)
        index = max(min(by_watermark, by_empty), next_)
        if index >= len(self.points) or self._has_gap(next_ - 1, index):
            return None
        if index != by_watermark or index == 0:
            return self._times[index]
        low, high = self._watermarks[index - 1], self._watermarks[index]
        share = (turn_us - low) / (high - low) if low < turn_us else 1.0
        start_us = max(self._times[index - 1], after_us)
        return round(start_us + (self._times[index] - start_us) * share)

    def _has_gap(self, first: int, last: int) -> bool:
        """Whether the points around the release are far apart."""
        before = max(last - 1, first, 0)
        return self._times[last] - self._times[before] > _MAX_GAP_US


def _weighted_quantile(errors: Sequence[tuple[float, float]], wanted: float) -> float | None:
    so_far = 0.0
    for error_s, visitors in errors:
        so_far += visitors
        if so_far >= wanted:
            return round(error_s, 1)
    return round(errors[-1][0], 1) if errors else None
