"""The workers' metric files, written by prometheus_client's multiprocess mode.

Rules. No other module reads these files, so the control room and Prometheus always agree, and each
request is counted once. A counter is named without `_total`, with every release of
prometheus_client. The counts of workers that ended are in one file of each type, so that the number
of files does not grow with the restarts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import structlog
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

_ENDED = "ended"  # instead of a process id
_GAUGES = "gauge_"
_HEARTBEAT = "gatekeeper_worker_heartbeat_timestamp_seconds"
# Errors of a file that a killed process left damaged.
_DAMAGES = (ValueError, RuntimeError, struct.error)

log = structlog.get_logger()


def read_metrics(folder: Path, *, pid: int | None = None) -> list[Metric]:
    """The metrics of all workers added up, or those of the worker with `pid`.

    Counters and histograms include workers that ended; gauges are of running workers only. A
    worker that counted nothing yet has no files, and so no metrics.
    """
    files = [str(path) for path in folder.glob("*.db" if pid is None else f"*_{pid}.db")]
    try:
        metrics = list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
    except FileNotFoundError:  # this worker has just ended
        return []
    for metric in metrics:
        if metric.type == "counter":
            metric.name = metric.name.removesuffix("_total")
    return metrics


def read_heartbeat(folder: Path, pid: int) -> float:
    """When the worker with `pid` wrote its last heartbeat, by its wall clock; 0: never."""
    path = folder / f"gauge_liveall_{pid}.db"
    try:
        gauges = list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
    except (OSError, *_DAMAGES):
        return 0.0
    return max((value for key, value, _, _ in gauges if _HEARTBEAT in key), default=0.0)


def merge_ended(folder: Path, pid: int) -> None:
    """Add the counts of an ended worker to those of earlier ended workers, and remove its files.
    Call it on the event loop that reads `folder`, so that no reading misses a request or counts it
    twice."""
    for path in folder.glob(f"*_{pid}.db"):
        try:
            if not path.name.startswith(_GAUGES):
                _add_counts(path, path.with_name(f"{path.name.partition('_')[0]}_{_ENDED}.db"))
        except _DAMAGES:
            log.error("worker_counts_damaged", file=path.name)  # noqa: TRY400
        path.unlink(missing_ok=True)


def _add_counts(path: Path, sums: Path) -> None:
    # The file is read to its end first, so that nothing of a damaged file is added.
    counts = list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
    file = MmapedDict(str(sums))  # type: ignore[no-untyped-call]
    try:
        for key, count, at_s, _ in counts:
            before, _ = file.read_value(key)  # type: ignore[no-untyped-call]
            file.write_value(key, before + count, at_s)  # type: ignore[no-untyped-call]
    finally:
        file.close()  # type: ignore[no-untyped-call]


def values(metric: Metric) -> Iterator[Sample]:
    """The samples of a counter or gauge, without creation times."""
    return (sample for sample in metric.samples if not sample.name.endswith("_created"))
