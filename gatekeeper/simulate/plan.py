"""The plan of a crowd, validated as a whole before the first request.

Rules. All problems are reported at once. Everything is bounded: visitors, time, connections, and
the time of one request. The same plan with the same seed makes the same crowd.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from urllib.parse import urlsplit

from gatekeeper.errors import ConfigError
from gatekeeper.simulate.simulated_lanes import SimulatedLane

_MAX_VISITORS = 1_000_000
_MAX_PER_S = 10_000.0
_MAX_DURATION_S = 7 * 86400.0
_MAX_CONNECTIONS = 1024
_MAX_FLOODS_PER_S = 1000
_MAX_LURKERS = 10_000
_MAX_BOTS = 1000


class Profile(StrEnum):
    CONSTANT = "constant"  # `arrivals_per_s` throughout
    RAMP = "ramp"  # from `arrivals_per_s` to `peak_per_s` over `ramp_s`, then constant
    FLASH = "flash"  # up to `peak_per_s` within seconds, for `peak_s`, then back


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the crowd, 0 to 1, with special behaviour."""

    leavers: float = 0.0  # give their place back with `POST leave`
    returners: float = 0.0  # send nothing for `away_s`, then poll again
    ghosts: float = 0.0  # never return their token
    no_shows: float = 0.0  # stop polling near the front, and never claim
    refreshers: float = 0.0  # ignore the poll interval
    jumpers: float = 0.0  # also send forged, swapped and spent tokens


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """A crowd against the gate at `urls`: its replicas, or a load balancer.

    Raises ConfigError with every problem.
    """

    urls: tuple[str, ...]
    visitors: int = 100
    profile: Profile = Profile.CONSTANT
    at_once: int = 0  # how many of the visitors arrive at second 0
    arrivals_per_s: float = 10.0
    peak_per_s: float = 200.0
    ramp_s: float = 30.0
    peak_s: float = 60.0
    shares: Shares = field(default_factory=Shares)
    # Shares of the visitors that bring an invitation into a lane of the room.
    lanes: tuple[SimulatedLane, ...] = ()
    invitation_secret: bytes = field(default=b"", repr=False)
    # In addition to the visitors, for the whole run:
    floods: int = 0  # requests per second without cookies
    lurkers: int = 0  # clients that keep a place at the front and never claim
    bots: int = 0  # clients that want admissions without being a person
    bot_addresses: int = 4  # that they come from, as a proxy would report them
    bot_cpu_s: float = 60.0  # CPU time that they may spend on challenges
    # An event of the room: the visitors gather in its prequeue, some arrive after its start.
    event: str = ""
    before: int = 0  # visitors that arrive at second 0, before the prequeue
    late: float = 0.1  # share that arrives after the start …
    late_s: float = 20.0  # … within so many seconds
    browsers: float = 0.5  # share with a cookie; the rest are apps with a header
    seed: int = 1
    duration_s: float = 300.0  # with an event: after its start
    # The gate's settings. Without a rate, the highest reported rate counts.
    rate_per_minute: float | None = None
    burst: int = 10
    claim_timeout_s: float = 120.0
    granted: int = 0  # admissions beyond the rate, by `gatekeeper allow` during the run
    room: str = "default"
    # Requests of an admitted visitor.
    paths: tuple[str, ...] = ("/",)
    visit_requests: int = 3
    visit_s: float = 5.0
    stayers: float = 0.5  # share that idles afterwards; the rest leave
    away_s: float = 30.0
    # The admin listener, whose counts are exact.
    admin_url: str | None = None
    admin_token: str = field(default="", repr=False)
    # Limits of the crowd itself.
    connections: int = 64
    request_timeout_s: float = 15.0
    give_up_s: float = 30.0  # the run ends after so long without a response

    def __post_init__(self) -> None:
        problems = [*_addresses(self), *_ranges(self), *_shares(self)]
        if problems:
            raise ConfigError(problems, source="simulate")


def _addresses(plan: CrowdPlan) -> list[str]:
    problems = [] if plan.urls else ["urls: none given; expected one or more"]
    for name, url in (*(("url", url) for url in plan.urls), ("admin_url", plan.admin_url)):
        if url is not None and not _is_http(url):
            problems.append(
                f'{name}: "{url}" is not an HTTP URL; expected e.g. "http://127.0.0.1:8080"'
            )
    if not plan.paths or not all(path.startswith("/") for path in plan.paths):
        problems.append('path: expected one or more, each beginning with /, e.g. "/checkout/"')
    return problems


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _ranges(plan: CrowdPlan) -> list[str]:
    ranges: tuple[tuple[str, float, float], ...] = (
        ("visitors", 1, _MAX_VISITORS),
        ("at_once", 0, plan.visitors),
        ("arrivals_per_s", 0.001, _MAX_PER_S),
        ("peak_per_s", plan.arrivals_per_s, _MAX_PER_S),
        ("ramp_s", 0.1, _MAX_DURATION_S),
        ("peak_s", 0, _MAX_DURATION_S),
        ("duration_s", 1, _MAX_DURATION_S),
        ("floods", 0, _MAX_FLOODS_PER_S),
        ("lurkers", 0, _MAX_LURKERS),
        ("bots", 0, _MAX_BOTS),
        ("bot_addresses", 1, 254),
        ("bot_cpu_s", 0, _MAX_DURATION_S),
        ("before", 0, plan.visitors),
        ("late_s", 0, 3600),
        ("burst", 1, _MAX_VISITORS),
        ("claim_timeout_s", 0.1, 86400),
        ("granted", 0, _MAX_VISITORS),
        ("visit_requests", 0, 1000),
        ("visit_s", 0, 3600),
        ("away_s", 0, 86400),
        ("connections", 1, _MAX_CONNECTIONS),
        ("request_timeout_s", 0.1, 300),
        ("give_up_s", 1, 3600),
    )
    if plan.profile is Profile.CONSTANT:
        ranges = tuple(each for each in ranges if each[0] != "peak_per_s")
    return [
        f"{name}: {getattr(plan, name):g} is out of range; expected {low:g} to {high:g}"
        for name, low, high in ranges
        if not low <= getattr(plan, name) <= high
    ]


def _shares(plan: CrowdPlan) -> list[str]:
    parts = {each.name: float(getattr(plan.shares, each.name)) for each in fields(Shares)}
    named = {"late": plan.late, "browsers": plan.browsers, "stayers": plan.stayers, **parts}
    problems = [
        f"{name}: {share:g} is not a share; expected 0 to 1"
        for name, share in named.items()
        if not 0 <= share <= 1
    ]
    if sum(lane.share for lane in plan.lanes) > 1 + 1e-9:
        problems.append("lanes: the sum of the shares is above 1; expected at most 1")
    if plan.lanes and not plan.invitation_secret:
        problems.append("lanes: no secret for invitations; expected --invitation-secret FILE")
    if sum(parts.values()) > 1 + 1e-9:
        problems.append(
            f"{', '.join(parts)}: the sum is {sum(parts.values()):g}; expected at most 1"
        )
    return problems
