"""The options of `gatekeeper simulate`."""

from dataclasses import fields

import click
from click.testing import CliRunner

from gatekeeper.simulate.command import simulate
from gatekeeper.simulate.plan import CrowdPlan, Shares

ELSEWHERE = {"urls", "profile", "shares", "paths", "request_timeout_s", "give_up_s", "admin_token"}


def test_an_option_says_the_same_as_the_plan() -> None:
    options = {each.name: each for each in simulate.params if isinstance(each, click.Option)}
    numbers = [*fields(CrowdPlan), *fields(Shares)]
    defaults = {each.name: each.default for each in numbers if each.default is not None}

    assert {name: options[name].default for name in defaults.keys() - ELSEWHERE} == {
        name: default for name, default in defaults.items() if name not in ELSEWHERE
    }


def test_the_help_shows_every_option_under_a_heading() -> None:
    text = CliRunner().invoke(simulate, ["--help"]).output

    assert (
        text.index("Who comes, and when:") < text.index("--visitors") < text.index("What they do")
    )
    assert all(option in text for each in simulate.params for option in each.opts if "--" in option)
    assert text.rstrip().endswith("--plot sale.svg --json")


def test_what_is_no_rate_is_refused_by_its_name() -> None:
    result = CliRunner().invoke(simulate, ["http://localhost", "--rate", "fast"])

    assert result.exit_code == 2
    assert "--rate" in result.output
