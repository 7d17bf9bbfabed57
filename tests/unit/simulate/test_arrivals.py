"""When the crowd arrives."""

from random import Random

import pytest

from gatekeeper.simulate.arrivals import arrival_times_s, rate_per_s
from gatekeeper.simulate.plan import CrowdPlan, Profile

URL = "http://127.0.0.1:8080"


def times(plan: CrowdPlan) -> list[float]:
    return list(arrival_times_s(plan, Random(plan.seed)))


@pytest.mark.parametrize("profile", Profile)
def test_everybody_comes_once_and_in_order(profile: Profile) -> None:
    found = times(CrowdPlan((URL,), visitors=500, profile=profile, at_once=20))

    assert len(found) == 500
    assert found == sorted(found)
    assert found[:20] == [0.0] * 20
    assert found[20] > 0


def test_the_same_seed_brings_the_same_crowd_and_another_one_does_not() -> None:
    assert times(CrowdPlan((URL,), seed=3)) == times(CrowdPlan((URL,), seed=3))
    assert times(CrowdPlan((URL,), seed=3)) != times(CrowdPlan((URL,), seed=4))


def test_a_constant_profile_keeps_its_rate() -> None:
    found = times(CrowdPlan((URL,), visitors=4000, arrivals_per_s=20))

    assert found[-1] == pytest.approx(200, rel=0.1)


def test_a_ramp_rises_evenly_to_its_peak_and_stays_there() -> None:
    plan = CrowdPlan((URL,), profile=Profile.RAMP, arrivals_per_s=10, peak_per_s=110, ramp_s=20)

    assert [rate_per_s(plan, at_s=at_s) for at_s in (0, 10, 20, 100)] == [10, 60, 110, 110]


def test_a_flash_is_at_its_peak_within_seconds_and_over_after_its_time() -> None:
    plan = CrowdPlan((URL,), profile=Profile.FLASH, arrivals_per_s=1, peak_per_s=200, peak_s=60)

    assert rate_per_s(plan, at_s=0) == 1
    assert rate_per_s(plan, at_s=5) == 200
    assert rate_per_s(plan, at_s=62) == 200
    assert rate_per_s(plan, at_s=64) == 1
