"""The measurements of one period, for the law of autotune. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gatekeeper.policy.visitor_groups import GROUPS, limited

# Upper bounds of the latency histogram, as shares of the latency target: exact at the target.
LATENCY_BOUNDS = (
    *(0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    *(0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0),
)
_MIN_BAD = 2.0  # slow or failed responses of a group that always count
_MIN_RESPONSES = 50.0  # about one page with all its images
_MIN_DELAY = 10.0  # of a group, in logarithms: always counts
_AT_TARGET = LATENCY_BOUNDS.index(1.0)
# A shorter latency counts as that share of the target: a wait that multiplies it is no delay yet.
QUICK = 0.085
# The logarithm of the latency of each bucket, in 200ths of the target: above 0.
_LOGARITHMS = tuple(
    math.log(200 * max((lower + upper) / 2, QUICK))
    for lower, upper in zip((0.0, *LATENCY_BOUNDS), (*LATENCY_BOUNDS, 60.0), strict=True)
)


@dataclass(frozen=True, slots=True)
class Targets:
    """The operator's limits: admissions per minute, latency in seconds (p95), share of failed
    responses."""

    rate_min: float
    rate_max: float
    latency_s: float
    errors: float

    @property
    def measure(self) -> str:
        """The targets of the measurement, as a text: a memory is only valid for the same
        targets."""
        return f"{self.latency_s!r} {self.errors!r}"


class GroupCounts(NamedTuple):
    """The responses to one group of visitors.

    `counts`: those with a head by latency, one entry for each of LATENCY_BOUNDS and one above the
    last. `failed` of them failed. `without_response` requests have no head.
    """

    without_response: int
    failed: int
    counts: Sequence[int]

    @property
    def responses(self) -> int:
        return self.without_response + sum(self.counts)

    @property
    def bad(self) -> int:
        """Failed responses and requests without a response."""
        return self.without_response + self.failed

    @property
    def slow(self) -> int:
        """Responses that took longer than the target."""
        return sum(self.counts[_AT_TARGET + 1 :])

    def delay_beyond(self, idle: float) -> float:
        """The sum of the logarithms of the latencies, less `idle` each."""
        pairs = zip(self.counts, _LOGARITHMS, strict=True)
        return sum(count * (logarithm - idle) for count, logarithm in pairs if count)


NO_RESPONSES = (GroupCounts(0, 0, (0,) * (len(LATENCY_BOUNDS) + 1)),) * GROUPS


class Period:
    """The measurements of all replicas, with the weight of one group capped by `visitor_groups`.

    `counts`: responses by latency, one entry for each of LATENCY_BOUNDS and one above the last.
    `responses` includes the `failed` ones; those without a response head are in no count.
    `admitted`: visitors that entered. `waiting`: the rate is what keeps visitors in line.
    `is_late`: a replica was paused, so the latencies that it measured are partly its own.
    """

    __slots__ = (
        "admitted",
        "counts",
        "failed",
        "groups",
        "is_late",
        "responses",
        "seconds",
        "waiting",
    )

    def __init__(
        self,
        seconds: float,
        groups: Sequence[GroupCounts],
        *,
        admitted: int,
        waiting: bool,
        is_late: bool = False,
    ) -> None:
        self.seconds, self.admitted, self.waiting = seconds, admitted, waiting
        self.groups, self.is_late = groups, is_late
        self.counts, self.failed, self.responses = _merged(groups)

    def latency_s(self, targets: Targets) -> float | None:
        """The p95 latency, seconds; None without responses."""
        share = quantile(self.counts, 0.95)
        return None if share is None else share * targets.latency_s

    @property
    def slow(self) -> int:
        """Responses that took longer than the target."""
        return sum(self.counts[_AT_TARGET + 1 :])

    @property
    def slow_of_many(self) -> float:
        """Slow responses, without those that only one group has."""
        return min(self.slow, _of_many([group.slow for group in self.groups]))

    @property
    def failed_of_many(self) -> float:
        """Failed responses, without those that only one group has."""
        return min(self.failed, _of_many([group.bad for group in self.groups]))

    @property
    def load(self) -> float:
        """Responses per minute."""
        return self.responses * 60 / self.seconds

    def delay(self, idle: float) -> float:
        """The mean logarithm of the latencies; where `idle` is known, with the distance of each
        group from it capped in both directions."""
        answered = max(sum(self.counts), 1)
        if not idle:
            pairs = zip(self.counts, _LOGARITHMS, strict=True)
            return sum(count * logarithm for count, logarithm in pairs if count) / answered
        delays = [group.delay_beyond(idle) for group in self.groups]
        slower = limited([max(delay, 0.0) for delay in delays], least=_MIN_DELAY)
        faster = limited([max(-delay, 0.0) for delay in delays], least=_MIN_DELAY)
        return idle + (sum(slower) - sum(faster)) / answered

    def variance_about(self, mean: float) -> float:
        """The mean square of the logarithms of the latencies, less `mean`."""
        pairs = zip(self.counts, _LOGARITHMS, strict=True)
        squares = sum(count * (logarithm - mean) ** 2 for count, logarithm in pairs if count)
        return squares / max(sum(self.counts), 1)


def _merged(groups: Sequence[GroupCounts]) -> tuple[list[int], int, int]:
    """The sums of counts, failed and responses over all groups, capped by group."""
    responses = [group.responses for group in groups]
    kept = _kept(responses, least=_MIN_RESPONSES)
    kept_slow = _kept([group.slow for group in groups], least=_MIN_BAD)
    kept_bad = _kept([group.bad for group in groups], least=_MIN_BAD)
    counts = [0] * (len(LATENCY_BOUNDS) + 1)
    without_response = failed = 0
    for group, share, share_slow, share_bad in zip(groups, kept, kept_slow, kept_bad, strict=True):
        for index, count in enumerate(group.counts):
            if count:
                least = min(share, share_slow) if index > _AT_TARGET else share
                counts[index] += round(count * least)
        without_response += round(group.without_response * min(share, share_bad))
        failed += round(group.bad * min(share, share_bad))
    return counts, failed, sum(counts) + without_response


def _of_many(figures: Sequence[float]) -> float:
    """Their sum, with each capped at the second highest."""
    second = sorted(figures)[-2]
    return sum(min(figure, second) for figure in figures)


def _kept(figures: Sequence[int], *, least: float) -> list[float]:
    """The share of each figure that is below the cap."""
    highest = limited(figures, least=least)
    return [
        most / max(figure, 1) if most else 1.0
        for figure, most in zip(figures, highest, strict=True)
    ]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The latency below which that share of responses lies, as a share of the target.

    Interpolated within a bucket; above the last bound, that bound. None without responses.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            if index >= len(LATENCY_BOUNDS):
                return LATENCY_BOUNDS[-1]
            lower = LATENCY_BOUNDS[index - 1] if index else 0.0
            return lower + (LATENCY_BOUNDS[index] - lower) * (rank - below) / count
        below += count
    return LATENCY_BOUNDS[-1]
