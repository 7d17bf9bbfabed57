"""Commands that show and change the settings of a room while the gate runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gatekeeper.admin.command_options import admin_client, checked, config_option, room_option
from gatekeeper.admin.console import parse_assignments, room_line, setting_lines
from gatekeeper.config.types import parse_message, parse_rate_per_minute
from gatekeeper.policy.phase import Mode
from gatekeeper.printable import printable


@click.command()
@click.argument("rate", callback=checked(parse_rate_per_minute))
@room_option
@config_option
def rate(rate: str, room: str, config: Path | None) -> None:
    """Set the rate: "500/min", "8/s", or 0 for none."""
    response = admin_client(config).post("/admin/rate", rate=rate, room=room)
    _echo(room_line(response["rooms"][0]))


@click.command()
@click.argument("mode", type=click.Choice([each.value for each in Mode]))
@room_option
@config_option
def mode(mode: str, room: str, config: Path | None) -> None:
    """Set the mode of a room.

    \b
    auto   admit at the rate
    hold   admit no visitor; the queue keeps its order
    open   admit every visitor, without rate and limit
    ended  admit no visitor; pages say that the event is over
    """
    response = admin_client(config).post("/admin/mode", mode=mode, room=room)
    _echo(room_line(response["rooms"][0]))


@click.command()
@click.argument("text", callback=checked(parse_message))
@room_option
@config_option
def message(text: str, room: str, config: Path | None) -> None:
    """Show TEXT to all waiting visitors.

    TEXT is one line of at most 500 characters; "" removes the message.
    """
    response = admin_client(config).post("/admin/message", text=text, room=room)
    _echo(room_line(response["rooms"][0]))


@click.command("set")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE…")
@room_option
@config_option
def set_settings(settings: tuple[str, ...], room: str, config: Path | None) -> None:
    """Change settings of a room, all of them or none.

    They last until the value in the file changes. KEY= returns to the file's value. Example:
    gatekeeper set rate=800/min max_active=300
    """
    changes = parse_assignments(settings)
    response = admin_client(config).post("/admin/settings", body=changes, room=room)
    for line in setting_lines(response["rooms"][0], only=changes):
        _echo(line)


@click.command()
@click.option("--room", help="Name of the room. Default: all rooms.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON of the admin API.")
@config_option
def settings(room: str | None, as_json: bool, config: Path | None) -> None:
    """Show the settings in force, and those that were set live."""
    response = admin_client(config).get("/admin/settings", **({"room": room} if room else {}))
    if as_json:
        _echo(json.dumps(response))
        return
    for each in response["rooms"]:
        for line in setting_lines(each):
            _echo(line)


def _echo(text: str) -> None:
    click.echo(printable(text))
