"""`gatekeeper event`: the events of a running gate's rooms.

Rules. An event is checked like those of the file before the gate is called; only the gate knows its
rooms. Times have an offset; times from the gate are shown in UTC.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from gatekeeper.admin.command_options import admin_client, config_option, room_option
from gatekeeper.admin.console import event_line, parse_assignments
from gatekeeper.config.event_schema import parse_time_us
from gatekeeper.config.load import checked_event
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName, parse_duration_s
from gatekeeper.errors import ConfigError
from gatekeeper.printable import printable

_PATH = "/admin/events"


@click.group()
def event() -> None:
    """Plan and run sales with an opening time.

    Times have an offset: 2026-12-01T10:00:00+01:00. Events of the configuration file are listed
    and changed as well.
    """


@event.command("list")
@click.option("--room", help="Name of the room. Default: all rooms.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON of the admin API.")
@config_option
def list_events(room: str | None, as_json: bool, config: Path | None) -> None:
    """Show the events of all rooms.

    With times, stage, and the commitment of the draw.
    """
    response = admin_client(config).get(_PATH, **({"room": room} if room else {}))
    if as_json:
        click.echo(printable(json.dumps(response)))
        return
    for each in response["events"]:
        click.echo(printable(event_line(each)))
    if not response["events"]:
        click.echo("no events", err=True)


@event.command()
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE…]")
@click.option("--start", required=True, metavar="TIME", help="When admission starts.")
@click.option("--prequeue", metavar="TIME", help="When the prequeue begins.")
@click.option("--end", metavar="TIME", help="When the event ends.")
@click.option("--order", metavar="ORDER", help='Order of the prequeue: "draw" or "arrival".')
@click.option("--before", metavar="STATE", help='Before the event: "normal" or "closed".')
@click.option("--after", metavar="STATE", help='After its end: "ended" or "normal".')
@click.option("--beacon", metavar="URL", help="A public randomness beacon (drand).")
@room_option
@config_option
def add(
    name: str, settings: tuple[str, ...], room: str, config: Path | None, **keys: str | None
) -> None:
    """Plan an event. KEY=VALUE sets a key of the room for its duration. Example:

    \b
    gatekeeper event add sale --prequeue 2026-12-01T09:30:00+01:00 \\
      --start 2026-12-01T10:00:00+01:00 rate=2000/min
    """
    table: dict[str, object] = {"name": name, "room": room}
    table |= {key: value for key, value in keys.items() if value is not None}
    problems: list[str] = []
    # Only the gate can check conflicts with other settings.
    checked_event(dict(table), [RoomConfig(name=RoomName(room))], path="", problems=problems)
    try:
        changes = parse_assignments(settings)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(sorted(problems), source="event")
    table |= {key: "" if value is None else value for key, value in changes.items()}
    click.echo(printable(event_line(admin_client(config).post(_PATH, body=table))))


@event.command(context_settings={"ignore_unknown_options": True})  # -5m is a wrong delay
@click.argument("name")
@click.argument("when", metavar="DELAY|TIME")
@room_option
@config_option
def delay(name: str, when: str, room: str, config: Path | None) -> None:
    """Move the start of an event by a delay (10m), or to a time.

    The prequeue keeps its beginning, and the draw its commitment.
    """
    body = {"name": name, "room": room, **_new_start(when)}
    click.echo(printable(event_line(admin_client(config).post(_PATH, body=body))))


@event.command("open")
@click.argument("name")
@room_option
@config_option
def open_now(name: str, room: str, config: Path | None) -> None:
    """Start an event now, whatever its opening time."""
    body = {"name": name, "room": room, "start": "now"}
    click.echo(printable(event_line(admin_client(config).post(_PATH, body=body))))


@event.command()
@click.argument("name")
@room_option
@config_option
def cancel(name: str, room: str, config: Path | None) -> None:
    """Cancel an event; one that is running ends now.

    Visitors of its prequeue keep the order of their arrival, and are admitted at the room's rate.
    """
    click.echo(printable(event_line(admin_client(config).delete(_PATH, name=name, room=room))))


def _new_start(when: str) -> dict[str, str]:
    """Parse a delay or a time into the field of the admin API. Raises BadParameter."""
    for key, parse in (("delay", parse_duration_s), ("start", parse_time_us)):
        try:
            value = parse(when)
        except ValueError:
            continue
        if value > 0:
            return {key: when}
    raise click.BadParameter(
        f"{json.dumps(when)} is neither a delay nor a time; "
        'expected e.g. "10m" or 2026-12-01T10:10:00+01:00'
    )
