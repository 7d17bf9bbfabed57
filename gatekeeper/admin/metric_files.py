"""The workers' metric files, written by prometheus_client's multiprocess mode.

Rules. Nothing else reads these files, so the control room and Prometheus always agree, and a
worker counts each request once. A counter is named without `_total`, whatever the release of
prometheus_client.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample


def read_metrics(folder: Path, *, pid: int | None = None) -> list[Metric]:
    """The metrics of all workers added up, or those of the worker with `pid`.

    Counters and histograms include workers that ended; gauges are of running workers only. A
    worker that counted nothing yet has no files, and so no metrics.
    """
    files = [str(path) for path in folder.glob("*.db" if pid is None else f"*_{pid}.db")]
    metrics = list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
    for metric in metrics:
        if metric.type == "counter":
            metric.name = metric.name.removesuffix("_total")
    return metrics


def values(metric: Metric) -> Iterator[Sample]:
    """The samples of a counter or gauge, without creation times."""
    return (sample for sample in metric.samples if not sample.name.endswith("_created"))
