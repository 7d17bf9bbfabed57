"""The Prometheus text of a gate: what its workers counted and what the store knows.

Rules. Counters and histograms are added up over all workers, also those that ended; gauges over
the living. Figures of a room come from the store's state, so every gate reports the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from gatekeeper.config.types import RoomName
from gatekeeper.metrics import Tally
from gatekeeper.policy.phase import Mode
from gatekeeper.room.state import RoomState

_GAUGES = {
    "queue_length": "Visitors waiting.",
    "active": "Slots held.",
    "rate_per_minute": "Admissions per minute.",
    "pending_grants": "Granted admissions that the line has not taken yet.",
    "replicas": "Replicas that called within the last seconds.",
}
_COUNTERS = {
    "arrived": "Visitors who arrived.",
    "released": "Visitors released from the line.",
    "admitted": "Visitors who took their place.",
    "abandoned": "Visitors who left, or never came for their place.",
}


class _Rooms(Collector):
    def __init__(self, states: Sequence[RoomState], names: Sequence[RoomName]) -> None:
        self._rooms = list(zip(names, states, strict=True))

    def collect(self) -> Iterator[Metric]:
        for field, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"gatekeeper_{field}", text, labels=["room"])
            for name, state in self._rooms:
                gauge.add_metric([name], float(getattr(state, field)))
            yield gauge
        for field, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"gatekeeper_{field}", text, labels=["room"])
            for name, state in self._rooms:
                counter.add_metric([name], float(getattr(state, f"{field}_total")))
            yield counter
        watermark = GaugeMetricFamily(
            "gatekeeper_watermark_timestamp_seconds",
            "Arrival of the last one released, seconds since the epoch.",
            labels=["room"],
        )
        modes = GaugeMetricFamily(
            "gatekeeper_mode", "1 for the mode the room is in.", labels=["room", "mode"]
        )
        for name, state in self._rooms:
            watermark.add_metric([name], state.watermark_us / 1_000_000)
            for mode in Mode:
                modes.add_metric([name, mode.value], float(state.mode is mode))
        yield watermark
        yield modes


class _Workers(Collector):
    """The workers' files, with each tally as the histogram it is."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(CollectorRegistry(), path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        yield from with_tallies(self._files.collect())  # type: ignore[no-untyped-call]


def with_tallies(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """The metrics as they are, but for the two counters of each tally: they become a histogram."""
    counts: dict[str, Metric] = {}
    sums: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name.endswith(Tally.SUM):
            sums[metric.name.removesuffix(Tally.SUM)] = metric
        elif metric.name.endswith(Tally.BUCKETS):
            counts[metric.name.removesuffix(Tally.BUCKETS)] = metric
        else:
            yield metric
    for name, metric in counts.items():
        yield _histogram(name, metric, sums.get(name))


def _histogram(name: str, counts: Metric, sums: Metric | None) -> HistogramMetricFamily:
    by_labels: dict[tuple[tuple[str, str], ...], dict[float, float]] = {}
    for sample in _totals(counts):
        labels = tuple(sorted(item for item in sample.labels.items() if item[0] != "le"))
        by_labels.setdefault(labels, {})[float(sample.labels["le"])] = sample.value
    sum_s = {
        tuple(sorted(sample.labels.items())): sample.value
        for sample in (_totals(sums) if sums is not None else ())
    }
    names = [label for label, _ in next(iter(by_labels), ())]
    family = HistogramMetricFamily(name, counts.documentation, labels=names)
    for labels, buckets in by_labels.items():
        so_far, cumulative = 0.0, []
        for bound_s, count in sorted(buckets.items()):
            so_far += count
            cumulative.append((floatToGoString(bound_s), so_far))  # type: ignore[no-untyped-call]
        family.add_metric(
            [value for _, value in labels], buckets=cumulative, sum_value=sum_s.get(labels, 0.0)
        )
    return family


def _totals(counter: Metric) -> Iterator[Sample]:
    """Without the times at which they began."""
    return (sample for sample in counter.samples if sample.name.endswith("_total"))


def exposition(folder: Path, states: Sequence[RoomState], names: Sequence[RoomName]) -> bytes:
    """The text format, version 0.0.4, of the workers' files in `folder` and of the rooms."""
    registry = CollectorRegistry()
    registry.register(_Workers(folder))
    registry.register(_Rooms(states, names))
    return generate_latest(registry)
