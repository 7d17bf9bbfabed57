"""Validation of a crowd plan."""

from typing import Any

import pytest

from gatekeeper.errors import ConfigError
from gatekeeper.simulate.plan import CrowdPlan, Profile, Shares

URL = "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"urls": ()}, "urls"),
        ({"urls": (URL, "127.0.0.1:8080")}, "127.0.0.1:8080"),
        ({"urls": ("ftp://example.com",)}, "url"),
        ({"urls": ("http://example.com:port",)}, "url"),
        ({"admin_url": "somewhere"}, "admin_url"),
        ({"visitors": 0}, "visitors"),
        ({"visitors": 10, "at_once": 11}, "at_once"),
        ({"arrivals_per_s": 0}, "arrivals_per_s"),
        ({"arrivals_per_s": float("nan")}, "arrivals_per_s"),
        ({"profile": Profile.RAMP, "arrivals_per_s": 50, "peak_per_s": 20}, "peak_per_s"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"connections": 0}, "connections"),
        ({"paths": ()}, "path: "),
        ({"paths": ("shop",)}, "path: "),
        ({"browsers": 1.5}, "browsers"),
        ({"shares": Shares(ghosts=-0.1)}, "ghosts"),
        ({"shares": Shares(no_shows=-0.1)}, "no_shows"),
        ({"floods": -1}, "floods"),
        ({"floods": 1001}, "floods"),
        ({"lurkers": 10_001}, "lurkers"),
        ({"claim_timeout_s": 0}, "claim_timeout_s"),
        ({"shares": Shares(ghosts=0.6, leavers=0.6)}, "sum"),
    ],
)
def test_plan_invalid_field_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        CrowdPlan(**{"urls": (URL,), **wrong})

    assert len(error.value.problems) == 1
    assert named in error.value.problems[0]


def test_plan_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        CrowdPlan(("nowhere",), visitors=0, browsers=2, burst=0)

    assert len(error.value.problems) == 4


def test_plan_constant_profile_ignores_peak() -> None:
    assert CrowdPlan((URL,), arrivals_per_s=500, peak_per_s=200).arrivals_per_s == 500


def test_plan_repr_hides_admin_token() -> None:
    assert "hush" not in repr(CrowdPlan((URL,), admin_token="hush"))
