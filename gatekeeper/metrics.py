"""The Prometheus metrics of every process of a gate.

Rules. An event is counted where it happens. prometheus_client's multiprocess files add up all
workers (`PROMETHEUS_MULTIPROC_DIR`, set by the supervisor before a worker starts). Queue length
and totals are not counted here: the admin listener reads them from the store. Labels are rooms,
outcomes and operations, never a value that a visitor can choose.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Gauge, Histogram

_FINE_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_COARSE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAIT_S = (
    0,  # for visitors who did not wait
    1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600,
    900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 14400, 21600, 43200,
)  # fmt: skip
# The store's operations.
OPERATIONS = (
    *("admit", "advance", "arrive", "control", "draw"),
    *("find", "join", "leave", "move", "poll", "steer", "touch"),
)
UNREACHABLE, TIMEOUT = "unreachable", "timeout"  # kinds of origin errors
_SERVER_ERRORS = (500, 502, 503, 504)
_FIRST_SERVER_ERROR, _STATUSES_END = 500, 600

requests = Counter("gatekeeper_requests", "Requests by outcome.", ["room", "outcome"])
connections = Gauge(
    "gatekeeper_client_connections", "Open client connections.", multiprocess_mode="livesum"
)
connections_evicted = Counter(
    "gatekeeper_connections_evicted",
    "Idle client connections closed because the limit of open files was near.",
)
heartbeat = Gauge(
    "gatekeeper_worker_heartbeat_timestamp_seconds",
    "Time of the last heartbeat of each worker, in seconds since the epoch, by pid.",
    multiprocess_mode="liveall",
)
tunnels = Gauge("gatekeeper_tunnels", "Open WebSocket tunnels.", multiprocess_mode="livesum")
origin_errors = Counter(
    "gatekeeper_origin_errors",
    "Requests without a response from the origin, by kind of error.",
    ["room", "kind"],
)
origin_server_errors = Counter(
    "gatekeeper_origin_server_errors",
    "Responses from the origin with status 500 or higher.",
    ["room", "status"],
)
store_errors = Counter(
    "gatekeeper_store_errors", "Failed calls to the store, by operation.", ["operation"]
)
event_delay_seconds = Histogram(
    "gatekeeper_event_delay_seconds",
    "Time from publishing an event to receiving it.",
    buckets=_FINE_S,
)
watermark_lag_seconds = Histogram(
    "gatekeeper_watermark_lag_seconds",
    "Time from a release in the store to this replica learning of it.",
    ["room"],
    buckets=_FINE_S,
)
queue_full = Counter(
    "gatekeeper_queue_full",
    "Requests of newcomers refused because the line was full (queue_limit).",
    ["room"],
)
address_limit = Counter(
    "gatekeeper_address_limit",
    "Requests of newcomers refused by newcomers_per_address.",
    ["room"],
)
addresses_not_counted = Counter(
    "gatekeeper_addresses_not_counted",
    "Newcomers whose address was not counted, because the table of addresses was full.",
    ["room"],
)
concurrent_refused = Counter(
    "gatekeeper_concurrent_refused",
    "Requests refused by concurrent: too many of one pass at the same time.",
    ["room"],
)
challenges = Counter(
    "gatekeeper_challenges",
    "Proofs of a challenge by outcome: solved, refused or unavailable.",
    ["room", "outcome"],
)
autotune_changes = Counter(
    "gatekeeper_autotune_changes",
    "Changes of the rate by autotune, by reason.",
    ["room", "reason"],
)
rule_matches = Counter(
    "gatekeeper_rule_matches",
    "Requests that a rule decided: bypassed, sent on to the rooms, or blocked.",
    ["rule"],
)
store_full = Counter(
    "gatekeeper_store_full",
    "Calls that a full store refused: newcomers wait without a place.",
    ["room"],
)
store_up = Gauge(
    "gatekeeper_store_up",
    "1 if the store is reachable from every worker, else 0.",
    ["room"],
    multiprocess_mode="livemin",
)
events_up = Gauge(
    "gatekeeper_events_up",
    "1 if every worker is connected to the event bus, else 0.",
    multiprocess_mode="livemin",
)


def declare(
    rooms: Iterable[str],
    *,
    rules: Iterable[str] = (),
    lanes: Iterable[tuple[str, str]] = (),
) -> None:
    """Start every series at 0, so that `rate()` sees the first event. `lanes`: room and lane."""
    named = list(rooms)
    for room, lane in lanes:
        lane_waits.declare(room, lane)
    for room in named:
        for outcome in ("forwarded", "allowed", "waiting", "refused", "origin_failed"):
            requests.labels(room, outcome)
        watermark_lag_seconds.labels(room)
        address_limit.labels(room)
        store_full.labels(room)
        concurrent_refused.labels(room)
        addresses_not_counted.labels(room)
        for outcome in ("solved", "refused", "unavailable"):
            challenges.labels(room, outcome)
        waits.declare(room)
    for outcome in ("forwarded", "allowed", "origin_failed", "own", "bad_request", "failed", "cut"):
        requests.labels("", outcome)
    for room in (*named, ""):
        origin_seconds.declare(room)
        for kind in (UNREACHABLE, TIMEOUT):
            origin_errors.labels(room, kind)
        for status in _SERVER_ERRORS:
            origin_server_errors.labels(room, str(status))
    for rule in rules:
        rule_matches.labels(rule)
    for operation in OPERATIONS:
        store_errors.labels(operation)


class TallySeries:
    """The observations of one set of labels since the last `flush`."""

    __slots__ = ("_bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = bounds_s
        self.counts = [0] * len(bounds_s)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += seconds


class Tally:
    """A histogram whose `observe` costs one addition.

    Writing multiprocess values took a tenth of a request's time. So observations are summed here,
    and `flush` writes them into two counters about once a second. `admin.exposition` turns the two
    into the histogram `name`.
    """

    BUCKETS, SUM = "_tally", "_tally_sum"

    def __init__(
        self, name: str, documentation: str, *, labels: Sequence[str], bounds_s: Sequence[float]
    ) -> None:
        self.bounds_s = (*bounds_s, math.inf)
        self._buckets = Counter(name + self.BUCKETS, documentation, [*labels, "le"])
        self._sums = Counter(name + self.SUM, documentation, labels)
        self._series: dict[tuple[str, ...], TallySeries] = {}

    def declare(self, *labels: str) -> None:
        for bound_s in self.bounds_s:
            self._buckets.labels(*labels, str(bound_s))

    def series(self, *labels: str) -> TallySeries:
        """The series with these labels; always the same object."""
        series = self._series.get(labels)
        if series is None:
            self.declare(*labels)  # every bucket: Prometheus needs the last one
            series = self._series[labels] = TallySeries(self.bounds_s)
        return series

    def observe(self, seconds: float, *labels: str) -> None:
        self.series(*labels).observe(seconds)

    def flush(self) -> None:
        for labels, series in self._series.items():
            for at, count in enumerate(series.counts):
                if count:
                    self._buckets.labels(*labels, str(self.bounds_s[at])).inc(count)
                    series.counts[at] = 0
            if series.sum_s:
                self._sums.labels(*labels).inc(series.sum_s)
                series.sum_s = 0.0


class OwnResponseTally:
    """Responses of the gate's own, by room and outcome."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, room: str, outcome: str) -> None:
        key = (room, outcome)
        self._counts[key] = self._counts.get(key, 0) + 1

    def flush(self) -> None:
        for (room, outcome), count in self._counts.items():
            requests.labels(room, outcome).inc(count)
        self._counts.clear()


class RuleTally:
    """Requests that a rule decided, by rule."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, rule: str) -> None:
        self._counts[rule] = self._counts.get(rule, 0) + 1

    def flush(self) -> None:
        for rule, count in self._counts.items():
            rule_matches.labels(rule).inc(count)
        self._counts.clear()


origin_seconds = Tally(
    "gatekeeper_origin_seconds",
    "Time from the request to the head of the origin's response.",
    labels=("room",),
    bounds_s=_COARSE_S,
)
waits = Tally(
    "gatekeeper_wait_seconds",
    "Time from arrival to admission.",
    labels=("room",),
    bounds_s=_WAIT_S,
)

store_seconds = Tally(
    "gatekeeper_store_seconds",
    "Duration of calls to the store, by operation.",
    labels=("operation",),
    bounds_s=_FINE_S,
)
lane_waits = Tally(
    "gatekeeper_lane_wait_seconds",
    "Time from arrival to admission of visitors of a lane.",
    labels=("room", "lane"),
    bounds_s=_WAIT_S,
)


class RoomForwards:
    """Forwarded requests of one room since the last `flush`."""

    __slots__ = ("origin_seconds", "server_errors")

    def __init__(self, room: str) -> None:
        self.origin_seconds = origin_seconds.series(room)  # one observation for each request
        self.server_errors: dict[int, int] = {}

    def count(self, status: int, /, *, seconds: float) -> None:
        if status >= _FIRST_SERVER_ERROR:
            self.server_errors[status] = self.server_errors.get(status, 0) + 1
        self.origin_seconds.observe(seconds)


class ForwardedTally:
    """Forwarded requests by room, with the status and the time of the origin's response."""

    def __init__(self) -> None:
        self._rooms: dict[str, RoomForwards] = {}

    def of(self, room: str) -> RoomForwards:
        """The requests of this room; always the same object."""
        forwards = self._rooms.get(room)
        if forwards is None:
            forwards = self._rooms[room] = RoomForwards(room)
        return forwards

    def flush(self) -> None:
        """Write the counts. Call it before `origin_seconds.flush`, which resets the number of
        requests."""
        for room, forwards in self._rooms.items():
            if count := sum(forwards.origin_seconds.counts):
                requests.labels(room, "forwarded").inc(count)
            for status, count in forwards.server_errors.items():
                # An origin may send any three digits; the set of labels stays bounded.
                known = str(status) if status < _STATUSES_END else "other"
                origin_server_errors.labels(room, known).inc(count)
            forwards.server_errors.clear()


own_responses = OwnResponseTally()
by_rule = RuleTally()
forwarded = ForwardedTally()


def flush() -> None:
    """Write the tallies; called about once a second, and at shutdown."""
    for tally in (
        own_responses,
        by_rule,
        forwarded,
        origin_seconds,
        store_seconds,
        waits,
        lane_waits,
    ):
        tally.flush()
