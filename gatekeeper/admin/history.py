"""Converts the readings of each second into the values of charts: rates and quantiles.

Rules. Pure. A rate is the difference of a total over `RATE_WINDOW_S`. A missing or decreased total
(a store or replica that restarted) is a gap, None, and never a negative rate. Replicas are summed
as differences, so a replica that joins or leaves causes no jump.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Phase
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord
from gatekeeper.room.worker_figures import Buckets, Figures, added

RATE_WINDOW_S = 10.0
QUANTILE_WINDOW_S = 60.0

SITE_FIELDS = (
    "forwarded",  # per second, like the next two
    "waiting",
    "failed",  # unreachable, timeouts and responses with status 500 or more
    "origin_p50",  # seconds, over the last minute
    "origin_p99",
)
ROOM_FIELDS = (
    "queue",
    "active",
    "limit",  # per minute; None in mode open
    "arrived",  # per minute, like the next three
    "released",
    "admitted",
    "abandoned",
    "wait_p50",  # seconds, of the visitors admitted in the last minute
    "wait_p99",
    *SITE_FIELDS,
)
REPLICA_FIELDS = (
    *SITE_FIELDS,
    "admitted",  # per minute
    "connections",
)
ALL = ""  # the key of all replicas together

Row = list[float | None]


@dataclass(frozen=True, slots=True)
class Reading:
    """All rooms and replicas at one moment, without the rooms that the store did not return."""

    at_s: float
    rooms: Mapping[RoomName, RoomState] = field(default_factory=dict)
    replicas: Mapping[str, Figures] = field(default_factory=dict)
    steering: Mapping[RoomName, SteeringRecord] = field(default_factory=dict)  # by autotune


def sample(readings: Sequence[Reading], names: Sequence[RoomName]) -> dict[str, object]:
    """The sample of the newest reading; the older ones are the base of rates and quantiles."""
    latest = readings[-1]
    replicas = {name: _replica_row(readings, [name]) for name in latest.replicas}
    return {
        "at": round(latest.at_s, 3),
        "rooms": {name: _room_row(readings, name) for name in names},
        "replicas": {ALL: _replica_row(readings, list(latest.replicas)), **replicas},
    }


def _room_row(readings: Sequence[Reading], name: RoomName) -> Row:
    replicas = list(readings[-1].replicas)
    waits = _recent_growth(readings, replicas, lambda f: f.served(name).waits)
    return [
        *_line_row(readings, name),
        quantile(metrics.waits.bounds_s, waits, 0.5),
        quantile(metrics.waits.bounds_s, waits, 0.99),
        *_site_row(readings, replicas, room=name),
    ]


def _line_row(readings: Sequence[Reading], name: RoomName) -> Row:
    """A room's values from the store; all None while the store is unreachable."""
    state = readings[-1].rooms.get(name)
    if state is None:
        return [None] * 7
    recent = _window(readings, RATE_WINDOW_S)

    def per_minute(total: Callable[[RoomState], int]) -> float | None:
        known = [(each.at_s, total(each.rooms[name])) for each in recent if name in each.rooms]
        return _rate(known, per_s=60)

    return [
        state.queue_length,
        state.active,
        None if state.phase is Phase.OPEN else round(state.effective_rate_per_minute, 2),
        per_minute(lambda state: state.arrived_total),
        per_minute(lambda state: state.released_total),
        per_minute(lambda state: state.admitted_total),
        per_minute(lambda state: state.abandoned_total),
    ]


def _replica_row(readings: Sequence[Reading], replicas: Sequence[str]) -> Row:
    admitted = _per_second(readings, replicas, lambda f: sum(f.served().waits))
    return [
        *_site_row(readings, replicas, room=None),
        None if admitted is None else round(admitted * 60, 1),
        sum(readings[-1].replicas[name].connections for name in replicas),
    ]


def _site_row(readings: Sequence[Reading], replicas: Sequence[str], *, room: str | None) -> Row:
    origin = origin_responses(readings, replicas, room)
    return [
        _per_second(readings, replicas, lambda f: f.served(room).forwarded),
        _per_second(readings, replicas, lambda f: f.served(room).waiting),
        _per_second(readings, replicas, lambda f: sum(f.served(room).failures.values())),
        quantile(metrics.origin_seconds.bounds_s, origin, 0.5),
        quantile(metrics.origin_seconds.bounds_s, origin, 0.99),
    ]


def origin_responses(
    readings: Sequence[Reading], replicas: Sequence[str], room: str | None = None
) -> Buckets:
    """The origin's responses to these replicas in the last minute, by bucket of response time."""
    return _recent_growth(readings, replicas, lambda f: f.served(room).origin)


def _recent_growth(
    readings: Sequence[Reading], replicas: Sequence[str], counts: Callable[[Figures], Buckets]
) -> Buckets:
    recent = _window(readings, QUANTILE_WINDOW_S)
    return added(growth(recent, name, counts) for name in replicas)


def _per_second(
    readings: Sequence[Reading], replicas: Sequence[str], total: Callable[[Figures], int]
) -> float | None:
    recent = _window(readings, RATE_WINDOW_S)
    span_s = recent[-1].at_s - recent[0].at_s
    if span_s <= 0:
        return None
    grown = sum(growth(recent, name, lambda f: (total(f),))[0] for name in replicas)
    return round(grown / span_s, 2)


def growth(
    readings: Sequence[Reading], replica: str, counts: Callable[[Figures], Buckets]
) -> Buckets:
    """The increase of each of a replica's counts over `readings`; from 0 if it started in
    between."""
    seen = [each.replicas[replica] for each in readings if replica in each.replicas]
    if not seen:
        return (0,)
    new, old = counts(seen[-1]), counts(seen[0])
    if len(seen) == 1 and len(readings) > 1:
        return (0,) * max(len(new), 1)  # first seen now: its earlier counts are not of this window
    old += (0,) * (len(new) - len(old))
    return tuple(max(n - o, 0) for n, o in zip(new, old, strict=False)) or (0,)


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Estimated like `histogram_quantile` of Prometheus: linear within a bucket; for the last
    bucket, its lower bound."""
    total = sum(counts)
    if total == 0:
        return None
    wanted, so_far, lower = total * share, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and so_far + count >= wanted:
            if bound == float("inf"):
                return lower
            return round(lower + (bound - lower) * (wanted - so_far) / count, 4)
        so_far += count
        lower = bound
    return lower


def _window(readings: Sequence[Reading], span_s: float) -> list[Reading]:
    since_s = readings[-1].at_s - span_s - 0.5  # tolerates a late reading
    return [reading for reading in readings if reading.at_s >= since_s]


def _rate(known: Sequence[tuple[float, int]], *, per_s: float) -> float | None:
    if len(known) < 2:
        return None
    (first_s, first), (last_s, last) = known[0], known[-1]
    if last < first or last_s <= first_s:
        return None
    return round((last - first) / (last_s - first_s) * per_s, 1)
