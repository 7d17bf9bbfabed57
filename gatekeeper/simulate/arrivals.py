"""Arrival times of a crowd. Pure: a generator of ascending times, from a seeded random source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import assert_never

from gatekeeper.simulate.plan import CrowdPlan, Profile

_MARGIN_S = 0.3  # the crowd's clock may be behind the store's
_CONFIRM_S = 3.0  # a browser confirms within a second
_FLASH_RISE_S = 3.0  # e.g. a link that is sent to many people at once


def arrival_times_s(plan: CrowdPlan, random: Random) -> Iterator[float]:
    """Arrival times of the plan's visitors, in seconds from the start, in rising order.

    Independent visitors form a Poisson process: the gaps are exponential, at the current rate.
    """
    yield from (0.0 for _ in range(plan.at_once))
    yield from islice(_process(plan, random), plan.visitors - plan.at_once)


@dataclass(frozen=True, slots=True)
class EventTimes:
    """The prequeue of an event and its start, in seconds from the start of the run."""

    prequeue_s: float
    start_s: float


def event_arrival_times_s(plan: CrowdPlan, random: Random, *, times: EventTimes) -> Iterator[float]:
    """Arrival times of a crowd that gathers for an event, in rising order.

    The arrivals are spread evenly over the rest of the prequeue, without its last seconds, in which
    visitors could not confirm any more. `at_once` of them come first. The late ones follow after
    the start.
    """
    begin_s = max(times.prequeue_s, 0.0) + _MARGIN_S
    end_s = max(begin_s, times.start_s - min(_CONFIRM_S, (times.start_s - begin_s) / 4))
    late = round(plan.visitors * plan.late)
    before = min(plan.before, plan.visitors - late)
    at_once = min(plan.at_once, plan.visitors - late - before)
    yield from (0.0 for _ in range(before))
    yield from (begin_s for _ in range(at_once))
    yield from _spread(
        random, plan.visitors - late - before - at_once, begin_s=begin_s, end_s=end_s
    )
    late_s = times.start_s + _MARGIN_S
    yield from _spread(random, late, begin_s=late_s, end_s=late_s + plan.late_s)


def _spread(random: Random, count: int, *, begin_s: float, end_s: float) -> Iterator[float]:
    yield from sorted(random.uniform(begin_s, end_s) for _ in range(count))


def _process(plan: CrowdPlan, random: Random) -> Iterator[float]:
    at_s = 0.0
    while True:
        at_s += random.expovariate(rate_per_s(plan, at_s=at_s))
        yield at_s


def rate_per_s(plan: CrowdPlan, *, at_s: float) -> float:
    """Arrivals per second at `at_s`."""
    low, high = plan.arrivals_per_s, plan.peak_per_s
    match plan.profile:
        case Profile.CONSTANT:
            return low
        case Profile.RAMP:
            return low + (high - low) * min(at_s / plan.ramp_s, 1)
        case Profile.FLASH:
            if at_s >= _FLASH_RISE_S + plan.peak_s:
                return low
            return low + (high - low) * min(at_s / _FLASH_RISE_S, 1)
        case _:
            assert_never(plan.profile)
