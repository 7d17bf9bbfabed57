"""The state of autotune's law, and its model of the origin's load. Pure.

Rules:
- An admitted visitor loads the origin for a whole session, so the load follows the rate late. The
  model has the rate behind a few fixed delays at once; the delay that explains the responses best
  says which rate the current load corresponds to, and how many responses one visitor causes.
- The **delay** of responses is the mean logarithm of their latencies, above that of the idle
  origin. Its unit is the delay that the law keeps: about half of the way, as a logarithm, from the
  p95 of the idle origin to the target.
- The idle origin is measured at half of its load once, and whenever the capacity has fallen far
  without an overload. Later only a lower pool changes that. The more its latencies vary, compared
  with the unit, the more responses it takes.
- Between two periods the memory is a short text. An invalid text is read as a new memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from gatekeeper.policy.autotune_period import QUICK, Period, Targets, quantile

_IDLE_SAMPLES = 300.0  # responses that measure the idle origin on the way to a first limit
_FEWEST_IDLE, _MOST_IDLE = 200.0, 700.0  # responses that measure it at half of a limit
_IDLE_ERROR = 0.1  # of a unit: the standard error that is enough between these
_FULL_SAMPLES = 350.0  # the pool of responses
_AIM = 0.43  # the delay to keep, as a share of the one at the target
_FEW = 0.12  # more of it, where only one response comes between an idle p95 and the target
_QUEUED = 0.5  # of a unit: failures below it are not from load
_ERROR_WEIGHT = 9.0  # of a failed share at its target, beside the delay
_QUIET = 0.2  # of a unit: failures below it are usual
_USUAL_SAMPLES = 2000.0  # responses over which usual failures are averaged
_MOST_USUAL = 0.5  # of the tolerated failures
_LEAST_ERRORS = 0.002  # a tolerated share below it is as much
_LAGS_S = (5.0, 12.0, 28.0, 65.0)  # mean ages of visitors in sessions of seconds to minutes
_MIN_SMOOTH = 1  # the index of the first delay that smooths the chance of single visitors
_MODEL_S = 120.0  # decay time of the choice of a delay
_EACH_S = 300.0  # decay time of the responses per visitor
_LOAD_S = 15.0  # of the load; and of the pool, where that is more than `_FULL_SAMPLES`
_KNOWN_S = 900.0  # after a longer pause the memory is reset
_SHORT_PAUSE_S = 15.0
_FASTER = 0.25  # share of the distance to a lower pool, as it is renewed
_MAX_UNLOADED = 0.86
_MIN_SLACK = 0.25  # between an idle p95 and the target
_MOST = 1e18  # the upper bound of all numbers in the memory


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of the law between periods. Admissions and responses per minute; 0: unknown."""

    capacity: float = 0.0  # responses to keep below the limit
    best: float = 0.0  # the capacity before a loss: a rise ends there
    known: float = 0.0  # the capacity when last measured, or a higher one since; 0: an operator's
    given: float = 0.0  # the rate that the law set last
    calm_s: float = 0.0  # for how long the origin has shown no load, net; in a fall: none by many
    age_s: float = 0.0  # since the capacity was seen to change
    late_s: float = 0.0  # for how long a replica has been paused
    is_draining: bool = False  # an overload is not over yet
    is_measured: bool = False  # the capacity is that of this overload
    is_probing: bool = False  # the rate is low, to measure the idle origin
    load: float = 0.0  # responses, smoothed
    samples: float = 0.0  # of the pool
    latency: float = 0.0  # of the pool: p95 as a share of the target
    delay: float = 0.0  # of the pool: mean logarithm of the latencies
    variance: float = 0.0  # of the pool: of these logarithms
    fresh: float = 0.0  # responses since the last step
    unloaded: float = 0.0  # p95 of the idle origin
    idle: float = 0.0  # mean logarithm of the idle origin
    usual: float = 0.0  # share of failed responses without load
    usual_samples: float = 0.0  # responses that measured it
    load_sum: float = 0.0
    each_load: float = 0.0  # the same over a longer time
    seen: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # the admitted rate, behind each delay
    seen_sums: tuple[float, ...] = (0.0,) * len(_LAGS_S)
    each_seen: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # the same over a longer time
    misfits: tuple[float, ...] = (0.0,) * len(_LAGS_S)  # squared errors of each delay

    def encode(self) -> str:
        """At most 400 characters of printable ASCII."""
        numbers = [float(getattr(self, name)) for name in _NUMBERS]
        lists = [number for name in _LISTS for number in getattr(self, name)]
        parts = [f"{number:.5g}" for number in numbers + lists]
        return "4:" + ",".join(parts).replace("e+0", "e").replace("e-0", "e-")

    @staticmethod
    def decode(text: str) -> Memory:
        """Decode a memory; a new one for an invalid text."""
        version, _, rest = text.partition(":")
        try:
            read = [float(part) for part in rest.split(",")]
        except ValueError:
            return Memory()
        is_whole = version == "4" and len(read) == len(_NUMBERS) + sum(_LISTS.values())
        if not is_whole or not all(0 <= number < _MOST for number in read):
            return Memory()
        numbers = dict(zip(_NUMBERS, read, strict=False))
        lists: dict[str, tuple[float, ...]] = {}
        begin = len(_NUMBERS)
        for name, length in _LISTS.items():
            lists[name] = tuple(read[begin : begin + length])
            begin += length
        flags = {name: numbers[name] > 0 for name in numbers if name.startswith("is_")}
        values: dict[str, Any] = {**numbers, **lists, **flags}
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
    def smoothed(self) -> float:
        """The admission rate that the current load corresponds to, smoothed, so that single
        visitors matter less with short sessions."""
        return self.seen[max(self._fit, _MIN_SMOOTH)]

    @property
    def responses_each(self) -> float:
        """Responses per admitted visitor; 0: unknown."""
        seen = self.each_seen[self._fit]
        return self.each_load / seen if seen > 0 else 0.0

    def wait(self, targets: Targets) -> float:
        """The delay of the pool, in units of the one to keep."""
        is_known = self.idle and self.samples
        return self._in_units(self.delay - self.idle, targets) if is_known else 0.0

    def delay_of(self, period: Period, targets: Targets) -> float:
        """The delay of a period, in units of the one to keep."""
        if not self.idle:
            return 0.0
        return self._in_units(period.delay(self.idle) - self.idle, targets)

    def wait_of(self, period: Period, targets: Targets) -> float:
        """The same with failures, which count where there is a delay and where they are more than
        usual and chance explain."""
        delay = self.delay_of(period, targets)
        if delay <= _QUEUED or not period.responses:
            return delay
        usual = min(2 * self.usual, _MOST_USUAL * targets.errors) * period.responses
        failed = max(period.failed - usual - math.sqrt(usual), 0.0)
        tolerated = max(targets.errors, _LEAST_ERRORS) * period.responses
        return delay + _ERROR_WEIGHT * failed / tolerated

    def _in_units(self, delay: float, targets: Targets) -> float:
        slack_s = targets.latency_s * max(1 - self.unloaded, _MIN_SLACK)
        between = max(self.load / 60 * slack_s, 1.0)  # responses
        return delay / (_unit(self.unloaded) * (1 + _FEW / between**2))

    @property
    def is_pool_exact(self) -> bool:
        """Whether the pool is large enough to measure an idle origin."""
        if not _FEWEST_IDLE <= self.samples < _MOST_IDLE:
            return self.samples >= _MOST_IDLE
        return self.error <= _IDLE_ERROR * _unit(self.latency)

    @property
    def has_delay(self) -> bool:
        """Whether the pool is large enough for `wait`."""
        return self.samples >= _IDLE_SAMPLES / 2

    @property
    def error(self) -> float:
        """The standard error of `delay`."""
        return math.sqrt(self.variance / self.samples)

    def with_capacity(self, capacity: float) -> Memory:
        """A capacity that was measured now."""
        return replace(
            self, capacity=capacity, known=capacity, calm_s=0.0, age_s=0.0, is_probing=False
        )

    def with_rate(self, rate: float) -> Memory:
        """Continue from a rate that was not set by the law."""
        capacity = rate * self.responses_each if self.capacity else 0.0
        measured = self.with_empty_pool().with_capacity(capacity)
        return replace(measured, known=0.0, is_draining=False, is_measured=False)

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
            is_measured=False,
            load=self.load * math.exp(-seconds / self.lag_s),
            seen=seen,
        )

    def with_idle_of_pool(self) -> Memory:
        """The pool is that of an idle origin."""
        return replace(
            self,
            idle=self.delay,
            unloaded=self.latency,
        )

    def with_empty_pool(self) -> Memory:
        """The memory with an empty pool, so that only new responses count."""
        return replace(self, samples=0.0, latency=0.0, delay=0.0, variance=0.0, fresh=0.0)


_LISTS = {
    field.name: len(field.default) for field in fields(Memory) if isinstance(field.default, tuple)
}
_NUMBERS = tuple(field.name for field in fields(Memory) if field.name not in _LISTS)


def _unit(unloaded: float) -> float:
    """The delay to keep, in logarithms, above an idle origin with that p95."""
    return _AIM * -math.log(min(max(unloaded, QUICK), _MAX_UNLOADED))


def _with_model(memory: Memory, period: Period) -> Memory:
    """The delayed rates, and how well each explains the load.

    Periods of overload count too: their backlog arrives later as load, and leaving out either would
    bias the number of responses per visitor. An empty room says nothing about that number.
    """
    admitted = period.admitted * 60 / period.seconds
    seen = tuple(
        before + (admitted - before) * -math.expm1(-period.seconds / lag_s)
        for before, lag_s in zip(memory.seen, _LAGS_S, strict=True)
    )
    kept, load = math.exp(-period.seconds / _MODEL_S), period.load
    is_empty = not (period.admitted or period.responses)
    kept_each = 1.0 if is_empty else math.exp(-period.seconds / _EACH_S)
    sums = tuple(kept * total + rate for total, rate in zip(memory.seen_sums, seen, strict=True))
    load_sum = kept * memory.load_sum + load
    misfits = tuple(
        kept * misfit + ((load - rate * load_sum / total) ** 2 if total > 0 else 0.0)
        for misfit, rate, total in zip(memory.misfits, seen, sums, strict=True)
    )
    pairs = zip(memory.each_seen, seen, strict=True)
    return replace(
        memory,
        seen=seen,
        seen_sums=sums,
        each_seen=tuple(kept_each * total + rate for total, rate in pairs),
        load_sum=load_sum,
        each_load=kept_each * memory.each_load + load,
        misfits=misfits,
    )


def _with_pool(memory: Memory, period: Period) -> Memory:
    answered = sum(period.counts)
    # A measurement of the idle origin uses all of its responses.
    renewed = max(min(period.responses / _FULL_SAMPLES, period.seconds / _LOAD_S, 1.0), 0.0)
    is_measuring = memory.is_probing and not memory.is_draining
    samples = (1 - (0 if is_measuring else renewed)) * memory.samples + answered
    latency, delay, variance = memory.latency, memory.delay, memory.variance
    if (period_latency := quantile(period.counts, 0.95)) is not None:
        share, period_delay = answered / samples, period.delay(memory.idle)
        latency += (period_latency - latency) * share
        delay += (period_delay - delay) * share
        variance += (period.variance_about(period_delay) - variance) * share
    smoothed = memory.load + (period.load - memory.load) * -math.expm1(-period.seconds / _LOAD_S)
    fresh = min(memory.fresh + period.responses, _FULL_SAMPLES)
    return replace(
        memory,
        samples=samples,
        latency=latency,
        delay=max(delay, 0.0),
        variance=variance,
        load=smoothed,
        fresh=fresh,
    )


def learned(memory: Memory, period: Period, targets: Targets) -> Memory:
    """The memory with what a period without overload shows about the idle origin: its usual
    failures, and that it is faster than it was known to be."""
    if period.responses and memory.delay_of(period, targets) < _QUIET:
        samples = min(memory.usual_samples + period.responses, _USUAL_SAMPLES)
        share = min(period.responses / samples, 1.0)
        usual = memory.usual + share * (period.failed / period.responses - memory.usual)
        memory = replace(memory, usual=usual, usual_samples=samples)
    if memory.samples < _IDLE_SAMPLES or memory.delay <= 0:
        return memory
    if not memory.idle:
        return memory.with_idle_of_pool()
    if memory.delay >= memory.idle:
        return memory
    share = min(_FASTER * sum(period.counts) / memory.samples, 1.0)
    return replace(
        memory,
        idle=memory.idle + share * (memory.delay - memory.idle),
        unloaded=memory.unloaded + share * min(memory.latency - memory.unloaded, 0.0),
    )
