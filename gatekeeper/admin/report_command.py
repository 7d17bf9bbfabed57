"""The command line of `gatekeeper report`.

Exit 0: the file is written. Exit 1: no gate responds, or the file cannot be written. Exit 2: usage,
an unknown room or event, an invalid period.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from gatekeeper.admin.command_options import admin_client, config_option
from gatekeeper.admin.report import parse_report_time_s
from gatekeeper.errors import GatekeeperError

_SUFFIXES = (".html", ".json", ".csv")
_TIME = 'A time with an offset, or how long ago, e.g. "2h".'


def _checked_time(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if text:
        try:
            parse_report_time_s(text, now_s=time.time())
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return text


def _checked_out(_context: click.Context, _parameter: click.Parameter, path: Path) -> Path:
    if path.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter(
            f'"{path.name}" has no known suffix; expected a name that ends in .html, .json or .csv'
        )
    return path


@click.command("report")
@config_option
@click.option("--room", default="", help="Name of the room. Default: default.")
@click.option("--event", default="", help="Name of an event: its room and its period.")
@click.option("--since", default="", metavar="T", callback=_checked_time, help=_TIME)
@click.option("--until", default="", metavar="T", callback=_checked_time, help=_TIME)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    callback=_checked_out,
    help="The file to write: .html, .json or .csv.",
)
def report(config: Path | None, out: Path, **wanted: str) -> None:
    """Write the report on a room or an event.

    It has figures, charts and the changes that operators made. The period is that of the event,
    else the last 24 hours. Figures are kept for a week.
    """
    query = {name: value for name, value in wanted.items() if value}
    query["format"] = out.suffix.lower().removeprefix(".")
    body = admin_client(config).download("/admin/report", **query)
    try:
        out.write_bytes(body)
    except OSError as error:
        raise GatekeeperError(f"{out}: {error.strerror}; expected a writable file") from error
    click.echo(f"{out}: {len(body):,} bytes")
