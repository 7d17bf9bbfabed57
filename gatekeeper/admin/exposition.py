"""The Prometheus text of a gate: the workers' counts and the store's state of each room.

Rules. Counters and histograms are sums over all workers, including ended ones; gauges are of
running workers. Figures of a room come from the store's state, so every gate reports the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gatekeeper.admin.edge_status import EdgeStatus
from gatekeeper.admin.metric_files import read_metrics, values
from gatekeeper.config.types import RoomName
from gatekeeper.metrics import Tally
from gatekeeper.policy.autotune import Targets
from gatekeeper.policy.phase import Mode
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord

_GAUGES = {
    "queue_length": "Visitors in the queue.",
    "active": "Slots held by active visitors.",
    "rate_per_minute": "Configured admissions per minute.",
    "pending_grants": "Admissions granted by operators and not used yet.",
    "replicas": "Replicas that called the store in the last few seconds.",
}
_COUNTERS = {
    "arrived": "Visitors that arrived.",
    "released": "Visitors released from the queue.",
    "admitted": "Visitors that claimed their slot.",
    "abandoned": "Visitors that left the queue, or were released and did not claim.",
}


# Number of visitors in line, by room and lane.
LaneCounts = Mapping[RoomName, Mapping[str, int]]
_NO_LANES: LaneCounts = {}


class SteeredRoom(NamedTuple):
    """A room that autotune steers."""

    targets: Targets
    record: SteeringRecord


_OF_AUTOTUNE: Final[Sequence[tuple[str, str, Callable[[SteeredRoom], float | None]]]] = (
    (
        "gatekeeper_autotune_latency_seconds",
        "p95 of the origin's responses in the last period of autotune.",
        lambda room: room.record.last and room.record.last.latency_s,
    ),
    (
        "gatekeeper_autotune_failed_ratio",
        "Share of the origin's responses in the last period of autotune that failed.",
        lambda room: room.record.last and room.record.last.failed_share,
    ),
    (
        "gatekeeper_autotune_latency_target_seconds",
        "Target of autotune for the p95 of the origin's responses.",
        lambda room: room.targets.latency_s,
    ),
    (
        "gatekeeper_autotune_failed_target_ratio",
        "Target of autotune for the share of failed responses.",
        lambda room: room.targets.errors,
    ),
    (
        "gatekeeper_autotune_min_per_minute",
        "The lowest rate that autotune sets.",
        lambda room: room.targets.rate_min,
    ),
    (
        "gatekeeper_autotune_max_per_minute",
        "The highest rate that autotune sets.",
        lambda room: room.targets.rate_max,
    ),
)
Steered = Mapping[RoomName, SteeredRoom]
_NOT_STEERED: Steered = {}


class _RoomCollector(Collector):
    def __init__(
        self,
        states: Sequence[RoomState],
        names: Sequence[RoomName],
        lanes: LaneCounts,
    ) -> None:
        self._rooms = list(zip(names, states, strict=True))
        self._lanes = lanes

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
            "Turn of the last released visitor: in order of arrival, seconds since the epoch.",
            labels=["room"],
        )
        modes = GaugeMetricFamily(
            "gatekeeper_mode",
            "1 for the current mode of the room, 0 for every other.",
            labels=["room", "mode"],
        )
        for name, state in self._rooms:
            watermark.add_metric([name], state.watermark_us / 1_000_000)
            for mode in Mode:
                modes.add_metric([name, mode.value], float(state.mode is mode))
        in_lanes = GaugeMetricFamily(
            "gatekeeper_lane_queue_length",
            "Visitors of the lane that are in the queue.",
            labels=["room", "lane"],
        )
        for name, lanes in self._lanes.items():
            for lane, count in lanes.items():
                in_lanes.add_metric([name, lane], float(count))
        yield watermark
        yield modes
        yield in_lanes


class _AutotuneCollector(Collector):
    """The targets of the rooms that autotune steers, and the measurements of their last period."""

    def __init__(self, steered: Steered) -> None:
        self._steered = steered

    def collect(self) -> Iterator[Metric]:
        for name, text, value_of in _OF_AUTOTUNE:
            gauge = GaugeMetricFamily(name, text, labels=["room"])
            for room, steered in self._steered.items():
                value = value_of(steered)
                if value is not None:
                    gauge.add_metric([room], value)
            yield gauge


class _WorkerCollector(Collector):
    """The workers' metric files, with each tally as a histogram."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        yield from with_tallies(read_metrics(self._folder))


def with_tallies(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """The metrics, with the two counters of each tally replaced by one histogram."""
    buckets: dict[str, Metric] = {}
    sums: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name.endswith(Tally.SUM):
            sums[metric.name.removesuffix(Tally.SUM)] = metric
        elif metric.name.endswith(Tally.BUCKETS):
            buckets[metric.name.removesuffix(Tally.BUCKETS)] = metric
        else:
            yield metric
    for name, metric in buckets.items():
        yield _histogram(name, metric, sums.get(name))


def _histogram(name: str, tally: Metric, sums: Metric | None) -> HistogramMetricFamily:
    by_labels: dict[tuple[tuple[str, str], ...], dict[float, float]] = {}
    for sample in values(tally):
        labels = tuple(sorted(item for item in sample.labels.items() if item[0] != "le"))
        by_labels.setdefault(labels, {})[float(sample.labels["le"])] = sample.value
    sum_s = {
        tuple(sorted(sample.labels.items())): sample.value
        for sample in (values(sums) if sums is not None else ())
    }
    names = [label for label, _ in next(iter(by_labels), ())]
    family = HistogramMetricFamily(name, tally.documentation, labels=names)
    for labels, buckets in by_labels.items():
        so_far, cumulative = 0.0, []
        for bound_s, count in sorted(buckets.items()):
            so_far += count
            cumulative.append((floatToGoString(bound_s), so_far))  # type: ignore[no-untyped-call]
        family.add_metric(
            [value for _, value in labels], buckets=cumulative, sum_value=sum_s.get(labels, 0.0)
        )
    return family


class _EdgeCollector(Collector):
    def __init__(self, edge: EdgeStatus) -> None:
        self._edge = edge

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("gatekeeper_edge_up", "1 if the edge is running, else 0.")
        running.add_metric([], float(self._edge.running))
        yield running
        expiry = GaugeMetricFamily(
            "gatekeeper_edge_certificate_expiry_timestamp_seconds",
            "Expiry of the edge's certificate for a domain, in seconds since the epoch; 0: none.",
            labels=["domain"],
        )
        for each in self._edge.certificates:
            expiry.add_metric([each.domain], each.expires_at_s or 0.0)
        yield expiry
        handshakes = self._edge.handshakes
        yield CounterMetricFamily(
            "gatekeeper_edge_full_handshakes",
            "TLS handshakes of the edge that reached the choice of a certificate.",
            value=float(handshakes.full),
        )
        yield CounterMetricFamily(
            "gatekeeper_edge_failed_handshakes",
            "TLS handshakes of the edge over TCP that failed.",
            value=float(handshakes.failed),
        )


def exposition(
    folder: Path,
    states: Sequence[RoomState],
    names: Sequence[RoomName],
    *,
    lanes: LaneCounts = _NO_LANES,
    steered: Steered = _NOT_STEERED,
    edge: EdgeStatus | None = None,
) -> bytes:
    """The text format, version 0.0.4, of the workers' files in `folder`, the rooms and the edge.
    `lanes`: how many visitors of each lane are in line, by room."""
    registry = CollectorRegistry()
    if edge is not None:
        registry.register(_EdgeCollector(edge))
    registry.register(_WorkerCollector(folder))
    registry.register(_RoomCollector(states, names, lanes))
    registry.register(_AutotuneCollector(steered))
    return generate_latest(registry)
