"""`gatekeeper find`, `admit` and `revoke`: operators' actions on one visitor."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gatekeeper.admin.command_options import admin_client, checked, config_option, room_option
from gatekeeper.admin.console import visitor_line
from gatekeeper.admin.support_actions import parse_visitor_text
from gatekeeper.policy.tokens import is_visitor_id
from gatekeeper.printable import printable

_visitor = click.argument("visitor", metavar="REF|ID", callback=checked(parse_visitor_text))


class _VisitorCommand(click.Command):
    """Accepts a visitor id that begins with a hyphen, as one in 64 does; it is not an option."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        ids = [each for each in arguments if each.startswith("-") and is_visitor_id(each)]
        if ids and "--" not in arguments:
            arguments = [*(each for each in arguments if each not in ids), "--", *ids]
        return super().parse_args(context, arguments)


@click.command(cls=_VisitorCommand)
@_visitor
@click.option("--room", help="Name of the room. Default: all rooms.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON of the admin API.")
@config_option
def find(visitor: str, room: str | None, as_json: bool, config: Path | None) -> None:
    """Show the standing of a visitor.

    REF is the reference on the waiting page, such as 4Q7K-92ZD; ID the visitor id.
    """
    query = {"visitor": visitor, **({"room": room} if room else {})}
    response = admin_client(config).get("/admin/find", **query)
    if as_json:
        click.echo(printable(json.dumps(response)))
        return
    for each in response["visitors"]:
        click.echo(printable(visitor_line(each)))


@click.command(cls=_VisitorCommand)
@_visitor
@room_option
@config_option
def admit(visitor: str, room: str, config: Path | None) -> None:
    """Admit one visitor of the queue now, regardless of the rate.

    REF is the reference on the waiting page, such as 4Q7K-92ZD; ID the visitor id.
    """
    response = admin_client(config).post("/admin/admit", visitor=visitor, room=room)
    before = "" if response["was"] == "waiting" else " already"
    click.echo(printable(f"{room}: {response['visitor']} is {response['state']}{before}"))


@click.command(cls=_VisitorCommand)
@_visitor
@room_option
@config_option
def revoke(visitor: str, room: str, config: Path | None) -> None:
    """End the session of a visitor or remove them from the queue.

    REF is the reference on the waiting page, such as 4Q7K-92ZD; ID the id in the header
    X-Gatekeeper-Visitor that the origin receives.
    """
    response = admin_client(config).post("/admin/revoke", visitor=visitor, room=room)
    held = {"slot": "a slot", "place": "a place in the queue"}.get(
        response["held"], "no slot and no place"
    )
    click.echo(printable(f"{room}: {response['visitor']} had {held}"))
