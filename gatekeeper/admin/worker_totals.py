"""What one worker counted, from the files that `/metrics` adds up.

Rules. One source for both, so that the control room and Prometheus never disagree, and a worker's
requests pay for its counting once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

from gatekeeper import metrics
from gatekeeper.metrics import Tally
from gatekeeper.room.worker_figures import Buckets, Figures, Served

Samples = dict[str, list[Sample]]


def figures_of(folder: Path, *, replica: str, pid: int) -> Figures:
    """The figures of the worker with that pid; all 0 before it counted anything."""
    files = [str(path) for path in folder.glob(f"*_{pid}.db")]
    found: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=False)  # type: ignore[no-untyped-call]
    samples = {metric.name: metric.samples for metric in found}
    by_room: dict[str, Samples] = {}
    for name, of_all in samples.items():
        for sample in of_all:
            if "room" in sample.labels:
                of_room = by_room.setdefault(sample.labels["room"], {})
                of_room.setdefault(name, []).append(sample)
    return Figures(
        replica=replica,
        heartbeat_s=_sum(_samples(samples, "gatekeeper_worker_heartbeat_timestamp_seconds")),
        connections=int(_sum(_samples(samples, "gatekeeper_client_connections"))),
        rooms={room: _served(of_room) for room, of_room in by_room.items()},
        store_up=all(s.value for s in _samples(samples, "gatekeeper_store_up")),
        events_up=all(s.value for s in _samples(samples, "gatekeeper_events_up")),
    )


def _served(samples: Samples) -> Served:
    requests = _samples(samples, "gatekeeper_requests")
    causes = {"kind": "gatekeeper_origin_errors", "status": "gatekeeper_origin_server_errors"}
    return Served(
        forwarded=_outcome(requests, "forwarded"),
        waiting=_outcome(requests, "waiting"),
        failures={
            sample.labels[label]: int(sample.value)
            for label, name in causes.items()
            for sample in _samples(samples, name)
            if sample.value
        },
        origin=_buckets(samples, "gatekeeper_origin_seconds", metrics.origin_seconds),
        waits=_buckets(samples, "gatekeeper_wait_seconds", metrics.waits),
    )


def _samples(samples: Samples, name: str) -> list[Sample]:
    # In the files a counter is named as it was made, or as it is told: releases differ.
    return samples.get(name) or samples.get(f"{name}_total") or []


def _sum(samples: list[Sample]) -> float:
    return sum(sample.value for sample in samples)


def _outcome(samples: list[Sample], outcome: str) -> int:
    return int(_sum([sample for sample in samples if sample.labels["outcome"] == outcome]))


def _buckets(samples: Samples, name: str, tally: Tally) -> Buckets:
    """Nothing at all while every bucket is empty: most rooms of a replica are idle."""
    found = _samples(samples, name + Tally.BUCKETS)
    counts = {float(sample.labels["le"]): int(sample.value) for sample in found}
    if not any(counts.values()):
        return ()
    return tuple(counts.get(bound_s, 0) for bound_s in tally.bounds_s)
