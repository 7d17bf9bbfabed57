"""Arrival times of a crowd."""

from random import Random
from typing import Any

import pytest

from gatekeeper.simulate.arrivals import (
    EventTimes,
    arrival_times_s,
    event_arrival_times_s,
    rate_per_s,
)
from gatekeeper.simulate.plan import CrowdPlan, Profile

URL = "http://127.0.0.1:8080"


def times(plan: CrowdPlan) -> list[float]:
    return list(arrival_times_s(plan, Random(plan.seed)))


@pytest.mark.parametrize("profile", Profile)
def test_arrivals_each_profile_are_complete_and_ordered(profile: Profile) -> None:
    found = times(CrowdPlan((URL,), visitors=500, profile=profile, at_once=20))

    assert len(found) == 500
    assert found == sorted(found)
    assert found[:20] == [0.0] * 20
    assert found[20] > 0


def test_arrivals_depend_on_seed_only() -> None:
    assert times(CrowdPlan((URL,), seed=3)) == times(CrowdPlan((URL,), seed=3))
    assert times(CrowdPlan((URL,), seed=3)) != times(CrowdPlan((URL,), seed=4))


def event_times(*, prequeue_s: float, start_s: float, **values: Any) -> list[float]:
    plan = CrowdPlan((URL,), visitors=200, event="sale", late_s=10, **values)
    times = EventTimes(prequeue_s, start_s)
    return list(event_arrival_times_s(plan, Random(plan.seed), times=times))


def test_event_crowd_gathers_in_prequeue_and_some_come_late() -> None:
    found = event_times(prequeue_s=20, start_s=60, at_once=30, late=0.2)

    assert len(found) == 200
    assert found == sorted(found)
    assert found[0] == found[29] == pytest.approx(20, abs=0.5)
    assert found[30] > found[29]
    assert 50 < found[159] < 58  # time to confirm
    assert 60 < found[160] < found[-1] < 71


def test_event_crowd_comes_at_once_into_prequeue_that_has_begun() -> None:
    found = event_times(prequeue_s=-500, start_s=2, at_once=0, late=0)

    assert 0 < found[0] < 0.5
    assert found[-1] < 2


def test_event_crowd_may_stand_in_line_before_prequeue() -> None:
    found = event_times(prequeue_s=20, start_s=60, before=50, late=0)

    assert found[:50] == [0.0] * 50
    assert found[50] > 20


def test_constant_profile_keeps_rate() -> None:
    found = times(CrowdPlan((URL,), visitors=4000, arrivals_per_s=20))

    assert found[-1] == pytest.approx(200, rel=0.1)


def test_ramp_profile_rises_linearly_to_peak_and_stays() -> None:
    plan = CrowdPlan((URL,), profile=Profile.RAMP, arrivals_per_s=10, peak_per_s=110, ramp_s=20)

    assert [rate_per_s(plan, at_s=at_s) for at_s in (0, 10, 20, 100)] == [10, 60, 110, 110]


def test_flash_profile_peaks_within_seconds_then_ends() -> None:
    plan = CrowdPlan((URL,), profile=Profile.FLASH, arrivals_per_s=1, peak_per_s=200, peak_s=60)

    assert rate_per_s(plan, at_s=0) == 1
    assert rate_per_s(plan, at_s=5) == 200
    assert rate_per_s(plan, at_s=62) == 200
    assert rate_per_s(plan, at_s=64) == 1
