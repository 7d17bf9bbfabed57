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
from gatekeeper.room.figures import Figures


def figures_of(folder: Path, *, replica: str, pid: int) -> Figures:
    """The figures of the worker with that pid; all 0 before it counted anything."""
    files = [str(path) for path in folder.glob(f"*_{pid}.db")]
    found: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=False)  # type: ignore[no-untyped-call]
    samples = {metric.name: metric.samples for metric in found}
    requests = _samples(samples, "gatekeeper_requests")
    errors = {s.labels["kind"]: int(s.value) for s in _samples(samples, "gatekeeper_origin_errors")}
    statuses = _samples(samples, "gatekeeper_origin_server_errors")
    waits: dict[str, list[Sample]] = {}
    for sample in _samples(samples, "gatekeeper_wait_seconds" + Tally.BUCKETS):
        waits.setdefault(sample.labels["room"], []).append(sample)
    return Figures(
        replica=replica,
        beat_s=_sum(_samples(samples, "gatekeeper_worker_beat_seconds")),
        connections=int(_sum(_samples(samples, "gatekeeper_client_connections"))),
        forwarded=_outcome(requests, "forwarded"),
        waiting=_outcome(requests, "waiting"),
        unreachable=errors.get("unreachable", 0),
        timeouts=errors.get("timeout", 0),
        server_errors={s.labels["status"]: int(s.value) for s in statuses if s.value},
        origin=_buckets(
            _samples(samples, "gatekeeper_origin_seconds" + Tally.BUCKETS), metrics.origin_seconds
        ),
        waits={room: _buckets(found, metrics.waits) for room, found in waits.items()},
        store_up=all(s.value for s in _samples(samples, "gatekeeper_store_up")),
        events_up=all(s.value for s in _samples(samples, "gatekeeper_events_up")),
    )


def _samples(samples: dict[str, list[Sample]], name: str) -> list[Sample]:
    # In the files a counter is named as it was made, or as it is told: releases differ.
    return samples.get(name) or samples.get(f"{name}_total") or []


def _sum(samples: list[Sample]) -> float:
    return sum(sample.value for sample in samples)


def _outcome(samples: list[Sample], outcome: str) -> int:
    return int(_sum([sample for sample in samples if sample.labels["outcome"] == outcome]))


def _buckets(samples: list[Sample], tally: Tally) -> tuple[int, ...]:
    counts = {float(sample.labels["le"]): int(sample.value) for sample in samples}
    return tuple(counts.get(bound_s, 0) for bound_s in tally.bounds_s)
