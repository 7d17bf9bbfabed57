"""The measurements and the state of autotune's law: periods, and a model of the origin's load.
Pure.

Rules:
- An admitted visitor loads the origin for a whole session, so the load follows the rate late. The
  model has the rate behind a few fixed delays at once; the delay that explains the responses best
  says which rate the current load corresponds to, and how many responses one visitor causes.
- The weight of one group of visitors is capped by `visitor_groups`, in a period and in the pool.
- Small excesses are judged by a pool of recent responses, in which older ones count less.
- Between two periods the memory is a short text. An invalid text is read as a new memory.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from gatekeeper.policy.visitor_groups import GROUPS, limited

# Upper bounds of the latency histogram, as shares of the latency target: exact at the target.
LATENCY_BOUNDS = (
    *(0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    *(0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0),
)
FULL_SAMPLES = 300.0  # the pool of responses
NEAR = 0.32  # of the way from the unloaded p95 to the target
MIN_BAD = 2.0  # slow or failed responses of a group that always count
_MIN_RESPONSES = 50.0  # about one page with all its images
_AT_TARGET = LATENCY_BOUNDS.index(1.0)
_POOL_S = 180.0  # a response stays in the pool for about this long at most
_LAGS_S = (5.0, 12.0, 28.0, 65.0)  # mean ages of visitors in sessions of seconds to minutes
_MIN_SMOOTH = 1  # the index of the first delay that smooths the chance of single visitors
_MODEL_S = 120.0  # decay time of the model
_LOAD_S = 15.0
_KNOWN_S = 900.0  # after a longer pause the memory is reset
_SHORT_PAUSE_S = 15.0
_UNLOADED_RISE = 0.002  # of the distance in one period, since an origin may become slower for good
_MAX_UNLOADED = 0.9
_NONE = (0.0,) * GROUPS
_MOST = 1e18  # the upper bound of all numbers in the memory


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

    def slower(self, latency: float) -> int:
        """Responses that took longer than that share of the target, in whole buckets."""
        return sum(self.counts[bisect_left(LATENCY_BOUNDS, latency) + 1 :])


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
    def load(self) -> float:
        """Responses per minute."""
        return self.responses * 60 / self.seconds


def _merged(groups: Sequence[GroupCounts]) -> tuple[list[int], int, int]:
    """The sums of counts, failed and responses over all groups, capped by group."""
    responses = [group.responses for group in groups]
    kept = _kept(responses, least=_MIN_RESPONSES)
    kept_slow = _kept([group.slow for group in groups], least=MIN_BAD)
    kept_bad = _kept([group.bad for group in groups], least=MIN_BAD)
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


def _kept(figures: Sequence[int], *, least: float) -> list[float]:
    """The share of each figure that is below the cap."""
    highest = limited(figures, least=least)
    return [
        most / max(figure, 1) if most else 1.0
        for figure, most in zip(figures, highest, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of the law between periods. Admissions and responses per minute; 0: unknown."""

    plateau: float = 0.0  # the rate that is kept while the origin shows no overload
    best: float = 0.0  # the highest plateau so far: a rise begins again there
    limit: float = 0.0  # responses at a limit that was just measured, until it is confirmed
    given: float = 0.0  # the rate that the law set last
    calm_s: float = 0.0  # for how long the latency has been that of an idle origin, net
    late_s: float = 0.0  # for how long a replica has been paused
    is_draining: bool = False  # an overload is not over yet
    load: float = 0.0  # responses, smoothed
    samples: float = 0.0  # of the pool
    latency: float = 0.0  # of the pool: p95 as a share of the target
    unloaded: float = 0.0  # the lowest such latency
    fresh: float = 0.0  # responses since the last step
    load_sum: float = 0.0
    slow: tuple[float, ...] = (0.0,) * GROUPS  # of the pool, by group
    failed: tuple[float, ...] = (0.0,) * GROUPS  # of the pool, by group
    near: tuple[float, ...] = (0.0,) * GROUPS  # of the pool, by group: slower than `NEAR`
    seen: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # the admitted rate, behind each delay
    seen_sums: tuple[float, ...] = (0.0,) * len(_LAGS_S)
    misfits: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # squared errors of each delay

    def encode(self) -> str:
        """At most 400 characters of printable ASCII."""
        numbers = [float(getattr(self, name)) for name in _NUMBERS]
        lists = [number for name in _LISTS for number in getattr(self, name)]
        parts = [f"{number:.6g}" for number in numbers] + [f"{number:.3g}" for number in lists]
        return "3:" + ",".join(parts).replace("e+0", "e").replace("e-0", "e-")

    @staticmethod
    def decode(text: str) -> Memory:
        """Decode a memory; a new one for an invalid text."""
        version, _, rest = text.partition(":")
        try:
            read = [float(part) for part in rest.split(",")]
        except ValueError:
            return Memory()
        is_whole = version == "3" and len(read) == len(_NUMBERS) + sum(_LISTS.values())
        if not is_whole or not all(0 <= number < _MOST for number in read):
            return Memory()
        numbers = dict(zip(_NUMBERS, read, strict=False))
        lists: dict[str, tuple[float, ...]] = {}
        begin = len(_NUMBERS)
        for name, length in _LISTS.items():
            lists[name] = tuple(read[begin : begin + length])
            begin += length
        values: dict[str, Any] = {**numbers, **lists, "is_draining": numbers["is_draining"] > 0}
        return Memory(**values)

    @property
    def _fit(self) -> int:
        """The index of the delay that explains the load best."""
        return min(range(len(self.misfits)), key=self.misfits.__getitem__)

    @property
    def lag_s(self) -> float:
        """The delay with which the load follows the rate, seconds."""
        return _LAGS_S[self._fit]

    @property
    def carried(self) -> float:
        """The admission rate that the current load corresponds to."""
        return self.seen[self._fit]

    @property
    def smoothed(self) -> float:
        """Like `carried`, smoothed, so that single visitors matter less with short sessions."""
        return self.seen[max(self._fit, _MIN_SMOOTH)]

    @property
    def responses_each(self) -> float:
        """Responses per admitted visitor; 0: unknown."""
        seen = self.seen_sums[self._fit]
        return self.load_sum / seen if seen > 0 else 0.0

    @property
    def position(self) -> float:
        """The position of the p95 between the unloaded p95 (0) and the target (1)."""
        return max(self.latency - self.unloaded, 0.0) / (1 - min(self.unloaded, _MAX_UNLOADED))

    def with_plateau(self, plateau: float) -> Memory:
        """A lower plateau: the origin has shown its limit there."""
        best = max(self.best, self.plateau)
        return replace(self, plateau=plateau, best=best, limit=0.0, calm_s=0.0)

    def with_rate(self, rate: float) -> Memory:
        """Continue from a rate that was not set by the law."""
        plateau = rate if self.plateau else 0.0
        return replace(
            self.with_empty_pool(), plateau=plateau, limit=0.0, calm_s=0.0, is_draining=False
        )

    def after(self, period: Period) -> Memory:
        """The memory with that period in model and pool."""
        return _with_pool(_with_model(self, period), period)

    def after_unjudged(self, period: Period) -> Memory:
        """The memory with that period only in the model, since its latencies are not the
        origin's."""
        return _with_model(self, period)

    def after_pause(self, seconds: float) -> Memory:
        """The memory after `seconds` without a period: the room was held, or replicas or store were
        absent.

        No visitor was admitted. A short pause changes nothing; a long one resets the memory.
        """
        if seconds <= _SHORT_PAUSE_S:
            return self
        if seconds > _KNOWN_S:
            return Memory()
        seen = tuple(
            rate * math.exp(-seconds / lag_s)
            for rate, lag_s in zip(self.seen, _LAGS_S, strict=True)
        )
        return replace(
            self.with_empty_pool(),
            is_draining=False,
            load=self.load * math.exp(-seconds / self.lag_s),
            seen=seen,
        )

    def with_empty_pool(self) -> Memory:
        """The memory with an empty pool, so that only new responses count."""
        return replace(
            self,
            samples=0.0,
            slow=_NONE,
            failed=_NONE,
            near=_NONE,
            latency=0.0,
            fresh=0.0,
        )


_LISTS = {
    field.name: len(field.default) for field in fields(Memory) if isinstance(field.default, tuple)
}
_NUMBERS = tuple(field.name for field in fields(Memory) if field.name not in _LISTS)


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


def _with_model(memory: Memory, period: Period) -> Memory:
    """The delayed rates, and how well each explains the load.

    Periods of overload count too: their backlog arrives later as load, and leaving out either would
    bias the number of responses per visitor.
    """
    admitted = period.admitted * 60 / period.seconds
    seen = tuple(
        before + (admitted - before) * -math.expm1(-period.seconds / lag_s)
        for before, lag_s in zip(memory.seen, _LAGS_S, strict=True)
    )
    kept, load = math.exp(-period.seconds / _MODEL_S), period.load
    sums = tuple(kept * total + rate for total, rate in zip(memory.seen_sums, seen, strict=True))
    load_sum = kept * memory.load_sum + load
    misfits = tuple(
        kept * misfit + ((load - rate * load_sum / total) ** 2 if total > 0 else 0.0)
        for misfit, rate, total in zip(memory.misfits, seen, sums, strict=True)
    )
    return replace(memory, seen=seen, seen_sums=sums, load_sum=load_sum, misfits=misfits)


def _with_pool(memory: Memory, period: Period) -> Memory:
    kept = max(1 - period.responses / FULL_SAMPLES, 0.0) * math.exp(-period.seconds / _POOL_S)
    samples = kept * memory.samples + period.responses
    latency, period_latency = memory.latency, quantile(period.counts, 0.95)
    if period_latency is not None and samples > 0:
        latency += (period_latency - latency) * period.responses / samples
    share = -math.expm1(-period.seconds / _LOAD_S)
    near = memory.unloaded + NEAR * (1 - memory.unloaded)
    return replace(
        memory,
        load=memory.load + (period.load - memory.load) * share,
        samples=samples,
        slow=_pooled(memory.slow, [group.slow for group in period.groups], kept),
        failed=_pooled(memory.failed, [group.bad for group in period.groups], kept),
        near=_pooled(memory.near, [group.slower(near) for group in period.groups], kept),
        latency=latency,
        unloaded=_unloaded(memory.unloaded, latency, samples),
        fresh=min(memory.fresh + period.responses, FULL_SAMPLES),
    )


def _pooled(before: Sequence[float], period: Sequence[int], kept: float) -> tuple[float, ...]:
    return tuple(kept * old + new for old, new in zip(before, period, strict=True))


def _unloaded(before: float, latency: float, samples: float) -> float:
    if samples < FULL_SAMPLES / 2 or latency <= 0:
        return before
    if before == 0 or latency < before:
        return min(latency, _MAX_UNLOADED)
    return min(before + _UNLOADED_RISE * (latency - before), _MAX_UNLOADED)
