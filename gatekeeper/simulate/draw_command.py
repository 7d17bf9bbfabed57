"""The command line of `gatekeeper verify-draw`.

Exit 0: verified. Exit 1: every problem on a line of standard error. Exit 2: usage. Exit 3: no
problem, but the beacon of the record is unreachable: a line of standard error, with what was
verified on standard output. Of a record that was saved without its list of participants, only the
record is verified.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click

from gatekeeper.policy.draw_verification import is_visitor
from gatekeeper.printable import printable

_AGAIN_AFTER_S = 2.0
_FALSE, _IN_PART = 1, 3  # exit codes


def _checked_visitor(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and not is_visitor(value):
        raise click.BadParameter(
            "expected a visitor id (22 characters) or its hash (64 hex digits)"
        )
    return value


@click.command("verify-draw")
@click.argument("source", metavar="URL|FILE")
@click.option(
    "--participants",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The list of participants. Default: the list next to FILE, or under URL.",
)
@click.option(
    "--visitor",
    default="",
    metavar="ID",
    callback=_checked_visitor,
    help="Also show where this visitor stands: the visitor id, or its hash as the page shows it.",
)
@click.option("--turn", type=int, help="The turn that the page shows to this visitor.")
@click.option(
    "--commitment",
    default="",
    metavar="HEX",
    help="The commitment that was public before the start.",
)
def verify_draw(
    source: str, participants: Path | None, visitor: str, turn: int | None, commitment: str
) -> None:
    """Verify the record of a draw.

    Computes commitment, seed, participants, beacon and a visitor's turn again. URL is the address
    of the record, e.g. https://shop.example.com/.gatekeeper/draw/autumn-sale.

    Exit status 0: verified; 1: something is wrong; 3: a part could not be verified.
    """
    if turn is not None and not visitor:
        raise click.UsageError("--turn requires --visitor")
    is_url = source.startswith(("http://", "https://"))
    if not is_url and not Path(source).is_file():
        raise click.UsageError(f"there is no file {source}; expected a file or an http(s) URL")
    if is_url and participants is not None:
        raise click.UsageError("--participants is for a FILE; a URL has its own list")
    from gatekeeper.simulate.draw_check import Findings, check_draw, local_draw, remote_draw

    if not is_url:
        participants = participants or _beside(Path(source))

    async def check() -> Findings:
        return await check_draw(
            remote_draw(source) if is_url else local_draw(Path(source), participants),
            has_list=is_url or participants is not None,
            visitor=visitor,
            turn_us=turn,
            commitment=commitment,
        )

    findings = asyncio.run(check())
    if findings.problems and is_url:
        # In the seconds after the opening the list may have grown since the record was read.
        time.sleep(_AGAIN_AFTER_S)
        findings = asyncio.run(check())
    for remark in findings.remarks:
        print(printable(remark))  # noqa: T201  this is a command line
    for problem in findings.problems:
        print(f"gatekeeper: {printable(problem)}", file=sys.stderr)  # noqa: T201
    for part in findings.unverified:
        print(f"gatekeeper: not verified: {printable(part)}", file=sys.stderr)  # noqa: T201
    if findings.problems:
        sys.exit(_FALSE)
    sys.exit(_IN_PART if findings.unverified else 0)


def _beside(file: Path) -> Path | None:
    """The list of participants that was saved next to a record, if any."""
    names = (file.with_suffix(".participants"), file.with_name("participants"))
    return next((name for name in names if name.is_file()), None)
