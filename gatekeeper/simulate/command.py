"""The words of `gatekeeper simulate`: its options under headings, and its help."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import uvloop

from gatekeeper.config.types import parse_rate_per_minute
from gatekeeper.errors import GatekeeperError

_EPILOG = """\
Examples:

\b
  gatekeeper simulate http://localhost:8080
  gatekeeper simulate http://localhost:8080 --profile flash --visitors 5000
  gatekeeper simulate http://gate-1:8080 http://gate-2:8080 \\
      --visitors 40000 --arrivals 500 --ghosts 0.05 --jumpers 0.02 \\
      --admin http://gate-1:8081 --duration 7200 --plot sale.svg --json
"""


class _Option(click.Option):
    def __init__(self, *arguments: Any, heading: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heading = heading


_Decorate = Callable[[Callable[..., None]], Callable[..., None]]


class _Command(click.Command):
    """Its help shows the options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {}
        for option in sorted(self.get_params(ctx), key=lambda each: not hasattr(each, "heading")):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                rows.setdefault(getattr(option, "heading", "Help"), []).append(record)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write("\n")
        formatter.write_text(self.epilog or "")


def _about(heading: str, **shared: Any) -> Callable[..., _Decorate]:
    return partial(click.option, cls=_Option, heading=heading, show_default=True, **shared)


_arrivals = _about("Who comes, and when")
_shares = _about("Shares of them, 0 to 1, that do not simply wait", metavar="SHARE")
_inside = _about("What they do inside")
_promises = _about("What the gate promised")
_crowd = _about("The crowd itself")
_results = _about("What is told")


@click.command(cls=_Command, epilog=_EPILOG)
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@_arrivals("--visitors", metavar="N", default=100, help="How many in all.")
@_arrivals(
    "--profile",
    type=click.Choice(["constant", "ramp", "flash"]),
    default="constant",
    help="All the time alike, slowly more to the peak, or to the peak within seconds.",
)
@_arrivals("--arrivals", "arrivals_per_s", metavar="N", default=10.0, help="How many a second.")
@_arrivals(
    "--peak", "peak_per_s", metavar="N", default=200.0, help="How many a second at the peak."
)
@_arrivals("--ramp", "ramp_s", metavar="N", default=30.0, help="Seconds until the peak of a ramp.")
@_arrivals(
    "--peak-for", "peak_s", metavar="N", default=60.0, help="Seconds at the peak of a flash."
)
@_arrivals("--at-once", metavar="N", default=0, help="How many of them in the first instant.")
@_arrivals(
    "--browsers",
    metavar="SHARE",
    default=0.5,
    help="Share with a cookie; the rest are apps with a header.",
)
@_shares("--leavers", default=0.0, help="Leave the line, and say so.")
@_shares("--returners", default=0.0, help="Go silent, and return.")
@_shares("--ghosts", default=0.0, help="Never come back with their token.")
@_shares("--refreshers", default=0.0, help="Ask wildly, whatever they are told.")
@_shares("--jumpers", default=0.0, help="Try forged, swapped and spent tokens.")
@_shares(
    "--away", "away_s", metavar="N", default=30.0, help="Seconds for which returners are silent."
)
@_inside(
    "--visits",
    "visit_requests",
    metavar="N",
    default=3,
    help="Requests to the site by each let in.",
)
@_inside("--visit-for", "visit_s", metavar="N", default=5.0, help="Seconds that those take.")
@_inside(
    "--stayers",
    metavar="SHARE",
    default=0.5,
    help="Share that idles afterwards; the rest leave.",
)
@_promises("--rate", "rate_text", metavar="RATE", help='Such as "500/min"; else what it tells.')
@_promises("--burst", metavar="N", default=10, help="Most admissions saved up.")
@_promises(
    "--granted", metavar="N", default=0, help="Admissions beside the rate, by `gatekeeper allow`."
)
@_promises("--room", default="default", help="Which room.")
@_promises(
    "--admin",
    "admin_url",
    metavar="URL",
    help="The operator's listener, which counts exactly, and tells of slots.",
)
@_promises(
    "--admin-token",
    metavar="TOKEN",
    default="",
    show_default=False,
    envvar="GATEKEEPER_ADMIN__TOKEN",
    help="Its token.",
)
@_crowd("--duration", "duration_s", metavar="N", default=300.0, help="Seconds at most.")
@_crowd("--connections", metavar="N", default=64, help="How many carry them all.")
@_crowd("--seed", metavar="N", default=1, help="The same seed, the same crowd.")
@_results("--json", "as_json", is_flag=True, show_default=False, help="The verdict for machines.")
@_results(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw arrivals, line and admissions as SVG.",
)
def simulate(
    profile: str,
    leavers: float,
    returners: float,
    ghosts: float,
    refreshers: float,
    jumpers: float,
    rate_text: str | None,
    as_json: bool,
    plot: Path | None,
    **numbers: Any,
) -> None:
    """Send a crowd of real HTTP visitors to the gate at URL, and judge what it does with them.

    With several URLs, those of replicas, each request of a visitor goes to any of them. One process
    holds tens of thousands of visitors. They come back when they are told to, go to the site once
    they are let in, and what they are told is held against what the gate promised: first come,
    first served; in within 2 s of the release when near the front; never above rate and burst;
    never more than max_active inside; the watermark never falls; nobody loses the place; whoever is
    in stays in; no false token counts.

    Progress goes to standard error, the verdict to standard output; Ctrl-C ends the run and tells
    the verdict so far. Exit status 0 when every promise that could be judged was kept, 1 when one
    was broken, 2 for a run that could not begin.
    """
    from gatekeeper.simulate.plan import CrowdPlan, Profile, Shares
    from gatekeeper.simulate.run import simulate as run

    try:
        rate_per_minute = parse_rate_per_minute(rate_text) if rate_text is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from error
    plan = CrowdPlan(
        profile=Profile(profile),
        shares=Shares(leavers, returners, ghosts, refreshers, jumpers),
        rate_per_minute=rate_per_minute,
        **numbers,
    )
    try:
        status = uvloop.run(run(plan, as_json=as_json, plot=plot))
    except GatekeeperError as error:
        raise click.UsageError(error.public) from error
    sys.exit(status)
