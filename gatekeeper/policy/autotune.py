"""The control law of autotune: the next rate from what the origin did in one period. Pure.

Rules:
- **Plateau**: the rate that is kept while the origin shows nothing, about nine tenths of what it
  can serve. Every other state is a temporary departure from the plateau.
- **Fall**: p95 latency or the share of failed responses above its target, beyond chance in one
  period. The rate falls below the plateau, in proportion to the excess, until a period is clear.
- **Dip**: while the pool is close to a target, a quarter below the plateau.
- A fall or dip also lowers the plateau a little; a served load far below the plateau, or a first
  limit, sets it.
- **Rise**: the plateau rises while visitors wait. Very slowly where the latency shows that the
  origin is loaded; faster and faster the longer it shows that it is not, so that a recovered
  capacity is found in two minutes and a known one is probed rarely.
- The rate exceeds the rate that the measured load corresponds to (`policy.autotune_memory`) by at
  most one half.
- A period in which a replica was paused is not judged.

docs/background/autotune.md explains it; docs/decisions/0139-a-plateau-below-the-limit.md has the
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
    MIN_BAD,
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

# Thresholds for a period and for the pool.
_TOLERATED_SLOW = 0.05  # the p95 is above its target when more than this share is slower
_MIN_BAD = 5  # bad responses: fewer in a quiet period are not an overload
_MIN_EXPECTED = 10.0  # expected responses: with none at all, the origin has stopped
_SURE = 2.5  # standard deviations above the tolerated number
_CLEAR = 0.6  # of the tolerated number: below it, an overload is over
_NEAR_SHARE = 0.035  # share of the responses slower than `NEAR`, from more than one visitor
_NEAR_ERRORS = 0.6  # of the tolerated errors: above it, no rise
_MIN_SAMPLES = 20.0  # for a rise
_MAX_LATE_S = 30.0  # a replica that is late for longer counts: the gate itself is too slow
# Falling.
_DEEPEST = 0.3  # of the plateau
_DIP = 0.75  # of the plateau
_SERVED = 0.92  # the new plateau, as a share of the load that an origin at its limit served
_CONFIRMED = 0.93  # the new plateau, as a share of the load at which an overload began
_LOWERED = 0.005  # of the plateau, for each period of a dip or a long overload
_CHANGED = 0.8  # share of the plateau: with less served load, the capacity has changed
_GIVEN_UP = 0.025  # share of the distance by which each period of a dip corrects the unloaded p95
# Rising.
_GROWTH = 1.25  # maximum per period, before a first limit
_AHEAD = 0.5  # maximum above the rate that the load corresponds to
_MIN_AHEAD = 0.05  # the same without calm
_AHEAD_S = 240.0  # of calm raise it from there to `_AHEAD`
_PACE = 0.0006  # of the plateau, a second
_CALM_S = 15.0  # of calm double the pace
_UNLOADED = 0.1  # of the way from the unloaded p95 to the target: neither calm nor its opposite
_RETURN_PACE = 0.01  # to a limit that was just measured
_RETURNED = 0.95  # of that
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
    if excess is not None:
        return _fall(rate, memory, period, targets, excess)
    if memory.is_draining:
        return _resume(rate, memory, period, targets)
    pooled = _pooled_excess(memory, targets)
    if pooled is not None:
        return _dip(rate, memory, targets, pooled)
    return _rise(rate, memory, period, targets)


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


def _pooled_excess(memory: Memory, targets: Targets) -> Reason | None:
    """Whether the pool shows that the origin is at its limit, or close to it."""
    if memory.samples < FULL_SAMPLES / 2:
        return None
    if (failed := _sum(memory.failed)) >= _MIN_BAD and failed > targets.errors * memory.samples:
        return Reason.TOO_MANY_ERRORS
    if _sum(memory.slow) > _TOLERATED_SLOW * memory.samples:
        return Reason.TOO_SLOW
    is_near = memory.position > NEAR and _sum(memory.near) > _NEAR_SHARE * memory.samples
    return Reason.NEAR_TARGET if is_near else None


def _sum(by_group: Sequence[float]) -> float:
    """The sum, capped by group."""
    return sum(limited(by_group, least=MIN_BAD))


def _fall(
    rate: float, memory: Memory, period: Period, targets: Targets, reason: Reason
) -> Adjustment:
    """Fall deep enough to clear the backlog, and to a plateau that the origin can sustain
    afterwards."""
    good = period.load * (1 - period.failed / max(period.responses, 1))
    if good <= 0 or memory.responses_each <= 0:
        memory = replace(memory, plateau=memory.plateau or rate, is_draining=True, calm_s=0.0)
        return _lowered(rate * _DEEPEST, rate, memory, targets, reason)
    if reason is Reason.TOO_SLOW:
        depth = 1 / max(quantile(period.counts, 0.95) or 0.0, 1.0)
    else:
        depth = 1 - 2 * period.failed / period.responses
    memory = _in_overload(rate, memory, good)
    memory = replace(memory, is_draining=True, calm_s=0.0)
    return _lowered(memory.plateau * max(depth, _DEEPEST), rate, memory, targets, reason)


def _in_overload(rate: float, memory: Memory, good: float) -> Memory:
    """The plateau and the limit during an overload, from the load that the origin serves.

    Near a known limit the rate at which the overload began is the better measure, since one period
    has few responses. The served load is only used after a significant change.
    """
    served = _SERVED * good / memory.responses_each
    best = max(memory.best, memory.plateau)
    if memory.is_draining:
        if not memory.limit and served >= _CHANGED * memory.plateau:
            return replace(memory, plateau=memory.plateau * (1 - _LOWERED))
        limit = (memory.limit + good) / 2 if memory.limit else good
        return replace(memory, plateau=(memory.plateau + served) / 2, limit=limit, best=best)
    carried = min(rate, memory.carried)
    most = _SERVED * max(good, memory.load) / memory.responses_each
    if not memory.plateau or most < _CHANGED * min(memory.plateau, carried):
        return replace(memory, plateau=served, limit=good, best=best)
    return memory.with_plateau(_CONFIRMED * min(memory.plateau, carried))


def _resume(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    """Returns to the plateau once the backlog of an overload is gone."""
    is_fast = period.slow <= _CLEAR * _TOLERATED_SLOW * sum(period.counts)
    if not is_fast or period.failed > targets.errors * period.responses:
        return Adjustment(rate, memory, Reason.SETTLING)
    memory = replace(memory.with_empty_pool(), is_draining=False)
    return Adjustment(_within(memory.plateau, targets), memory, Reason.RECOVERED)


def _dip(rate: float, memory: Memory, targets: Targets, reason: Reason) -> Adjustment:
    """Below the plateau until the pool is clear, and slightly lower from then on.

    If that has no effect, load is not the cause of the slowness. So each period of a dip also
    corrects the unloaded p95, so that the rate does not fall without limit.
    """
    plateau = memory.plateau or _SERVED * memory.carried or rate
    if memory.calm_s > 0:  # it was rising: the load has not followed yet
        plateau = min(plateau, max(memory.carried, targets.rate_min))
    unloaded = memory.unloaded + _GIVEN_UP * max(memory.latency - memory.unloaded, 0.0)
    memory = replace(memory, unloaded=min(unloaded, 1.0))
    if reason is Reason.NEAR_TARGET:
        memory = memory.with_plateau(plateau * (1 - _LOWERED))
    else:
        memory = memory.with_plateau(plateau * _CONFIRMED).with_empty_pool()
    return _lowered(memory.plateau * _DIP, rate, memory, targets, reason)


def _rise(rate: float, memory: Memory, period: Period, targets: Targets) -> Adjustment:
    plateau = _within(memory.plateau, targets) if memory.plateau else rate
    if plateau > rate * (1 + _MIN_STEP):
        return Adjustment(plateau, memory, Reason.RECOVERED)
    if not period.waiting:
        return Adjustment(rate, memory, Reason.NO_DEMAND)
    samples = memory.samples if memory.plateau else memory.fresh
    if samples < _MIN_SAMPLES:
        return Adjustment(rate, memory, Reason.TOO_FEW_SAMPLES)
    is_near = _sum(memory.failed) > _NEAR_ERRORS * targets.errors * memory.samples
    if is_near or period.slow > _TOLERATED_SLOW * period.responses:
        return Adjustment(rate, memory, Reason.NEAR_TARGET)
    if rate >= targets.rate_max:
        return Adjustment(rate, memory, Reason.AT_MAX)
    if not memory.plateau:
        risen = min(rate * _GROWTH, (1 + _AHEAD) * memory.smoothed, targets.rate_max)
        if risen <= rate:
            return Adjustment(rate, memory, Reason.SETTLING)
        return Adjustment(risen, replace(memory, fresh=0.0), Reason.RISE)
    memory = _risen(memory, period.seconds)
    risen = _within(memory.plateau, targets)
    if risen <= rate * (1 + _MIN_STEP):
        return Adjustment(rate, memory, Reason.NEAR_LIMIT)
    return Adjustment(risen, memory, Reason.RISE)


def _risen(memory: Memory, seconds: float) -> Memory:
    """A higher plateau, by the latency and by how long it has been that of an idle origin.

    `calm_s` is a sum over time, so that noise in single periods averages out.
    """
    calm_s = max(memory.calm_s + seconds * (1 - memory.position / _UNLOADED), 0.0)
    calm_s = min(calm_s, _AHEAD_S)
    plateau = memory.plateau
    pace = _PACE * max(1 - memory.position / NEAR, 0.0) * (1 + (calm_s / _CALM_S) ** 2)
    risen = plateau * (1 + pace * seconds)
    if memory.limit and memory.responses_each > 0:
        measured = _RETURNED * _SERVED * memory.limit / memory.responses_each
        risen = max(risen, min(plateau * (1 + _RETURN_PACE * seconds), measured))
    ahead = _MIN_AHEAD + (_AHEAD - _MIN_AHEAD) * calm_s / _AHEAD_S
    risen = max(min(risen, (1 + ahead) * memory.smoothed), plateau)
    if plateau < memory.best <= risen:
        return replace(memory, plateau=memory.best, best=0.0, calm_s=0.0)
    return replace(memory, plateau=risen, calm_s=calm_s)


def _within(rate: float, targets: Targets) -> float:
    return min(max(rate, targets.rate_min), targets.rate_max)


def _lowered(
    fallen: float, rate: float, memory: Memory, targets: Targets, reason: Reason
) -> Adjustment:
    """The lower of the two rates, within the bounds."""
    lowered = max(min(fallen, rate), targets.rate_min)
    is_least = rate <= targets.rate_min
    return Adjustment(lowered, memory, Reason.AT_MIN if is_least else reason)
