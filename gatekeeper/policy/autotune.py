"""The control law of autotune: the next rate from what the origin did in one period. Pure.

Rules:
- Every step is taken from the rate that the measured load stands for (`policy.autotune_memory`),
  not from the rate that was set last. So repeated falls for one overload do not add up, and the
  rate is at most half above what the origin is known to carry.
- **Fall**: p95 latency or the share of failed responses above its target, beyond chance in one
  period. The rate falls to what the origin served, lower in proportion to the excess, until a
  period is clear. Then it returns to nine tenths of what the origin served.
- **Step back**: the pool is close to a target, before the target is reached.
- **Rise**: by a fixed step while visitors wait. Past the remembered capacity the steps grow with
  the load that the origin carries there. Until a first limit is known the rate rises by a quarter
  in a period.
- **Hold**: below a limit that was found more than once the rate waits, up to two minutes.
- The more often a target was missed in the last minutes, the lower the rate returns.

docs/background/autotune.md explains it; docs/decisions/0121-the-law-of-autotune.md has the
alternatives and their figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gatekeeper.policy.autotune_memory import (
    FULL_SAMPLES,
    LATENCY_BOUNDS,
    LEAST_BAD,
    NEAR,
    Memory,
    Period,
    Targets,
    quantile,
)
from gatekeeper.policy.visitor_groups import limited

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

# Judging a period and the pool.
_TOLERATED_SLOW = 0.05  # the p95 is above its target when more than this share is slower
_LEAST_BAD = 5  # responses: a few slow ones in a quiet period are no overload
_LEAST_EXPECTED = 10.0  # responses: that none came is no accident
_SURE = 2.5  # standard deviations above what is tolerated
_CLEAR = 0.6  # of what is tolerated: an overload is over
_NEAR_SHARE = 0.035  # of the responses are slower than that, if it is not one visitor alone
_NEAR_ERRORS = 0.6  # of the tolerated errors: no rise
_GIVEN_UP = 0.1  # of the distance by which a step back corrects the unloaded p95
_LEAST_SAMPLES = 20.0  # for a rise
# Falling and returning, as shares of the capacity.
_DEEPEST = 0.3
_CRUISE = 0.97
_LEAST_CRUISE = 0.78
_USUAL_STRAIN = 0.03
_STRAIN_WEIGHT = 2.0
_MOST_SETTLE_S = 30.0
# Rising.
_GROWTH = 1.25  # most in one period
_AHEAD = 0.5  # most above the rate that the load stands for
_STEP = 0.001  # of the capacity, a second
_DRIFT = 0.03  # of the capacity, most before a step shows
_UNLOADED = 0.1  # of the way from the unloaded p95 to the target
_UNLOADED_PACE = 1.5
_RETURNED = 0.99  # of the rate that a rise begins from
_RECOVERY_PACE = 4.5
_REDUCED = 0.8  # the capacity was higher some minutes ago
_BEYOND = 1.03  # of the capacity: it is larger than remembered
_LEAST_AHEAD = 0.05
_CONVEX = 2.0  # growth of the lead beyond
_HOLD_S = 30.0  # for each time that the limit was confirmed
_MOST_HOLD_S = 120.0
_CLOSE = 0.2  # two capacities are one, measured twice


class Reason(StrEnum):
    """Why the rate is what it is."""

    TOO_SLOW = "too_slow"
    TOO_MANY_ERRORS = "too_many_errors"
    NEAR_TARGET = "near_target"
    NEAR_LIMIT = "near_limit"
    RECOVERED = "recovered"
    RISE = "rise"
    SETTLING = "settling"
    TOO_FEW_SAMPLES = "too_few_samples"
    NO_DEMAND = "no_demand"
    AT_MAX = "at_max"
    AT_MIN = "at_min"


_MISSED = (Reason.TOO_SLOW, Reason.TOO_MANY_ERRORS)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """`rate`: admissions per minute from now on."""

    rate: float
    memory: Memory
    reason: Reason


def adjust(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """The rate from now on, and why. `rate` is the one in force; it may be outside the bounds."""
    rate = min(max(rate, targets.rate_min), targets.rate_max)
    excess = _excess(memory, period, targets)
    memory = memory.after(period)
    pooled = _pooled_excess(memory, targets)
    is_above = not memory.is_draining and (excess is not None or pooled in _MISSED)
    memory = memory.with_strain(is_above, seconds=period.seconds)
    if excess is not None:
        return _fall(rate, memory, period, targets, excess)
    if memory.is_draining:
        return _resume(rate, memory, period, targets)
    if memory.settle_s > 0:
        return Adjustment(rate, memory, Reason.SETTLING)
    if pooled is not None:
        return _step_back(rate, memory, targets, pooled)
    return _rise(rate, memory, period, targets)


def _excess(memory: Memory, period: Period, targets: Targets) -> Reason | None:
    """Whether this period alone shows an overload."""
    if period.responses == 0:
        expected = memory.load * period.seconds / 60
        has_stopped = expected >= _LEAST_EXPECTED and period.admitted > 0
        return Reason.TOO_SLOW if has_stopped else None
    if _is_beyond_chance(period.failed, period.responses, targets.errors):
        return Reason.TOO_MANY_ERRORS
    if _is_beyond_chance(period.slow, sum(period.counts), _TOLERATED_SLOW):
        return Reason.TOO_SLOW
    return None


def _is_beyond_chance(bad: int, responses: int, tolerated: float) -> bool:
    """Whether so many bad responses are no accident, if each is bad with that probability."""
    expected = tolerated * responses
    deviation = math.sqrt(expected * (1 - tolerated))
    return bad >= _LEAST_BAD and bad > expected + _SURE * deviation


def _pooled_excess(memory: Memory, targets: Targets) -> Reason | None:
    """Whether the pool shows that the origin is at its limit, or close to it."""
    if memory.samples < FULL_SAMPLES / 2:
        return None
    if (failed := _sum(memory.failed)) >= _LEAST_BAD and failed > targets.errors * memory.samples:
        return Reason.TOO_MANY_ERRORS
    if _sum(memory.slow) > _TOLERATED_SLOW * memory.samples:
        return Reason.TOO_SLOW
    is_near = memory.latency > memory.on_the_way(NEAR)
    is_near = is_near and _sum(memory.near) > _NEAR_SHARE * memory.samples
    return Reason.NEAR_TARGET if is_near else None


def _sum(by_group: Sequence[float]) -> float:
    """As far as each group counts."""
    return sum(limited(by_group, least=LEAST_BAD))


def _fall(
    rate: float, memory: Memory, period: Period, targets: Targets, reason: Reason
) -> Adjustment:
    good = period.load * (1 - period.failed / max(period.responses, 1))
    if good <= 0 or memory.responses_each <= 0:
        memory = replace(memory, is_draining=True)
        return _lowered(rate * _DEEPEST, rate, memory, targets, reason)
    if reason is Reason.TOO_SLOW:
        depth = 1 / max(quantile(period.counts, 0.95) or 0.0, 1.0)
    else:
        depth = 1 - 2 * period.failed / period.responses
    if memory.is_draining:
        memory = replace(memory, limit=(memory.limit + good) / 2)
    else:
        memory = replace(_with_limit(memory, good), is_draining=True)
    fallen = _cruise(memory) * max(depth, _DEEPEST)
    return _lowered(fallen, rate, memory, targets, reason)


def _resume(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """Returns to nine tenths of the capacity once the backlog of an overload is gone."""
    is_fast = period.slow <= _CLEAR * _TOLERATED_SLOW * sum(period.counts)
    if not is_fast or period.failed > targets.errors * period.responses:
        return Adjustment(rate, memory, Reason.SETTLING)
    memory = _settling(replace(memory, is_draining=False))
    risen = min(max(_cruise(memory), rate), targets.rate_max)
    return Adjustment(risen, memory, Reason.RECOVERED)


def _step_back(rate: float, memory: Memory, targets: Targets, reason: Reason) -> Adjustment:
    """Slightly below what the origin serves now.

    Where that helps nothing, the load is not why the origin is slow. So each step back also
    corrects the unloaded p95, and the rate does not fall on and on.
    """
    unloaded = memory.unloaded + _GIVEN_UP * max(memory.latency - memory.unloaded, 0.0)
    memory = replace(memory, unloaded=min(unloaded, 1.0))
    memory = _settling(_with_limit(memory, memory.load))
    return _lowered(_cruise(memory), rate, memory, targets, reason)


def _rise(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    if not period.waiting:
        return Adjustment(rate, memory, Reason.NO_DEMAND)
    if memory.fresh < _LEAST_SAMPLES:
        return Adjustment(rate, memory, Reason.TOO_FEW_SAMPLES)
    is_near = _sum(memory.failed) > _NEAR_ERRORS * targets.errors * memory.samples
    if is_near or period.slow > _TOLERATED_SLOW * period.responses:
        return Adjustment(rate, memory, Reason.NEAR_TARGET)
    if rate >= targets.rate_max:
        return Adjustment(rate, memory, Reason.AT_MAX)
    if _is_held(rate, memory):
        return Adjustment(rate, memory, Reason.NEAR_LIMIT)
    risen = min(_risen(rate, memory, period.seconds), targets.rate_max)
    if risen <= rate:
        return Adjustment(rate, memory, Reason.SETTLING)
    return Adjustment(risen, replace(memory, fresh=0.0), Reason.RISE)


def _risen(rate: float, memory: Memory, seconds: float) -> float:
    """The four stretches of a rise, by what is known of the capacity."""
    capacity, cruise = memory.capacity, _cruise(memory)
    most = rate * _GROWTH
    if capacity <= 0:
        return min(most, (1 + _AHEAD) * memory.smoothed)
    if rate < cruise:
        return min(most, (1 + _AHEAD) * memory.smoothed, cruise)
    if rate < cruise + (_BEYOND - _CRUISE) * capacity:
        return rate + _pace(memory) * capacity * seconds
    lead = _LEAST_AHEAD + _CONVEX * max(memory.smoothed / capacity - _BEYOND, 0.0)
    return min(most, (1 + min(lead, _AHEAD)) * memory.smoothed)


def _pace(memory: Memory) -> float:
    """The additive rise around the remembered capacity, as a share of it a second.

    Slow enough that little is added before a step shows: a session later, and in enough responses.
    Faster while the origin was able to do more some minutes ago, since it may recover.
    """
    if _is_reduced(memory):
        return _RECOVERY_PACE * min(_STEP, _DRIFT / memory.lag_s)
    delay_s = memory.lag_s + 60 * FULL_SAMPLES / max(memory.load, 1.0)
    pace = min(_STEP, _DRIFT / delay_s)
    return pace * _UNLOADED_PACE if _is_unloaded(memory) else pace


def _is_held(rate: float, memory: Memory) -> bool:
    """Whether the rate has returned to just below a limit that was found more than once."""
    if memory.hold_s <= 0 or _is_reduced(memory) or _is_unloaded(memory):
        return False
    return rate >= _cruise(memory) * _RETURNED


def _is_unloaded(memory: Memory) -> bool:
    return memory.latency < memory.on_the_way(_UNLOADED)


def _is_reduced(memory: Memory) -> bool:
    return memory.limit < _REDUCED * memory.best


def _with_limit(memory: Memory, good: float) -> Memory:
    """The limit, responses per minute: the lowest of three measures, each of them noisy.

    A limit close to the remembered one confirms it and moves it by half. The more often that was
    so of late, the longer the rate stays below it: an overload costs more than the last percent
    brings.
    """
    limit = min(good, memory.carried * memory.responses_each, memory.load)
    if abs(limit - memory.limit) >= _CLOSE * memory.limit:
        return replace(memory, limit=limit, touches=0.0, hold_s=0.0)
    touches = memory.touches + 1
    hold_s = min(touches * _HOLD_S, _MOST_HOLD_S)
    return replace(memory, limit=(limit + memory.limit) / 2, touches=touches, hold_s=hold_s)


def _cruise(memory: Memory) -> float:
    """The rate that a rise begins from: lower when targets were missed often of late."""
    strain = max(memory.strain - _USUAL_STRAIN, 0.0)
    return memory.capacity * max(_CRUISE - _STRAIN_WEIGHT * strain, _LEAST_CRUISE)


def _settling(memory: Memory) -> Memory:
    return memory.with_empty_pool(settle_s=min(memory.lag_s, _MOST_SETTLE_S))


def _lowered(
    fallen: float, rate: float, memory: Memory, targets: Targets, reason: Reason
) -> Adjustment:
    """The lower of the two rates, within the bounds."""
    lowered = max(min(fallen, rate), targets.rate_min)
    is_least = rate <= targets.rate_min
    return Adjustment(lowered, memory, Reason.AT_MIN if is_least else reason)
