"""Arrival times of a crowd. Pure: a generator of rising times, from a seeded random source."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import assert_never

from gatekeeper.simulate.plan import CrowdPlan, Profile

_FLASH_RISE_S = 3.0  # e.g. a link that is sent to many people at once


def arrival_times_s(plan: CrowdPlan, random: Random) -> Iterator[float]:
    """Arrival times of the plan's visitors, in seconds from the start, in rising order.

    Independent visitors form a Poisson process: the gaps are exponential, at the current rate.
    """
    yield from (0.0 for _ in range(plan.at_once))
    yield from islice(_process(plan, random), plan.visitors - plan.at_once)


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
