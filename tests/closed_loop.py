"""A gate with autotune in front of an origin of known capacity, in virtual time.

Visitors are admitted at the rate of the law. Each makes several requests with pauses in between; an
origin of `servers` that serve first come, first served responds, or refuses when its queue is full.
A released visitor may not claim; the admission is given back after `claim_timeout`. The line is
never empty: the rate alone decides.

Every request is one event, and the same seed gives the same run. The capacity of an origin is the
highest constant rate at which it stays within the targets. `Scene` contains it, and a test measures
it again.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from gatekeeper.policy.autotune import (
    LATENCY_BOUNDS,
    PERIOD_S,
    Memory,
    Period,
    Reason,
    Targets,
    adjust,
)
from gatekeeper.policy.autotune_period import GroupCounts
from gatekeeper.policy.visitor_groups import GROUPS

CLAIM_TIMEOUT_S = 120.0
_TICK_S = 0.1
_CLAIM_S = 1.0  # visitors near the front poll each second


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin with a first-come-first-served queue."""

    servers: int
    service_s: float  # mean of the fast responses
    spread: float = 0.5  # standard deviation of the service time over its mean (log-normal)
    slow_share: float = 0.0  # share of responses that take `slow_s` instead
    slow_s: float = 0.0
    queue_limit: int | None = None  # requests that wait; beyond it 503 at once
    changes: tuple[tuple[float, int], ...] = ()  # (from this second on, servers)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What admitted visitors do: requests, and the pause before each but the first."""

    requests: int  # the mean; uniform from half to one and a half of it
    pause_s: float  # the mean of an exponential pause
    no_shows: float = 0.05


@dataclass(frozen=True, slots=True)
class Scene:
    """An origin and its crowd, and the capacity of the origin in admissions per minute.

    `half`: the capacity with half of the servers.
    """

    name: str
    origin: Origin
    crowd: Crowd
    whole: float
    half: float

    def halved(self, *, from_s: float, until_s: float) -> Origin:
        """The origin, with half of its servers during that time."""
        servers = self.origin.servers
        return replace(self.origin, changes=((from_s, servers // 2), (until_s, servers)))


def scene(
    name: str,
    raw: float,
    crowd: Crowd,
    *,
    servers: int,
    whole: float,
    half: float,
    slow_share: float = 0.0,
    slow_s: float = 0.0,
    spread: float = 0.5,
    queue_limit: int | None = None,
) -> Scene:
    """`raw`: the admissions per minute at which every server is busy."""
    mean_s = servers * 60 / raw / crowd.requests
    origin = Origin(
        servers,
        (mean_s - slow_share * slow_s) / (1 - slow_share),
        spread=spread,
        slow_share=slow_share,
        slow_s=slow_s,
        queue_limit=queue_limit,
    )
    return Scene(name, origin, crowd, whole, half)


TARGETS = Targets(rate_min=10, rate_max=6000, latency_s=0.8, errors=0.02)
_PAGE = Crowd(requests=12, pause_s=4.0)
_SHORT = Crowd(requests=6, pause_s=4.0)
_MANY = Crowd(requests=20, pause_s=2.0)
SCENES = (
    scene("slows, 60", 60, _MANY, servers=4, whole=54.9, half=24.2),
    scene("slows, 300", 300, _PAGE, servers=8, whole=294, half=142),
    scene("slows, 1000", 1000, _SHORT, servers=20, whole=986, half=483),
    scene("slows, 3000", 3000, _SHORT, servers=40, whole=2994, half=1491),
    scene("long sessions, 300", 300, Crowd(20, 5.0), servers=8, whole=298, half=146.8),
    scene("one request, 600", 600, Crowd(1, 1.0), servers=2, whole=531, half=226),
    scene("fails, 60", 60, _MANY, servers=4, whole=54.7, half=24.7, queue_limit=8),
    scene("fails, 300", 300, _PAGE, servers=8, whole=293, half=147.3, queue_limit=16),
    scene("fails, 1000", 1000, _SHORT, servers=20, whole=1014, half=485, queue_limit=40),
    scene(
        "bimodal, 300",
        300,
        _PAGE,
        servers=20,
        whole=275,
        half=127.4,
        slow_share=0.2,
        slow_s=0.7,
        spread=0.3,
    ),
    scene(
        "bimodal, 1000",
        1000,
        _SHORT,
        servers=30,
        whole=973,
        half=470,
        slow_share=0.2,
        slow_s=0.6,
        spread=0.3,
    ),
    scene(
        "images and pages, 400",
        400,
        _PAGE,
        servers=8,
        whole=386,
        half=181.6,
        slow_share=0.3,
        slow_s=0.3,
        spread=0.3,
    ),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One period of the law."""

    at_s: float  # its end
    rate: float  # after the adjustment
    reason: Reason | None
    entered: int
    latencies_s: Sequence[float] = field(repr=False)
    failed: int

    @property
    def latency_s(self) -> float | None:
        return p95(self.latencies_s)


def p95(latencies_s: Sequence[float]) -> float | None:
    """The exact 95th percentile."""
    if not latencies_s:
        return None
    return sorted(latencies_s)[min(math.ceil(0.95 * len(latencies_s)) - 1, len(latencies_s) - 1)]


class _Servers:
    """The servers of an origin and the requests that wait for them."""

    def __init__(self, origin: Origin, rng: random.Random) -> None:
        self._origin, self._rng = origin, rng
        self._free_at_s = [0.0] * origin.servers
        self._changes = deque(origin.changes)
        self._starts_s: deque[float] = deque()
        sigma_squared = math.log(1 + origin.spread**2)
        self._mu = math.log(origin.service_s) - sigma_squared / 2
        self._sigma = math.sqrt(sigma_squared)

    def respond(self, at_s: float) -> float | None:
        """When the response to a request that arrives now ends; None for 503."""
        origin, starts_s = self._origin, self._starts_s
        while self._changes and self._changes[0][0] <= at_s:
            self._resize(*self._changes.popleft())
        while starts_s and starts_s[0] <= at_s:
            starts_s.popleft()
        start_s = max(at_s, self._free_at_s[0])
        if origin.queue_limit is not None and len(starts_s) >= origin.queue_limit:
            return None
        if origin.slow_share and self._rng.random() < origin.slow_share:
            work_s = origin.slow_s
        else:
            work_s = math.exp(self._rng.gauss(self._mu, self._sigma))
        end_s = start_s + work_s
        heapq.heapreplace(self._free_at_s, end_s)
        if start_s > at_s:
            starts_s.append(start_s)
        return end_s

    def _resize(self, at_s: float, servers: int) -> None:
        """A removed server completes the requests that it has accepted."""
        kept = sorted(self._free_at_s)[:servers]
        self._free_at_s = kept + [at_s] * (servers - len(kept))
        heapq.heapify(self._free_at_s)


Law = Callable[[float, Memory, Period], tuple[float, Memory, Reason | None]]


def autotuned(targets: Targets) -> Law:
    def law(rate: float, memory: Memory, period: Period) -> tuple[float, Memory, Reason | None]:
        adjusted = adjust(rate, Memory.decode(memory.encode()), period, targets)
        return adjusted.rate, adjusted.memory, adjusted.reason

    return law


def static(rate: float, memory: Memory, period: Period) -> tuple[float, Memory, None]:
    """A law that never changes the rate."""
    return rate, memory, None


def run(
    origin: Origin,
    crowd: Crowd,
    targets: Targets,
    law: Law,
    *,
    rate: float,
    until_s: float,
    seed: int = 1,
    period_s: float = PERIOD_S,
    pause_s: tuple[float, float] = (0.0, 0.0),
) -> Iterator[Sample]:
    """The periods of one run that starts with an empty origin.

    The gate is paused from `pause_s[0]` to `pause_s[1]`, and receives the responses of that time
    afterwards.
    """
    rng = random.Random(seed)
    servers = _Servers(origin, rng)
    memory = Memory.decode("")
    requests: list[tuple[float, int, int]] = []  # (arrival, further requests, group)
    ends: list[tuple[float, float, int]] = []  # (end, latency; negative: failed, group)
    given_back_s: deque[float] = deque()
    level = 0.0
    fewest, most = math.ceil(crowd.requests / 2), crowd.requests * 3 // 2
    begin_s, entered, period = 0.0, 0, 0
    random_, expovariate = rng.random, rng.expovariate
    while begin_s < until_s:
        period += 1
        end_period_s = period * period_s
        # the pacer: whole admissions of the bucket
        for number in range(round(period_s / _TICK_S)):
            tick = begin_s + number * _TICK_S
            level += rate / 60 * _TICK_S
            while given_back_s and given_back_s[0] <= tick:
                given_back_s.popleft()
                level += 1
            while level >= 1:
                level -= 1
                if random_() < crowd.no_shows:
                    given_back_s.append(tick + CLAIM_TIMEOUT_S)
                else:
                    at_s = tick + random_() * _CLAIM_S
                    group = rng.randrange(GROUPS)
                    heapq.heappush(requests, (at_s, -rng.randint(fewest, most), group))
        while requests and requests[0][0] < end_period_s:
            at_s, left, group = heapq.heappop(requests)
            if left < 0:
                left = -left
                entered += 1
            end_s = servers.respond(at_s)
            if end_s is None:
                end_s = at_s + 0.002
                heapq.heappush(ends, (end_s, -1.0, group))
            else:
                if pause_s[0] <= end_s < pause_s[1]:
                    end_s = pause_s[1]
                heapq.heappush(ends, (end_s, end_s - at_s, group))
            if left > 1:
                again_s = end_s + expovariate(1 / crowd.pause_s)
                heapq.heappush(requests, (again_s, left - 1, group))
        latencies_s, failed_in = [], [0] * GROUPS
        counts = [[0] * (len(LATENCY_BOUNDS) + 1) for _ in range(GROUPS)]
        while ends and ends[0][0] < end_period_s:
            _, latency_s, group = heapq.heappop(ends)
            if latency_s < 0:
                failed_in[group] += 1
                latency_s = 0.002
            latencies_s.append(latency_s)
            counts[group][bisect_left(LATENCY_BOUNDS, latency_s / targets.latency_s)] += 1
        groups = [GroupCounts(0, *each) for each in zip(failed_in, counts, strict=True)]
        is_late = begin_s < pause_s[1] + _TICK_S and pause_s[0] < end_period_s
        measured = Period(period_s, groups, admitted=entered, waiting=True, is_late=is_late)
        rate, memory, reason = law(rate, memory, measured)
        failed = sum(failed_in)
        yield Sample(end_period_s, rate, reason, entered, latencies_s, failed)
        begin_s, entered = end_period_s, 0


@dataclass(frozen=True, slots=True)
class Phase:
    """Results from two minutes after a change until the next change, as shares.

    `admitted`: the mean rate by the capacity of the origin. `minutes`: minutes with a mean between
    85 and 100 % of the capacity. `above`: time above a target, in windows of at least 200
    responses.
    """

    admitted: float
    minutes: float
    above: float


SETTLED_S = 120.0
IN_BAND = (0.85, 1.0)
_WINDOW = 200
_MINUTE = round(60 / PERIOD_S)


def phase_of(samples: Sequence[Sample], capacity: float, targets: Targets = TARGETS) -> Phase:
    shares = [sample.rate / capacity for sample in samples]
    whole = range(0, len(shares) - _MINUTE + 1, _MINUTE)
    minutes = [sum(shares[begin : begin + _MINUTE]) / _MINUTE for begin in whole]
    periods = above = 0
    window: list[Sample] = []
    for sample in samples:
        window.append(sample)
        latencies_s = [latency_s for each in window for latency_s in each.latencies_s]
        if len(latencies_s) >= _WINDOW:
            failed = sum(each.failed for each in window) / len(latencies_s)
            latency_s = p95(latencies_s) or 0.0
            is_above = latency_s > targets.latency_s or failed > targets.errors
            periods, above = periods + len(window), above + is_above * len(window)
            window = []
    low, high = IN_BAND
    return Phase(
        admitted=sum(shares) / len(shares),
        minutes=sum(low <= minute <= high for minute in minutes) / max(len(minutes), 1),
        above=above / max(periods, 1),
    )


def halving(
    scene: Scene, law: Law | None = None, *, rate: float = 500, each_s: float = 480, seed: int = 1
) -> list[Sample]:
    """A run with all servers, then half of them, then all again, `each_s` seconds each."""
    origin = scene.halved(from_s=each_s, until_s=2 * each_s)
    law = law or autotuned(TARGETS)
    return list(run(origin, scene.crowd, TARGETS, law, rate=rate, until_s=3 * each_s, seed=seed))


def phases(scene: Scene, samples: Sequence[Sample]) -> list[Phase]:
    """The three phases of `halving`."""
    each = len(samples) // 3
    settled = round(SETTLED_S / PERIOD_S)
    capacities = (scene.whole, scene.half, scene.whole)
    return [
        phase_of(samples[number * each + settled : (number + 1) * each], capacity)
        for number, capacity in enumerate(capacities)
    ]
