"""The figures of a report, from the minutes that were kept.

Rules. Pure. A minute that was not kept is a gap: no figure includes it, and `gaps` lists it. The
increase of the room's totals over a gap is known as a sum (`unobserved`) if the minutes before and
after it are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gatekeeper import metrics
from gatekeeper.admin.history import quantile
from gatekeeper.admin.report_estimates import EstimateQuality, quality_of
from gatekeeper.admin.report_minutes import MINUTE_S, Minute
from gatekeeper.policy.schedule import Schedule
from gatekeeper.room.steering_record import SteeringStep
from gatekeeper.room.worker_figures import Buckets, added, added_by_lane

_QUANTILES = (0.5, 0.9, 0.99)


class Span(NamedTuple):
    """A period, seconds: `since_s` inclusive, `until_s` exclusive."""

    since_s: int
    until_s: int


class Quantiles(NamedTuple):
    """Seconds; None without observations."""

    observations: int
    p50: float | None
    p90: float | None
    p99: float | None


class Peak(NamedTuple):
    """The maximum number of visitors in any 60 seconds, and how many rate and burst allowed in
    them; None: no limit."""

    most: int
    at_s: int
    allowed: float | None


class Counts(NamedTuple):
    """Visitors of a period."""

    arrived: int
    released: int
    admitted: int
    left: int
    no_shows: int


@dataclass(frozen=True, slots=True)
class ReportFigures:
    """All figures of a period."""

    counts: Counts
    unobserved: Counts  # in the gaps; `left` includes the no-shows there
    gaps: tuple[Span, ...]
    queue_most: tuple[int, int] | None  # the maximum, and its time
    active_most: tuple[int, int] | None
    most_released: Peak | None
    most_admitted: Peak | None
    waits: Quantiles
    lanes: dict[str, Quantiles]  # waits of each lane's visitors
    estimate: EstimateQuality
    origin: Quantiles
    forwarded: int
    waiting_pages: int
    failures: dict[str, int]  # of the origin, by cause: a status, or a kind of error
    steered: tuple[SteeringStep, ...]  # every change of the rate by autotune

    @property
    def failed_share(self) -> float | None:
        """The share of the origin's requests that failed."""
        without_response = sum(n for cause, n in self.failures.items() if not cause.isdigit())
        asked = self.forwarded + without_response
        return sum(self.failures.values()) / asked if asked else None


def figures_of(minutes: Sequence[Minute], span: Span, *, schedule: Schedule) -> ReportFigures:
    """The figures of the minutes of a room, which are in order and lie in `span`."""
    causes = sorted({cause for each in minutes for cause in each.failures})
    return ReportFigures(
        counts=Counts(
            _sum(each.arrived for each in minutes),
            _sum(each.released for each in minutes),
            _sum(each.admitted for each in minutes),
            _sum(each.left for each in minutes),
            _sum(each.no_shows for each in minutes),
        ),
        unobserved=_unobserved(minutes),
        gaps=gaps_of(minutes, span),
        queue_most=_most(minutes, lambda each: each.queue_most),
        active_most=_most(minutes, lambda each: each.active),
        most_released=_peak(minutes, lambda each: each.most_released),
        most_admitted=_peak(minutes, lambda each: each.most_admitted),
        waits=wait_quantiles(minutes),
        lanes={
            lane: _quantiles(metrics.lane_waits.bounds_s, [row])
            for lane, row in added_by_lane(each.lanes for each in minutes).items()
        },
        estimate=quality_of(minutes, schedule),
        origin=origin_quantiles(minutes),
        forwarded=_sum(each.forwarded for each in minutes),
        waiting_pages=_sum(each.waiting for each in minutes),
        failures={c: sum(each.failures.get(c, 0) for each in minutes) for c in causes},
        steered=tuple(change for each in minutes for change in each.steered),
    )


def wait_quantiles(minutes: Iterable[Minute]) -> Quantiles:
    """The waits from arrival to admission, of admitted visitors."""
    return _quantiles(metrics.waits.bounds_s, (each.waits for each in minutes))


def origin_quantiles(minutes: Iterable[Minute]) -> Quantiles:
    """The response times of the origin, from the request to the head of the response."""
    return _quantiles(metrics.origin_seconds.bounds_s, (each.origin for each in minutes))


def gaps_of(minutes: Sequence[Minute], span: Span) -> tuple[Span, ...]:
    """The whole minutes of a period in which the room was not read."""
    found: list[Span] = []
    expected_s = math.ceil(span.since_s / MINUTE_S) * MINUTE_S
    for at_s in [each.at_s for each in minutes if each.totals] + [
        span.until_s // MINUTE_S * MINUTE_S
    ]:
        if at_s > expected_s:
            found.append(Span(expected_s, at_s))
        expected_s = max(expected_s, at_s + MINUTE_S)
    return tuple(found)


def _unobserved(minutes: Sequence[Minute]) -> Counts:
    """The increase of the totals in gaps, which no minute includes."""
    grown = [0, 0, 0, 0]
    before: Minute | None = None
    for minute in minutes:
        if len(minute.totals) != len(grown):
            continue
        if before is not None:
            counted = (minute.arrived, minute.released, minute.admitted, minute.abandoned)
            parts = [
                new - old - (count or 0)
                for new, old, count in zip(minute.totals, before.totals, counted, strict=True)
            ]
            if min(parts) >= 0:  # else the store has lost its totals
                grown = [a + b for a, b in zip(grown, parts, strict=True)]
        before = minute
    arrived, released, admitted, abandoned = grown
    return Counts(arrived, released, admitted, abandoned, 0)


def _peak(minutes: Sequence[Minute], count: Callable[[Minute], int | None]) -> Peak | None:
    """The highest peak, and the first of equal ones."""
    best: Peak | None = None
    for minute in minutes:
        most = count(minute)
        if most is not None and (best is None or most > best.most):
            allowed = None if minute.rate is None else minute.rate + (minute.burst or 0)
            best = Peak(most, minute.at_s, allowed)
    return best


def _most(
    minutes: Sequence[Minute], value: Callable[[Minute], int | None]
) -> tuple[int, int] | None:
    known = [(most, -each.at_s) for each in minutes if (most := value(each)) is not None]
    if not known:
        return None
    most, at_s = max(known)
    return most, -at_s


def _quantiles(bounds_s: Sequence[float], rows: Iterable[Buckets]) -> Quantiles:
    counts = added(rows)[: len(bounds_s)]
    p50, p90, p99 = (quantile(bounds_s, counts, share) for share in _QUANTILES)
    return Quantiles(sum(counts), p50, p90, p99)


def _sum(values: Iterable[int | None]) -> int:
    return sum(value for value in values if value is not None)
