"""The control law of autotune: the next rate from what the origin did in one period. Pure.

Rules:
- An admitted visitor loads the origin for a whole session, so the load follows the rate late.
  Every step is taken from the rate that the measured load stands for, never from the rate set last:
  repeated falls for one overload do not add up, and the rate rises to at most half above it.
- Which delay the load has is measured too: of a few fixed delays the one that explains the
  responses best.
- p95 latency or the share of failures above target: the rate falls to what the origin served,
  lower in proportion to the excess until the backlog is gone, then rises to nine tenths of it.
- From there the rate rises by a fixed step (additive), and stops before the target is reached.
  Past the remembered capacity without a sign of load the rate rises fast: the origin has more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

PERIOD_S = 5.0
# Upper bounds of the latency histogram, as shares of the latency target: exact at the target.
LATENCY_BOUNDS = (
    *(0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    *(0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0),
)
_AT_TARGET = LATENCY_BOUNDS.index(1.0)

_LAGS_S = (2.0, 6.0, 15.0, 40.0, 100.0)
_MODEL_MEMORY_S = 120.0
_TOLERATED_SLOW = 0.05  # the p95 is above its target when more than this share is slower
_LEAST_SAMPLES = 20.0  # for a rise
_FULL_SAMPLES = 150.0  # the pool of responses that small excesses are judged by
_LEAST_BAD = 5  # responses, so that one slow response in a quiet period is no overload
_SURE = 3.0  # standard deviations above the tolerated share that convict a single period
_CRUISE = 0.92
_DEEPEST = 0.3
_GROWTH = 1.25  # most in one period
_AHEAD = 0.5  # the rate is at most this share above the rate that the load stands for
_STEP = 0.0015  # of the capacity a second
_BEYOND = 1.05
_NEAR = 0.75  # of the way from the unloaded p95 to the target
_MOST_SETTLE_S = 30.0
_MOST = 1e18  # no number that the law remembers is larger


class Reason(StrEnum):
    """Why the rate is what it is."""

    TOO_SLOW = "too_slow"
    TOO_MANY_ERRORS = "too_many_errors"
    NEAR_TARGET = "near_target"
    RECOVERED = "recovered"
    RISE = "rise"
    SETTLING = "settling"
    TOO_FEW_SAMPLES = "too_few_samples"
    NO_DEMAND = "no_demand"
    AT_MAX = "at_max"
    AT_MIN = "at_min"


@dataclass(frozen=True, slots=True)
class Targets:
    """What the operator allows: admissions per minute, seconds (p95), a share of the responses."""

    rate_min: float
    rate_max: float
    latency_s: float
    errors: float


@dataclass(frozen=True, slots=True)
class Period:
    """What all replicas measured together.

    `counts`: responses by latency, one entry for each of LATENCY_BOUNDS and one above the last.
    `responses` includes the `failed` ones; those without a response head are in no count.
    `admitted`: visitors that entered. `waiting`: the rate is what keeps visitors in line.
    """

    seconds: float
    counts: Sequence[int]
    responses: int
    failed: int
    admitted: int
    waiting: bool

    def latency_s(self, targets: Targets) -> float | None:
        """The p95 latency, seconds; None without responses."""
        share = quantile(self.counts, 0.95)
        return None if share is None else share * targets.latency_s

    @property
    def slow(self) -> int:
        return sum(self.counts[_AT_TARGET + 1 :])


@dataclass(frozen=True, slots=True)
class Memory:
    """What the law remembers between periods. Rates in admissions per minute, 0: unknown."""

    limit: float = 0.0  # good responses per minute when the origin was last at its limit
    settle_s: float = 0.0  # until then the effect of the last step is awaited
    is_draining: bool = False
    # A pool of recent responses, in which older ones count less.
    samples: float = 0.0
    slow: float = 0.0
    failed: float = 0.0
    latency: float = 0.0  # p95, share of the target
    unloaded: float = 0.0  # the lowest p95, share of the target
    fresh: float = 0.0  # responses since the last step
    # The model of the delay: per entry of _LAGS_S the delayed rate, its sum, and the error.
    seen: tuple[float, ...] = (0.0,) * len(_LAGS_S)
    seen_sums: tuple[float, ...] = (0.0,) * len(_LAGS_S)
    load_sum: float = 0.0
    misfits: tuple[float, ...] = (0.0,) * len(_LAGS_S)

    def encode(self) -> str:
        """At most 200 characters of printable ASCII."""
        numbers = (
            *(self.limit, self.settle_s, float(self.is_draining), self.samples, self.slow),
            *(self.failed, self.latency, self.unloaded, self.fresh, self.load_sum),
            *(*self.seen, *self.seen_sums),
        )
        parts = [f"{number:.4g}" for number in numbers]
        parts += [f"{number:.3g}" for number in self.misfits]
        return "1:" + ",".join(parts).replace("e+0", "e").replace("e-0", "e-")

    @staticmethod
    def decode(text: str) -> Memory:
        """The memory of that text; a fresh one if it is no such text."""
        version, _, rest = text.partition(":")
        lags = len(_LAGS_S)
        try:
            numbers = [float(part) for part in rest.split(",")]
        except ValueError:
            return Memory()
        if version != "1" or len(numbers) != 10 + 3 * lags:
            return Memory()
        if not all(0 <= number < _MOST for number in numbers):
            return Memory()
        limit, settle_s, is_draining, samples, slow, failed, latency = numbers[:7]
        unloaded, fresh, load_sum = numbers[7:10]
        return Memory(
            limit=limit,
            settle_s=settle_s,
            is_draining=is_draining > 0,
            samples=samples,
            slow=slow,
            failed=failed,
            latency=latency,
            unloaded=unloaded,
            fresh=fresh,
            load_sum=load_sum,
            seen=tuple(numbers[10 : 10 + lags]),
            seen_sums=tuple(numbers[10 + lags : 10 + 2 * lags]),
            misfits=tuple(numbers[10 + 2 * lags :]),
        )

    @property
    def best(self) -> int:
        """The index of the delay that explains the load best."""
        return min(range(len(self.misfits)), key=self.misfits.__getitem__)

    @property
    def lag_s(self) -> float:
        return _LAGS_S[self.best]

    @property
    def carried(self) -> float:
        """The rate that the load of now stands for."""
        return self.seen[self.best]

    @property
    def responses_each(self) -> float:
        """Responses of one admitted visitor; 0 if unknown."""
        seen = self.seen_sums[self.best]
        return self.load_sum / seen if seen > 0 else 0.0

    @property
    def capacity(self) -> float:
        """The rate that `limit` stands for; 0 if unknown."""
        each = self.responses_each
        return self.limit / each if each > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Adjustment:
    rate: float
    memory: Memory
    reason: Reason


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


def adjust(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """The rate from now on, and why."""
    rate = min(max(rate, targets.rate_min), targets.rate_max)
    over = _excess(memory, period, targets)
    memory = _with_rates(memory, period)
    if over is None or _is_underestimated(memory, period):
        memory = _with_model(memory, period)
    memory = _with_pool(memory, period)
    if over is not None:
        return _fall(rate, memory, period, targets, over)
    if memory.is_draining:
        return _resume(rate, memory, targets)
    pooled = _pooled_excess(memory, targets)
    if memory.settle_s > 0:
        return Adjustment(rate, memory, Reason.SETTLING)
    if pooled is not None:
        return _step_back(rate, memory, targets, pooled)
    return _rise(rate, memory, period, targets)


def _excess(memory: Memory, period: Period, targets: Targets) -> Reason | None:
    """Whether this period alone shows an overload."""
    if period.responses == 0:
        is_frozen = memory.samples >= _LEAST_SAMPLES and period.admitted > 0
        return Reason.TOO_SLOW if is_frozen else None
    if _is_above(period.failed, period.responses, targets.errors):
        return Reason.TOO_MANY_ERRORS
    if _is_above(period.slow, sum(period.counts), _TOLERATED_SLOW):
        return Reason.TOO_SLOW
    return None


def _is_above(bad: float, responses: float, tolerated: float) -> bool:
    if bad < _LEAST_BAD:
        return False
    expected = tolerated * responses
    return bad > expected + _SURE * math.sqrt(expected * (1 - tolerated))


def _pooled_excess(memory: Memory, targets: Targets) -> Reason | None:
    """Whether the pool shows that the origin is at its limit or close to it."""
    if memory.samples < _FULL_SAMPLES * 0.6:
        return None
    if memory.failed > _NEAR * targets.errors * memory.samples:
        return Reason.TOO_MANY_ERRORS
    near = memory.unloaded + _NEAR * (1 - memory.unloaded)
    if memory.slow > _TOLERATED_SLOW * memory.samples:
        return Reason.TOO_SLOW
    return Reason.NEAR_TARGET if memory.latency > near else None


def _with_rates(memory: Memory, period: Period) -> Memory:
    """The delayed rates, one period later."""
    admitted = period.admitted * 60 / period.seconds
    seen = (
        before + (admitted - before) * -math.expm1(-period.seconds / lag_s)
        for before, lag_s in zip(memory.seen, _LAGS_S, strict=True)
    )
    return replace(memory, seen=tuple(seen))


def _is_underestimated(memory: Memory, period: Period) -> bool:
    """Whether visitors cause more load than the model says, also in an overload."""
    return period.responses * 60 / period.seconds > memory.responses_each * memory.carried


def _with_model(memory: Memory, period: Period) -> Memory:
    """The model with this period, in which the origin kept up."""
    kept = math.exp(-period.seconds / _MODEL_MEMORY_S)
    load = period.responses * 60 / period.seconds
    sums = memory.seen_sums
    errors = memory.misfits
    sums = tuple(kept * total + seen for total, seen in zip(sums, memory.seen, strict=True))
    load_sum = kept * memory.load_sum + load
    misfits = tuple(
        kept * error + (load - seen * load_sum / total) ** 2 if total > 0 else kept * error
        for error, seen, total in zip(errors, memory.seen, sums, strict=True)
    )
    return replace(memory, seen_sums=sums, load_sum=load_sum, misfits=misfits)


def _with_pool(memory: Memory, period: Period) -> Memory:
    kept = max(1 - period.responses / _FULL_SAMPLES, 0.0)
    samples = kept * memory.samples + period.responses
    latency = quantile(period.counts, 0.95)
    pooled = memory.latency
    if latency is not None and samples > 0:
        pooled += (latency - pooled) * period.responses / samples
    return replace(
        memory,
        settle_s=max(memory.settle_s - period.seconds, 0.0),
        samples=samples,
        slow=kept * memory.slow + period.slow,
        failed=kept * memory.failed + period.failed,
        latency=pooled,
        unloaded=_unloaded(memory, pooled, samples),
        fresh=min(memory.fresh + period.responses, _FULL_SAMPLES),
    )


def _unloaded(memory: Memory, pooled: float, samples: float) -> float:
    if samples < _FULL_SAMPLES * 0.6 or pooled <= 0:
        return memory.unloaded
    if memory.unloaded == 0 or pooled < memory.unloaded:
        return min(pooled, 0.9)
    return min(memory.unloaded + 0.002 * (pooled - memory.unloaded), 0.9)


def _fall(
    rate: float, memory: Memory, period: Period, targets: Targets, reason: Reason
) -> Adjustment:
    good = (period.responses - period.failed) * 60 / period.seconds
    if good <= 0 or memory.responses_each <= 0:
        fallen = max(rate * _DEEPEST, targets.rate_min)
        return _at(fallen, rate, replace(memory, is_draining=True), targets, reason)
    limit = (memory.limit + good) / 2 if memory.is_draining else good
    latency = quantile(period.counts, 0.95) or 0.0
    if reason is Reason.TOO_SLOW:
        depth = max(1 / max(latency, 1.0), _DEEPEST)
    else:
        depth = max(1 - 2 * period.failed / period.responses, _DEEPEST)
    memory = replace(memory, limit=limit, is_draining=True)
    return _at(min(rate, memory.capacity * _CRUISE * depth), rate, memory, targets, reason)


def _resume(rate: float, memory: Memory, targets: Targets) -> Adjustment:
    """The backlog is gone."""
    memory = _settling(replace(memory, is_draining=False))
    return _at(max(_CRUISE * memory.capacity, rate), rate, memory, targets, Reason.RECOVERED)


def _step_back(rate: float, memory: Memory, targets: Targets, reason: Reason) -> Adjustment:
    """A small excess, or the approach of one: slightly below the rate that the load stands for."""
    memory = _settling(replace(memory, limit=memory.carried * memory.responses_each))
    return _at(min(rate, _CRUISE * memory.capacity), rate, memory, targets, reason)


def _rise(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    if not period.waiting:
        return Adjustment(rate, memory, Reason.NO_DEMAND)
    if memory.fresh < _LEAST_SAMPLES:
        return Adjustment(rate, memory, Reason.TOO_FEW_SAMPLES)
    if rate >= targets.rate_max:
        return Adjustment(rate, memory, Reason.AT_MAX)
    fast = min(rate * _GROWTH, (1 + _AHEAD) * memory.carried)
    cruise = _CRUISE * memory.capacity
    if rate < cruise:
        risen = min(fast, cruise)
    elif rate < _BEYOND * memory.capacity:
        risen = rate + _STEP * memory.capacity * period.seconds
    else:
        risen = fast
    if risen <= rate:
        return Adjustment(rate, memory, Reason.SETTLING)
    return _at(risen, rate, replace(memory, fresh=0.0), targets, Reason.RISE)


def _settling(memory: Memory) -> Memory:
    """Judged from now on by new responses, once the last step shows."""
    return replace(
        memory,
        settle_s=min(memory.lag_s, _MOST_SETTLE_S),
        samples=0.0,
        slow=0.0,
        failed=0.0,
        latency=0.0,
        fresh=0.0,
    )


def _at(rate: float, before: float, memory: Memory, targets: Targets, reason: Reason) -> Adjustment:
    if rate <= targets.rate_min:
        return Adjustment(targets.rate_min, memory, reason if before > rate else Reason.AT_MIN)
    return Adjustment(min(rate, targets.rate_max), memory, reason)
