"""The help of the command line: complete sentences, and every option is in the reference."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gatekeeper.cli import app

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
# In every command that has them, as stated at the beginning of the reference.
EVERYWHERE = {"--help", "--config", "--room", "--version"}


def commands(
    group: click.Group = app, name: str = "gatekeeper"
) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups included."""
    yield name, group
    for each, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {each}")
        else:
            yield f"{name} {each}", command


COMMANDS = dict(commands())


def help_of(name: str) -> str:
    context = click.Context(COMMANDS[name], info_name=name, terminal_width=80, max_content_width=80)
    return COMMANDS[name].get_help(context)


@pytest.mark.parametrize(
    "name", [n for n, each in COMMANDS.items() if isinstance(each, click.Group)]
)
def test_list_of_commands_cuts_no_sentence(name: str) -> None:
    """Click shows the first sentence of each command, cut with "..." if it is too long."""
    listed = help_of(name).partition("Commands:")[2].splitlines()
    assert len(listed) > 4
    assert [line for line in listed if line.endswith("...")] == []


@pytest.mark.parametrize("name", [n for n, each in COMMANDS.items() if each.params])
def test_help_of_every_option_is_a_sentence(name: str) -> None:
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert [each.opts for each in options if not (each.help or "").endswith(".")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_in_the_reference(name: str) -> None:
    if name == "gatekeeper simulate":
        text = (REFERENCE / "simulation.md").read_text()
    else:
        rows = (REFERENCE / "command-line.md").read_text().splitlines()
        text = "\n".join(row for row in rows if row.startswith(f"| `{name}"))
    options = {
        opt
        for each in COMMANDS[name].params
        if isinstance(each, click.Option)
        for opt in each.opts
        if opt.startswith("--")
    }
    named = set(re.findall(r"--[a-z-]+", text))
    assert options - named - EVERYWHERE == set()
