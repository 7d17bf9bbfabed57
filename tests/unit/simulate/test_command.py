"""The options of `gatekeeper simulate`."""

from dataclasses import fields
from unittest.mock import patch

import click
import pytest
from click.testing import CliRunner

from gatekeeper.simulate.command import simulate
from gatekeeper.simulate.plan import CrowdPlan, Shares

NOT_OPTIONS = {
    "urls",
    "profile",
    "shares",
    "lanes",
    "invitation_secret",
    "request_timeout_s",
    "give_up_s",
    "admin_token",
    "before",
}


def test_option_defaults_equal_plan_defaults() -> None:
    options = {each.name: each for each in simulate.params if isinstance(each, click.Option)}
    numbers = [*fields(CrowdPlan), *fields(Shares)]
    defaults = {each.name: each.default for each in numbers if each.default is not None}

    assert {name: options[name].default for name in defaults.keys() - NOT_OPTIONS} == {
        name: default for name, default in defaults.items() if name not in NOT_OPTIONS
    }


def test_help_lists_every_option_under_a_heading() -> None:
    text = CliRunner().invoke(simulate, ["--help"]).output

    assert text.index("Arrivals:") < text.index("--visitors") < text.index("Admitted visitors:")
    assert all(option in text for each in simulate.params for option in each.opts if "--" in option)
    assert text.rstrip().endswith("--plot sale.svg --json")


def test_rate_option_invalid_is_usage_error() -> None:
    result = CliRunner().invoke(simulate, ["http://localhost", "--rate", "fast"])

    assert result.exit_code == 2
    assert "--rate" in result.output


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--lane", "members:2:15m"], "--lane"),
        (["--invitation-secret", "/nowhere"], "--invitation-secret"),
    ],
)
def test_lane_option_invalid_is_usage_error(options: list[str], problem: str) -> None:
    result = CliRunner().invoke(simulate, ["http://localhost", *options])

    assert result.exit_code == 2
    assert problem in result.output


def test_crowd_visits_the_paths_of_its_room() -> None:
    """A room may cover a part of the site without "/"."""
    plans: list[CrowdPlan] = []

    async def run(plan: CrowdPlan, **_output: object) -> int:
        plans.append(plan)
        return 0

    with patch("gatekeeper.simulate.run.simulate", run):
        for paths in ((), ("/checkout/",), ("/checkout/", "/cart/?step=1")):
            options = [word for path in paths for word in ("--path", path)]
            result = CliRunner().invoke(simulate, ["http://localhost", *options])
            assert result.exit_code == 0, result.output

    assert [plan.paths for plan in plans] == [
        ("/",),
        ("/checkout/",),
        ("/checkout/", "/cart/?step=1"),
    ]
