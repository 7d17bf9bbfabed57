"""The command line of `gatekeeper invite`: invitations for tests and small lists.

Rules. It signs with the first secret of the room's `invitation_secret_file`, by this machine's
clock, and calls no gate. An invitation that the room could not accept is refused here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from gatekeeper.admin.command_options import checked, config_option, load_file
from gatekeeper.config.invitation_keys import invitation_keys
from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.config.types import DEFAULT_ROOM, parse_duration_s
from gatekeeper.policy.invitations import MAX_SUB, signed_invitation


@click.command()
@click.option("--room", help=f"Name of the room. Default: {DEFAULT_ROOM}, or that of the event.")
@click.option("--event", help="Name of an event; the invitation is valid while it exists.")
@click.option("--sub", required=True, help="The account of the person, as the shop knows it.")
@click.option("--lane", help="Name of a lane of the room.")
@click.option(
    "--valid",
    default="1h",
    show_default=True,
    callback=checked(parse_duration_s),
    help="How long it is valid.",
)
@config_option
def invite(
    room: str | None,
    event: str | None,
    sub: str,
    lane: str | None,
    valid: str,
    config: Path | None,
) -> None:
    """Make an invitation, for tests and small lists.

    Add it to an address of the shop: ?gk_invitation=…
    """
    loaded = load_file(config)
    found = _room(loaded, room, event)
    lanes = [each.name for each in found.lanes]
    if not 0 < len(sub) <= MAX_SUB:
        raise click.UsageError(f"--sub has {len(sub)} characters; expected 1 to {MAX_SUB}")
    if lane is not None and lane not in lanes:
        known = ", ".join(lanes) or "a [[lane]] of that room"
        raise click.UsageError(f'--lane: no lane "{lane}"; expected one of {known}')
    if not found.invitation_secret_file:
        raise click.UsageError(
            f"room {found.name} has no invitation_secret_file; expected one, or an invitation that "
            "the shop signs with its private key"
        )
    raw = signed_invitation(
        invitation_keys(found)[0],
        sub=sub,
        now_s=time.time(),
        valid_s=parse_duration_s(valid),
        room=found.name if room or not event else None,
        event=event,
        lane=lane,
    )
    sys.stdout.write(f"{raw}\n")


def _room(config: Config, name: str | None, event: str | None) -> RoomConfig:
    """The named room, or the room of an event in the file."""
    if name is None and event is not None:
        name = next((each.room for each in config.schedule if each.name == event), None)
        if name is None and len(config.rooms) == 1:
            name = config.rooms[0].name  # the event may have been added live
    wanted = name or DEFAULT_ROOM
    for room in config.rooms:
        if room.name == wanted:
            return room
    known = ", ".join(sorted(room.name for room in config.rooms))
    raise click.UsageError(f'--room: no room "{wanted}"; expected one of {known}')
