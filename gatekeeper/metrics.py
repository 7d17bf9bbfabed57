"""What every process of a gate counts, for Prometheus.

Rules. Counted where it happens, added up over all workers by prometheus_client's multiprocess
files (`PROMETHEUS_MULTIPROC_DIR`, set by the supervisor before a worker starts). What the store
knows (queue length, totals) is not counted here: the admin listener reads it from the state.
Labels are rooms, outcomes and operations, never anything a visitor can choose.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Gauge, Histogram

_FINE_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_COARSE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PATIENT_S = (
    0,  # those who walked straight in
    1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600,
    900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 14400, 21600, 43200,
)  # fmt: skip
OPERATIONS = ("advance", "arrive", "control", "join", "leave", "poll", "touch")  # of the store
UNREACHABLE, TIMEOUT = "unreachable", "timeout"  # kinds of requests the origin did not answer
_SERVER_ERRORS = (500, 502, 503, 504)
_FIRST_SERVER_ERROR, _STATUSES_END = 500, 600

requests = Counter("gatekeeper_requests", "Requests by what became of them.", ["room", "outcome"])
connections = Gauge(
    "gatekeeper_client_connections", "Open client connections.", multiprocess_mode="livesum"
)
beat = Gauge(
    "gatekeeper_worker_beat_timestamp_seconds",
    "When this worker last lived, seconds since the epoch, by pid.",
    multiprocess_mode="liveall",
)
tunnels = Gauge("gatekeeper_tunnels", "Open WebSocket tunnels.", multiprocess_mode="livesum")
origin_errors = Counter(
    "gatekeeper_origin_errors", "Requests the origin did not answer.", ["room", "kind"]
)
origin_server_errors = Counter(
    "gatekeeper_origin_server_errors",
    "Answers of the origin with a status of 500 or more.",
    ["room", "status"],
)
store_seconds = Histogram(
    "gatekeeper_store_seconds", "One call to the store.", ["operation"], buckets=_FINE_S
)
store_errors = Counter("gatekeeper_store_errors", "Calls the store did not answer.", ["operation"])
event_delay_seconds = Histogram(
    "gatekeeper_event_delay_seconds", "From sending an event to hearing it.", buckets=_FINE_S
)
watermark_lag_seconds = Histogram(
    "gatekeeper_watermark_lag_seconds",
    "From a release in the store to this replica's knowing of it.",
    ["room"],
    buckets=_FINE_S,
)
store_up = Gauge(
    "gatekeeper_store_up",
    "Whether the store answers, by replica (1 or 0).",
    ["room"],
    multiprocess_mode="livemin",
)
events_up = Gauge(
    "gatekeeper_events_up",
    "Whether the event bus is connected (1 or 0).",
    multiprocess_mode="livemin",
)


def declare(rooms: Iterable[str]) -> None:
    """Begin every series at 0: it is there before its first event, which `rate()` then sees."""
    named = list(rooms)
    for room in named:
        for outcome in ("forwarded", "waiting", "refused", "origin_failed"):
            requests.labels(room, outcome)
        watermark_lag_seconds.labels(room)
        waits.declare(room)
    for outcome in ("forwarded", "origin_failed", "own", "bad_request", "failed", "cut"):
        requests.labels("", outcome)
    for room in (*named, ""):
        origin_seconds.declare(room)
        for kind in (UNREACHABLE, TIMEOUT):
            origin_errors.labels(room, kind)
        for status in _SERVER_ERRORS:
            origin_server_errors.labels(room, str(status))
    for operation in OPERATIONS:
        store_errors.labels(operation)


class Tally:
    """A histogram that costs an addition to observe.

    Writing its multiprocess values took a tenth of a request's time. So they are added up here and
    written by `flush`, about once a second, into two counters; `web.exposition` makes the histogram
    of them that `name` is.
    """

    BUCKETS, SUM = "_tally", "_tally_sum"

    def __init__(
        self, name: str, text: str, *, labels: Sequence[str], bounds_s: Sequence[float]
    ) -> None:
        self.bounds_s = (*bounds_s, math.inf)
        self._buckets = Counter(name + self.BUCKETS, text, [*labels, "le"])
        self._sums = Counter(name + self.SUM, text, labels)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums_s: dict[tuple[str, ...], float] = {}

    def declare(self, *labels: str) -> None:
        for bound_s in self.bounds_s:
            self._buckets.labels(*labels, str(bound_s))

    def observe(self, seconds: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * len(self.bounds_s)
        counts[bisect_left(self.bounds_s, seconds)] += 1
        self._sums_s[labels] = self._sums_s.get(labels, 0.0) + seconds

    def flush(self) -> None:
        for labels, counts in self._counts.items():
            for bound_s, count in zip(self.bounds_s, counts, strict=True):
                if count:
                    self._buckets.labels(*labels, str(bound_s)).inc(count)
        for labels, sum_s in self._sums_s.items():
            self._sums.labels(*labels).inc(sum_s)
        self._counts.clear()
        self._sums_s.clear()


class AnsweredTally:
    """Requests that the gate answered itself to those who wait, by room and outcome."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, room: str, outcome: str) -> None:
        key = (room, outcome)
        self._counts[key] = self._counts.get(key, 0) + 1

    def flush(self) -> None:
        for (room, outcome), count in self._counts.items():
            requests.labels(room, outcome).inc(count)
        self._counts.clear()


class ForwardedTally:
    """Requests forwarded, by room, with what the origin answered and how soon."""

    def __init__(self) -> None:
        self._by_room: dict[str, int] = {}
        self._server_errors: dict[tuple[str, int], int] = {}

    def count(self, room: str, status: int, *, seconds: float) -> None:
        self._by_room[room] = self._by_room.get(room, 0) + 1
        if status >= _FIRST_SERVER_ERROR:
            key = (room, status)
            self._server_errors[key] = self._server_errors.get(key, 0) + 1
        origin_seconds.observe(seconds, room)

    def flush(self) -> None:
        for room, count in self._by_room.items():
            requests.labels(room, "forwarded").inc(count)
        for (room, status), count in self._server_errors.items():
            # An origin may say 999; a label may not be whatever it says.
            known = str(status) if status < _STATUSES_END else "other"
            origin_server_errors.labels(room, known).inc(count)
        self._by_room.clear()
        self._server_errors.clear()


origin_seconds = Tally(
    "gatekeeper_origin_seconds",
    "From the request to the head of the origin's answer.",
    labels=("room",),
    bounds_s=_COARSE_S,
)
waits = Tally(
    "gatekeeper_wait_seconds",
    "From arrival to admission.",
    labels=("room",),
    bounds_s=_PATIENT_S,
)
answered = AnsweredTally()
forwarded = ForwardedTally()


def flush() -> None:
    """Write what was added up; about once a second, and at the end."""
    for tally in (answered, forwarded, origin_seconds, waits):
        tally.flush()
