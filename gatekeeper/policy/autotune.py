"""The control law of autotune: the next rate from what the origin did in one period. Pure.

Rules:
- **Capacity**: the load in responses that the law keeps, about nine tenths of what the origin can
  serve. The rate is the capacity divided by the responses of one visitor.
- **Estimate**: each period compares its delay with the delay to keep, and its load times that is an
  estimate of the capacity. The capacity is their average over the time since the last change.
- **Idle origin**: a delay is that above an idle origin. At a first limit the rate is halved until
  it is measured.
- **Dip**: while the pool's delay is above the one to keep, the rate is lower by as much.
- **Fall**: p95 latency or the share of failed responses above its target, beyond chance in one
  period. The rate falls in proportion to the excess, until a period is clear. If the origin serves
  far less than the capacity, the served load is the new capacity.
- **Rise**: the longer the origin has been calm, the faster.
- A period in which a replica was paused is not judged, nor one in which nobody waits.

docs/background/autotune.md explains it; docs/decisions/0145-a-capacity-from-load-and-delay.md has
the alternatives and their figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from gatekeeper.policy.autotune_memory import Memory, learned
from gatekeeper.policy.autotune_period import LATENCY_BOUNDS, Period, Targets, quantile

__all__ = [
    "LATENCY_BOUNDS",
    "PERIOD_S",
    "Adjustment",
    "Memory",
    "Period",
    "Reason",
    "Targets",
    "adjust",
    "quantile",
]

PERIOD_S = 5.0

# Thresholds for a period.
_TOLERATED_SLOW = 0.05  # the p95 is above its target when more than this share is slower
_MIN_BAD = 5  # bad responses: fewer in a quiet period are not an overload
_MIN_EXPECTED = 10.0  # expected responses: with none at all, the origin has stopped
_SURE = 2.5  # standard deviations above the tolerated number
_CLEAR = 0.6  # of the tolerated number: below it, an overload is over
_ALONE_S = 20.0  # of bad responses in one group alone: then they are of one visitor
_MIN_SAMPLES = 20.0  # for a rise
_MAX_LATE_S = 30.0  # a replica that is late for longer counts: the gate itself is too slow
# Falling.
_DEEPEST = 0.26  # of the rate for what the origin serves at most
_SERVED = 0.85  # the first estimate of the capacity, as a share of what the origin serves at most
_CHANGED = 0.8  # share of the capacity: with less served load, the capacity has changed
_FROM_LOAD = 0.2  # share of the capacity: with fewer admitted visitors, load is not the cause
_HALF = 0.5  # of the rate for the capacity: a dip at most, and while the idle origin is measured
_LONGEST_PROBE_S = 120.0  # then the responses so far are enough
# Estimating the capacity.
_STEEPNESS = 5.0  # how much faster the delay grows than the load
_NEW_S = 40.0  # the shortest time over which estimates are averaged
_OLD_S = 300.0  # the longest
_MOST_DELAY = 6.5  # of a period, above the delay to keep
_DIP = 0.25  # of the rate, for each unit of the pool's delay above the one to keep
_CORRECTION = 0.08  # of the rate, at most, for a load that is not at the capacity
# Rising.
_GROWTH = 1.25  # maximum per period, before a first limit
_AHEAD = 0.5  # maximum above the rate that the load corresponds to, before a first limit
_UNLOADED = 0.7  # of the delay to keep: neither calm nor its opposite
_CALM_S = 28.0  # of calm double the pace
_MAX_RISE = 0.45  # above the current load
_MIN_STEP = 0.003  # of the rate: smaller steps are deferred
# Of the rate: a smaller difference is rounding, a larger one an operator's change.
_UNCHANGED = 0.002


class Reason(StrEnum):
    """The reason of the current rate."""

    TOO_SLOW = "too_slow"
    TOO_MANY_ERRORS = "too_many_errors"
    NEAR_TARGET = "near_target"
    NEAR_LIMIT = "near_limit"
    RECOVERED = "recovered"
    RISE = "rise"
    SETTLING = "settling"
    REPLICA_LATE = "replica_late"
    TOO_FEW_SAMPLES = "too_few_samples"
    NO_DEMAND = "no_demand"
    AT_MAX = "at_max"
    AT_MIN = "at_min"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """`rate`: admissions per minute from now on."""

    rate: float
    memory: Memory
    reason: Reason


def adjust(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """The rate from now on, and why. `rate` is the one in force; it may be outside the bounds."""
    rate = _within(rate, targets)
    if abs(rate - memory.given) > _UNCHANGED * rate:
        memory = memory.with_rate(rate)
    excess = _excess(memory, period, targets)
    memory, is_late = _with_lateness(memory, period)
    if is_late:
        adjusted = Adjustment(rate, memory.after_unjudged(period), Reason.REPLICA_LATE)
    else:
        adjusted = _judged(rate, memory.after(period), period, targets, excess)
    return replace(adjusted, memory=replace(adjusted.memory, given=adjusted.rate))


def _with_lateness(memory: Memory, period: Period) -> tuple[Memory, bool]:
    """Count the pauses of a replica; whether this period must not be judged, since response times
    include the pause."""
    late_s = memory.late_s + period.seconds if period.is_late else 0.0
    return replace(memory, late_s=min(late_s, 2 * _MAX_LATE_S)), 0 < late_s <= _MAX_LATE_S


def _judged(
    rate: float, memory: Memory, period: Period, targets: Targets, excess: Reason | None
) -> Adjustment:
    memory = replace(memory, age_s=min(memory.age_s + period.seconds, _OLD_S))
    if excess is not None:
        return _fall(rate, memory, period, targets, excess)
    if memory.is_draining:
        return _resume(rate, memory, period, targets)
    wait = memory.wait_of(period, targets)
    memory = learned(memory, period, targets)
    if memory.is_probing:
        return _probe(rate, memory, targets)
    if not period.waiting:
        return Adjustment(rate, memory, Reason.NO_DEMAND)
    if not memory.capacity:
        return _search(rate, memory, period, targets)
    return _steer(rate, memory, period, targets, wait)


def _excess(memory: Memory, period: Period, targets: Targets) -> Reason | None:
    """Whether this period alone shows an overload."""
    if period.responses == 0:
        expected = memory.load * period.seconds / 60
        has_stopped = expected >= _MIN_EXPECTED and period.admitted > 0
        return Reason.TOO_SLOW if has_stopped else None
    if _is_beyond_chance(period.failed, period.responses, targets.errors):
        return Reason.TOO_MANY_ERRORS
    if _is_beyond_chance(period.slow, sum(period.counts), _TOLERATED_SLOW):
        return Reason.TOO_SLOW
    return None


def _is_beyond_chance(bad: int, responses: int, tolerated: float) -> bool:
    """Whether the number of bad responses is significant, if each is bad with that probability."""
    expected = tolerated * responses
    deviation = math.sqrt(expected * (1 - tolerated))
    return bad >= _MIN_BAD and bad > expected + _SURE * deviation


def _fall(
    rate: float, memory: Memory, period: Period, targets: Targets, reason: Reason
) -> Adjustment:
    """Fall deep enough to clear the backlog. In an outage load is not the cause, and the capacity
    stays as it was."""
    good = period.load * (1 - period.failed / max(period.responses, 1))
    is_from_load = memory.smoothed * memory.responses_each > _FROM_LOAD * memory.known
    if good <= 0 or not is_from_load:
        if memory.idle and not memory.capacity:
            memory = _at_first_limit(memory, memory.load)
        memory = replace(memory, is_draining=True, calm_s=0.0)
        return _lowered(rate * _DEEPEST, rate, memory, targets, reason)
    if reason is Reason.TOO_SLOW:
        depth = 1 / max(quantile(period.counts, 0.95) or 0.0, 1.0)
    else:
        depth = 1 - 2 * period.failed / period.responses
    memory = replace(_in_overload(memory, period, good), is_draining=True, calm_s=0.0)
    whole = _sustained(replace(memory, is_probing=False), targets)
    least = _DEEPEST if memory.is_probing else _DEEPEST / _SERVED
    fallen = min(whole * max(depth, least), _sustained(memory, targets))
    return _lowered(fallen, rate, memory, targets, reason)


def _in_overload(memory: Memory, period: Period, good: float) -> Memory:
    """The capacity, from the load that the origin serves in an overload."""
    if not memory.capacity:
        return _at_first_limit(memory, good)
    served = good if memory.is_probing else _SERVED * good
    if memory.is_measured:
        if not memory.best and memory.age_s < _OLD_S:  # the load still rises to a first limit
            capacity = max(served, memory.capacity)
        else:
            capacity = served
        return replace(memory, capacity=capacity, known=capacity)
    if max(good, 0.0 if memory.is_draining else memory.load) < _CHANGED * memory.capacity:
        best = memory.capacity
        return replace(memory.with_capacity(served), best=best, is_measured=True)
    if memory.is_draining:
        return memory
    ahead = min(memory.capacity, max(memory.load, _CHANGED * memory.capacity))
    lowered = ahead * (1 - _MOST_DELAY / _STEEPNESS * _share(memory, period))
    return replace(memory, capacity=lowered)


def _at_first_limit(memory: Memory, good: float) -> Memory:
    """What the origin serves at most; now the idle origin is measured."""
    measured = memory.with_capacity(good).with_empty_pool()
    return replace(measured, is_probing=True, is_measured=True)


def _resume(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """Return to the capacity once the origin responds again without the backlog of an overload."""
    if not period.responses or not _is_clear(
        period.slow_of_many, period.failed_of_many, period, targets
    ):
        return Adjustment(rate, memory, Reason.SETTLING)
    if not _is_clear(period.slow, period.failed, period, targets) and memory.calm_s < _ALONE_S:
        memory = replace(memory, calm_s=memory.calm_s + period.seconds)
        return Adjustment(rate, memory, Reason.SETTLING)
    memory = replace(memory.with_empty_pool(), is_draining=False, is_measured=False, calm_s=0.0)
    if memory.is_probing:
        memory = replace(memory, age_s=0.0)
    resumed = _sustained(memory, targets) if memory.capacity else rate
    return Adjustment(resumed, memory, Reason.RECOVERED)


def _is_clear(slow: float, failed: float, period: Period, targets: Targets) -> bool:
    is_fast = slow <= _CLEAR * _TOLERATED_SLOW * sum(period.counts)
    return is_fast and failed <= targets.errors * period.responses


def _probe(rate: float, memory: Memory, targets: Targets) -> Adjustment:
    """Measure the idle origin at half of its load, once the load has come down."""
    is_low = memory.load <= _CHANGED * memory.capacity
    if (is_low and memory.is_pool_exact) or memory.age_s >= _LONGEST_PROBE_S:
        if is_low and memory.samples >= _MIN_SAMPLES:
            memory = memory.with_idle_of_pool()
        memory = memory.with_capacity(_SERVED * memory.capacity).with_empty_pool()
        return Adjustment(_sustained(memory, targets), memory, Reason.RECOVERED)
    if not is_low:
        memory = memory.with_empty_pool()
    return Adjustment(min(rate, _sustained(memory, targets)), memory, Reason.SETTLING)


def _search(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """Rise quickly until a first limit is known."""
    if memory.responses_each > 0 and memory.has_delay and memory.wait(targets) > 1:
        memory = _at_first_limit(memory, max(memory.load, period.load))
        memory = replace(memory, is_measured=False)
        return _lowered(_sustained(memory, targets), rate, memory, targets, Reason.NEAR_TARGET)
    if memory.fresh < _MIN_SAMPLES:
        return Adjustment(rate, memory, Reason.TOO_FEW_SAMPLES)
    if rate >= targets.rate_max:
        return Adjustment(rate, memory, Reason.AT_MAX)
    risen = min(rate * _GROWTH, (1 + _AHEAD) * memory.smoothed, targets.rate_max)
    if risen <= rate:
        return Adjustment(rate, memory, Reason.SETTLING)
    return Adjustment(risen, replace(memory, fresh=0.0), Reason.RISE)


def _steer(
    rate: float, memory: Memory, period: Period, targets: Targets, wait: float
) -> Adjustment:
    if memory.fresh < _MIN_SAMPLES:
        return Adjustment(rate, memory, Reason.TOO_FEW_SAMPLES)
    memory = replace(memory, capacity=max(memory.capacity, _least(memory, targets)))
    correction = 1.0
    if period.responses and 1 / (1 + _AHEAD) <= memory.load / memory.capacity <= 1 + _AHEAD:
        memory = _estimated(memory, period, targets, wait)
        correction -= min(max(memory.load / memory.capacity - 1, -_CORRECTION), _CORRECTION)
    dip = 1 - _DIP * max(memory.wait(targets) - 1, 0.0)
    steered = _within(_sustained(memory, targets) * max(dip * correction, _HALF), targets)
    if abs(steered - rate) <= _MIN_STEP * rate:
        is_most = rate >= targets.rate_max
        return Adjustment(rate, memory, Reason.AT_MAX if is_most else Reason.NEAR_LIMIT)
    if steered < rate:
        is_slower = max(memory.wait(targets), wait) > 1
        reason = Reason.NEAR_TARGET if is_slower else Reason.NEAR_LIMIT
        return _lowered(steered, rate, memory, targets, reason)
    return Adjustment(steered, memory, Reason.RISE)


def _estimated(memory: Memory, period: Period, targets: Targets, wait: float) -> Memory:
    """The capacity with one more estimate: the load of this period, more where its delay is short.

    A delay is compared with the load that caused it, not with the rate: visitors request more in
    one minute than in the next. Estimates are averaged over the time since the last change. Calm
    speeds a rise up, by its square.
    """
    calm_s = memory.calm_s + period.seconds * (1 - wait / _UNLOADED)
    calm_s = min(max(calm_s, 0.0), 3 * _CALM_S)
    above = max(1 - wait, -_MOST_DELAY) / _STEEPNESS
    if above > 0:
        above = min(above * (1 + (calm_s / _CALM_S) ** 2), _MAX_RISE)
    step = min(max(period.load / memory.capacity - 1, -0.8) + above, 0.8)
    capacity = memory.capacity * (1 + _share(memory, period) * step)
    least = _least(memory, targets)
    capacity = max(capacity, least)
    memory = replace(memory, calm_s=calm_s, age_s=0.0 if calm_s > 2 * _CALM_S else memory.age_s)
    if memory.capacity < memory.best <= capacity:
        return replace(memory.with_capacity(memory.best), best=0.0)
    if least < capacity < _HALF * memory.known:
        measured = memory.with_capacity(capacity / _SERVED).with_empty_pool()
        return replace(measured, known=memory.known, is_probing=True)
    return replace(memory, capacity=capacity, known=max(memory.known, capacity))


def _share(memory: Memory, period: Period) -> float:
    """The weight of one period in an average over the time since the last change."""
    return period.seconds / min(max(memory.age_s, _NEW_S), _OLD_S)


def _least(memory: Memory, targets: Targets) -> float:
    """The capacity for the lowest rate."""
    return targets.rate_min * memory.responses_each


def _sustained(memory: Memory, targets: Targets) -> float:
    """The rate for the capacity; half of it while the idle origin is measured."""
    if memory.responses_each <= 0:
        return targets.rate_min
    share = _HALF if memory.is_probing else 1.0
    return _within(share * memory.capacity / memory.responses_each, targets)


def _within(rate: float, targets: Targets) -> float:
    return min(max(rate, targets.rate_min), targets.rate_max)


def _lowered(
    fallen: float, rate: float, memory: Memory, targets: Targets, reason: Reason
) -> Adjustment:
    """The lower of the two rates, within the bounds."""
    lowered = max(min(fallen, rate), targets.rate_min)
    is_least = rate <= targets.rate_min
    return Adjustment(lowered, memory, Reason.AT_MIN if is_least else reason)
