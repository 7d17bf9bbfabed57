"""What every process of a gate counts, for Prometheus.

Rules. Counted where it happens, added up over all workers by prometheus_client's multiprocess
files (`PROMETHEUS_MULTIPROC_DIR`, set by the supervisor before a worker starts). What the store
knows (queue length, totals) is not counted here: the admin listener reads it from the state.
Labels are rooms, outcomes and operations, never anything a visitor can choose.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_FINE_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_COARSE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

requests = Counter("gatekeeper_requests", "Requests by what became of them.", ["room", "outcome"])
connections = Gauge(
    "gatekeeper_client_connections", "Open client connections.", multiprocess_mode="livesum"
)
tunnels = Gauge("gatekeeper_tunnels", "Open WebSocket tunnels.", multiprocess_mode="livesum")
origin_errors = Counter("gatekeeper_origin_errors", "Requests the origin failed.", ["kind"])
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
    for room in rooms:
        for outcome in ("forwarded", "waiting", "refused", "origin_failed"):
            requests.labels(room, outcome)
        watermark_lag_seconds.labels(room)
    for outcome in ("forwarded", "origin_failed", "own", "bad_request", "failed", "cut"):
        requests.labels("", outcome)
    for kind in ("unreachable", "timeout"):
        origin_errors.labels(kind)


class ForwardedTally:
    """Requests forwarded and the time to the head of their answers, by bucket.

    Writing two multiprocess values for each request took a tenth of its time. So they are added
    up here and written by `flush`, about once a second; `web.exposition` makes a histogram of the
    buckets.
    """

    BOUNDS_S = _COARSE_S

    def __init__(self) -> None:
        self._by_room: dict[str, int]
        self._buckets: list[int]
        self._sum_s: float
        self._clear()

    def _clear(self) -> None:
        self._by_room = {}
        self._buckets = [0] * (len(self.BOUNDS_S) + 1)
        self._sum_s = 0.0

    def count(self, room: str, origin_seconds: float) -> None:
        self._by_room[room] = self._by_room.get(room, 0) + 1
        self._buckets[bisect_left(self.BOUNDS_S, origin_seconds)] += 1
        self._sum_s += origin_seconds

    def flush(self) -> None:
        for room, count in self._by_room.items():
            requests.labels(room, "forwarded").inc(count)
        for bound_s, count in zip((*self.BOUNDS_S, math.inf), self._buckets, strict=True):
            if count:
                origin_answers.labels(str(bound_s)).inc(count)
        origin_answer_seconds.inc(self._sum_s)
        self._clear()


origin_answers = Counter("gatekeeper_origin_answers", "Answers, by bucket of time.", ["le"])
origin_answer_seconds = Counter("gatekeeper_origin_answer_seconds", "Their times, added up.")
forwarded = ForwardedTally()
