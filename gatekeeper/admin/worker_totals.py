"""One worker's metric files as `Figures`, for the monitor and the other process groups."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.samples import Sample

from gatekeeper import metrics
from gatekeeper.admin.metric_files import read_metrics, values
from gatekeeper.config.lane_schema import MAX_LANES
from gatekeeper.metrics import Tally
from gatekeeper.room.pass_figures import pass_file, read_passes
from gatekeeper.room.worker_figures import Buckets, Figures, RequestCounts

Samples = dict[str, list[Sample]]  # by metric name


def read_figures(folder: Path, *, replica: str, pid: int) -> Figures:
    """The figures of the worker with `pid`; all 0 before it counted anything."""
    samples = {metric.name: list(values(metric)) for metric in read_metrics(folder, pid=pid)}
    by_room: dict[str, Samples] = {}
    for name, all_rooms in samples.items():
        for sample in all_rooms:
            if "room" in sample.labels:
                of_room = by_room.setdefault(sample.labels["room"], {})
                of_room.setdefault(name, []).append(sample)
    return Figures(
        replica=replica,
        heartbeat_s=_sum(samples.get("gatekeeper_worker_heartbeat_timestamp_seconds", [])),
        connections=int(_sum(samples.get("gatekeeper_client_connections", []))),
        rooms={room: _served(of_room) for room, of_room in by_room.items()},
        store_up=all(sample.value for sample in samples.get("gatekeeper_store_up", [])),
        events_up=all(sample.value for sample in samples.get("gatekeeper_events_up", [])),
        passes=read_passes(pass_file(folder, pid)),
    )


def _served(samples: Samples) -> RequestCounts:
    requests = samples.get("gatekeeper_requests", [])
    causes = {"kind": "gatekeeper_origin_errors", "status": "gatekeeper_origin_server_errors"}
    return RequestCounts(
        # Allowed: requests that a proxy asked about (forward auth).
        forwarded=_outcome(requests, "forwarded") + _outcome(requests, "allowed"),
        waiting=_outcome(requests, "waiting"),
        failures={
            sample.labels[label]: int(sample.value)
            for label, name in causes.items()
            for sample in samples.get(name, [])
            if sample.value
        },
        origin=_buckets(samples, "gatekeeper_origin_seconds", metrics.origin_seconds),
        waits=_buckets(samples, "gatekeeper_wait_seconds", metrics.waits),
        lanes=_lanes(samples),
        full=int(_sum(samples.get("gatekeeper_store_full", []))),
        limited=int(_sum(samples.get("gatekeeper_address_limit", []))),
        refused=int(_sum(samples.get("gatekeeper_concurrent_refused", []))),
    )


def _sum(samples: list[Sample]) -> float:
    return sum(sample.value for sample in samples)


def _outcome(samples: list[Sample], outcome: str) -> int:
    return int(_sum([sample for sample in samples if sample.labels["outcome"] == outcome]))


def _lanes(samples: Samples) -> dict[str, Buckets]:
    name = "gatekeeper_lane_wait_seconds"
    by_lane: dict[str, list[Sample]] = {}
    for sample in samples.get(name + Tally.BUCKETS, []):
        by_lane.setdefault(sample.labels["lane"], []).append(sample)
    # A reload may have changed the lanes; the current ones are unknown here.
    first = sorted(by_lane)[:MAX_LANES]
    return {
        lane: _buckets({name + Tally.BUCKETS: by_lane[lane]}, name, metrics.lane_waits)
        for lane in first
    }


def _buckets(samples: Samples, name: str, tally: Tally) -> Buckets:
    """Empty if every bucket is 0, as in most rooms of a replica."""
    found = samples.get(name + Tally.BUCKETS, [])
    by_bound = {float(sample.labels["le"]): int(sample.value) for sample in found}
    if not any(by_bound.values()):
        return ()
    return tuple(by_bound.get(bound_s, 0) for bound_s in tally.bounds_s)
