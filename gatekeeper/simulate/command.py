"""The command line of `gatekeeper simulate`: options in groups, and the help text."""

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
  gatekeeper simulate http://localhost:8080 --event autumn-sale --visitors 2000
  gatekeeper simulate http://localhost:8080 --at-once 200 --visitors 400 --floods 20 \\
      --lurkers 7 --no-shows 0.3 --claim-timeout 120 --admin http://localhost:8081
  gatekeeper simulate http://gate-1:8080 http://gate-2:8080 \\
      --visitors 40000 --arrivals 500 --ghosts 0.05 --jumpers 0.02 \\
      --admin http://gate-1:8081 --duration 7200 --plot sale.svg --json
"""


class _Option(click.Option):
    def __init__(self, *arguments: Any, heading: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heading = heading


_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _Command(click.Command):
    """A command whose help lists the options under headings."""

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


def _option_group(heading: str, **shared: Any) -> Callable[..., _Decorator]:
    return partial(click.option, cls=_Option, heading=heading, show_default=True, **shared)


_arrivals = _option_group("Arrivals")
_events = _option_group("An event of the room")
_kinds = _option_group("Visitor kinds (shares of the crowd, 0 to 1)", metavar="SHARE")
_pressure = _option_group("Beside the visitors, for the whole run")
_visits = _option_group("Admitted visitors")
_settings = _option_group("Settings of the gate")
_limits = _option_group("Limits of the crowd")
_output = _option_group("Output")


@click.command(cls=_Command, epilog=_EPILOG)
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@_arrivals("--visitors", metavar="N", default=100, help="Number of visitors.")
@_arrivals(
    "--profile",
    type=click.Choice(["constant", "ramp", "flash"]),
    default="constant",
    help="A constant rate, a slow rise to the peak, or a rise to the peak within seconds.",
)
@_arrivals("--arrivals", "arrivals_per_s", metavar="N", default=10.0, help="Arrivals per second.")
@_arrivals(
    "--peak", "peak_per_s", metavar="N", default=200.0, help="Arrivals per second at the peak."
)
@_arrivals("--ramp", "ramp_s", metavar="N", default=30.0, help="Seconds until the peak of a ramp.")
@_arrivals(
    "--peak-for", "peak_s", metavar="N", default=60.0, help="Seconds at the peak of a flash."
)
@_arrivals("--at-once", metavar="N", default=0, help="Visitors that arrive at second 0.")
@_arrivals(
    "--browsers",
    metavar="SHARE",
    default=0.5,
    help="Share that uses a cookie; the rest are apps that use a header.",
)
@_events(
    "--event",
    metavar="NAME",
    default="",
    show_default=False,
    help="Gather in the prequeue of this event, and judge its draw and its opening.",
)
@_events("--late", metavar="SHARE", default=0.1, help="Share that arrives after the start.")
@_events(
    "--late-within",
    "late_s",
    metavar="N",
    default=20.0,
    help="Seconds after the start within which they arrive.",
)
@_arrivals(
    "--lane",
    "lane_texts",
    metavar="NAME:SHARE:HEAD_START",
    multiple=True,
    help="Share of the visitors that is invited into a lane, e.g. members:0.2:15m.",
)
@_arrivals(
    "--invitation-secret",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The room's invitation_secret_file, for the invitations of --lane.",
)
@_kinds("--leavers", default=0.0, help="Leave the queue with POST leave.")
@_kinds("--returners", default=0.0, help="Stop polling, and return later.")
@_kinds("--ghosts", default=0.0, help="Never return their token.")
@_kinds("--refreshers", default=0.0, help="Ignore the poll interval.")
@_kinds("--jumpers", default=0.0, help="Send forged, swapped and spent tokens.")
@_kinds("--no-shows", default=0.0, help="Stop polling near the front, and never claim.")
@_kinds(
    "--away", "away_s", metavar="N", default=30.0, help="Seconds for which returners stop polling."
)
@_pressure(
    "--floods",
    metavar="N",
    default=0,
    help="Requests per second of clients that keep no cookies.",
)
@_pressure(
    "--lurkers", metavar="N", default=0, help="Clients that keep a place and never claim a release."
)
@_pressure(
    "--bots",
    metavar="N",
    default=0,
    help="Bots, of five kinds in turn: no cookies; no proof of work; proof of work; replayed "
    "proofs; shared passes.",
)
@_pressure(
    "--bot-addresses", metavar="N", default=4, help="Addresses of the bots, in X-Forwarded-For."
)
@_pressure(
    "--bot-cpu",
    "bot_cpu_s",
    metavar="N",
    default=60.0,
    help="CPU-seconds that the bots spend on challenges.",
)
@_visits(
    "--visits",
    "visit_requests",
    metavar="N",
    default=3,
    help="Requests of each admitted visitor.",
)
@_visits(
    "--visit-for", "visit_s", metavar="N", default=5.0, help="Seconds that these requests take."
)
@_visits(
    "--stayers",
    metavar="SHARE",
    default=0.5,
    help="Share that idles afterwards; the rest leave.",
)
@_settings(
    "--rate",
    "rate_text",
    metavar="RATE",
    help='Rate, e.g. "500/min"; default: as reported by the gate.',
)
@_settings("--burst", metavar="N", default=10, help="Burst.")
@_settings(
    "--claim-timeout",
    "claim_timeout_s",
    metavar="N",
    default=120.0,
    help="claim_timeout in seconds, for no-shows and lurkers.",
)
@_settings(
    "--granted", metavar="N", default=0, help="Admissions beyond the rate, by `gatekeeper allow`."
)
@_settings("--room", default="default", help="Name of the room.")
@_settings(
    "--path",
    "paths",
    metavar="PATH",
    multiple=True,
    default=("/",),
    help="A path of the room, e.g. /checkout/. Several: visitors take turns.",
)
@_settings(
    "--admin",
    "admin_url",
    metavar="URL",
    help="URL of the admin listener, for exact counts, max_active and the watermark.",
)
@_settings(
    "--admin-token",
    metavar="TOKEN",
    default="",
    show_default=False,
    envvar="GATEKEEPER_ADMIN__TOKEN",
    help="Bearer token of the admin listener.",
)
@_limits(
    "--duration",
    "duration_s",
    metavar="N",
    default=300.0,
    help="Maximum duration in seconds; with --event from its start on.",
)
@_limits("--connections", metavar="N", default=64, help="Number of connections.")
@_limits("--seed", metavar="N", default=1, help="The same seed makes the same crowd.")
@_output("--json", "as_json", is_flag=True, show_default=False, help="Print the verdict as JSON.")
@_output(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a chart of arrivals, queue and admissions as SVG.",
)
def simulate(
    profile: str,
    leavers: float,
    returners: float,
    ghosts: float,
    refreshers: float,
    jumpers: float,
    no_shows: float,
    rate_text: str | None,
    lane_texts: tuple[str, ...],
    invitation_secret: Path | None,
    as_json: bool,
    plot: Path | None,
    **numbers: Any,
) -> None:
    """Send a simulated crowd to a gate, and judge the gate.

    The visitors are HTTP clients of the gate at URL. They poll at the interval that the gate
    reports, and visit the site once they are admitted. With several URLs (replicas), each request
    goes to a random one. One process simulates tens of thousands of visitors.

    \b
    The responses must keep the promises of the gate:
    - visitors are admitted in order of arrival, those near the front
      within 2 s of their release
    - never more than rate, burst and max_active allow
    - the watermark never falls; no place and no session is lost
    - no forged token is accepted

    \b
    With floods, lurkers or no-shows:
    - no visitor waits longer than promised; the origin receives the rate
    - a client that keeps no cookies gets no place
    - after two missed releases a lurker stands at the end of the line

    \b
    With --event the crowd gathers in the prequeue of an event:
    - no visitor is admitted early, the first one within 10 s of the start
    - the order is the one drawn, computed from the public record
    - the rate holds from the first minute, and polls stay spread

    Progress goes to standard error, the verdict to standard output. Ctrl-C ends the run with the
    verdict so far. Exit status: 0 when every tested promise held, 1 when one was broken, 2 when the
    run could not start.
    """
    from gatekeeper.config.secrets import read_secrets
    from gatekeeper.simulate.plan import CrowdPlan, Profile, Shares
    from gatekeeper.simulate.run import simulate as run
    from gatekeeper.simulate.simulated_lanes import parse_lane

    try:
        rate_per_minute = parse_rate_per_minute(rate_text) if rate_text is not None else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from error
    try:
        lanes = tuple(map(parse_lane, lane_texts))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--lane") from error
    plan = CrowdPlan(
        profile=Profile(profile),
        shares=Shares(leavers, returners, ghosts, no_shows, refreshers, jumpers),
        rate_per_minute=rate_per_minute,
        lanes=lanes,
        invitation_secret=read_secrets(invitation_secret)[0] if invitation_secret else b"",
        **numbers,
    )
    try:
        status = uvloop.run(run(plan, as_json=as_json, plot=plot))
    except GatekeeperError as error:
        raise click.UsageError(error.public) from error
    sys.exit(status)
