"""What a crowd is to do, checked as a whole before the first visitor comes.

Rules. All problems are reported at once. Everything is bounded here: visitors, time, connections,
and the time that one request may take. The same plan with the same seed makes the same crowd.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from urllib.parse import urlsplit

from gatekeeper.errors import ConfigError

_MOST_VISITORS = 1_000_000
_MOST_PER_S = 10_000.0
_MOST_DURATION_S = 7 * 86400.0
_MOST_CONNECTIONS = 1024


class Profile(StrEnum):
    CONSTANT = "constant"  # `arrivals_per_s` throughout
    RAMP = "ramp"  # from `arrivals_per_s` to `peak_per_s` over `ramp_s`, and on like that
    FLASH = "flash"  # up to `peak_per_s` within seconds, for `peak_s`, then back


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of the crowd, 0 to 1, that do not simply wait for their turn."""

    leavers: float = 0.0  # give their place back politely
    returners: float = 0.0  # go silent for `away_s`, then return
    ghosts: float = 0.0  # never come back with their token
    refreshers: float = 0.0  # ask wildly, whatever they are told
    jumpers: float = 0.0  # wait like everyone, and try forged, swapped and spent tokens meanwhile


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """A crowd against the gate at `urls`, each that of a replica or of a balancer before them.

    Raises ConfigError that names every problem.
    """

    urls: tuple[str, ...]
    visitors: int = 100
    profile: Profile = Profile.CONSTANT
    at_once: int = 0  # of the visitors, how many come in the first instant
    arrivals_per_s: float = 10.0
    peak_per_s: float = 200.0
    ramp_s: float = 30.0
    peak_s: float = 60.0
    shares: Shares = field(default_factory=Shares)
    browsers: float = 0.5  # the part that comes with a cookie; the rest are apps
    seed: int = 1
    duration_s: float = 300.0
    # What the gate promised. The rate is taken from the gate's own answers unless it stands here.
    rate_per_minute: float | None = None
    burst: int = 10
    granted: int = 0  # admissions beyond the rate that an operator gives during the run
    room: str = "default"
    # What one does inside.
    paths: tuple[str, ...] = ("/",)
    visit_requests: int = 3
    visit_s: float = 5.0
    stayers: float = 0.5  # the part that idles afterwards; the rest leave politely
    away_s: float = 30.0
    # The operator's listener, which counts exactly.
    admin_url: str | None = None
    admin_token: str = field(default="", repr=False)
    # Limits of the crowd itself.
    connections: int = 64
    request_timeout_s: float = 15.0
    give_up_s: float = 30.0  # without a single answer for so long, the gate is gone

    def __post_init__(self) -> None:
        problems = [*_addresses(self), *_ranges(self), *_shares(self)]
        if problems:
            raise ConfigError(problems, source="simulate")


def _addresses(plan: CrowdPlan) -> list[str]:
    problems = [] if plan.urls else ["urls: expected one or more"]
    for name, url in (*(("url", url) for url in plan.urls), ("admin_url", plan.admin_url)):
        if url is not None and not _is_http(url):
            problems.append(
                f'{name}: expected an address such as "http://127.0.0.1:8080", not "{url}"'
            )
    if not plan.paths or not all(path.startswith("/") for path in plan.paths):
        problems.append("paths: expected one or more, each beginning with /")
    return problems


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _ranges(plan: CrowdPlan) -> list[str]:
    ranges: tuple[tuple[str, float, float], ...] = (
        ("visitors", 1, _MOST_VISITORS),
        ("at_once", 0, plan.visitors),
        ("arrivals_per_s", 0.001, _MOST_PER_S),
        ("peak_per_s", plan.arrivals_per_s, _MOST_PER_S),
        ("ramp_s", 0.1, _MOST_DURATION_S),
        ("peak_s", 0, _MOST_DURATION_S),
        ("duration_s", 1, _MOST_DURATION_S),
        ("burst", 1, _MOST_VISITORS),
        ("granted", 0, _MOST_VISITORS),
        ("visit_requests", 0, 1000),
        ("visit_s", 0, 3600),
        ("away_s", 0, 86400),
        ("connections", 1, _MOST_CONNECTIONS),
        ("request_timeout_s", 0.1, 300),
        ("give_up_s", 1, 3600),
    )
    if plan.profile is Profile.CONSTANT:
        ranges = tuple(each for each in ranges if each[0] != "peak_per_s")
    return [
        f"{name}: expected {low:g} to {high:g}, not {getattr(plan, name):g}"
        for name, low, high in ranges
        if not low <= getattr(plan, name) <= high
    ]


def _shares(plan: CrowdPlan) -> list[str]:
    parts = {each.name: float(getattr(plan.shares, each.name)) for each in fields(Shares)}
    named = {"browsers": plan.browsers, "stayers": plan.stayers, **parts}
    problems = [
        f"{name}: expected a share from 0 to 1, not {share:g}"
        for name, share in named.items()
        if not 0 <= share <= 1
    ]
    if sum(parts.values()) > 1 + 1e-9:
        problems.append(f"{', '.join(parts)}: their sum is {sum(parts.values()):g}, more than 1")
    return problems
