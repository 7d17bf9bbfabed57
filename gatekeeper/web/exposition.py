"""The Prometheus text of a gate: what its workers counted and what the store knows.

Rules. Counters and histograms are added up over all workers, also those that ended; gauges over
the living. Figures of a room come from the store's state, so every gate reports the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
from prometheus_client.utils import floatToGoString

from gatekeeper.config import RoomName
from gatekeeper.metrics import ForwardedTally
from gatekeeper.policy.decision import Mode
from gatekeeper.room.state import RoomState

_ANSWERS, _ANSWER_SECONDS = "gatekeeper_origin_answers", "gatekeeper_origin_answer_seconds"

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
            "gatekeeper_watermark_seconds", "Arrival of the last one released.", labels=["room"]
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
    """The workers' files, with the tallied answers of the origin as the histogram they are."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(CollectorRegistry(), path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        counts: dict[float, float] = {}
        sum_s = 0.0
        for metric in self._files.collect():  # type: ignore[no-untyped-call]
            if metric.name == _ANSWERS:
                counts = {float(sample.labels["le"]): sample.value for sample in metric.samples}
            elif metric.name == _ANSWER_SECONDS:
                sum_s = sum(sample.value for sample in metric.samples)
            else:
                yield metric
        cumulative, so_far = [], 0.0
        for bound_s in (*ForwardedTally.BOUNDS_S, math.inf):
            so_far += counts.get(bound_s, 0.0)
            cumulative.append((floatToGoString(bound_s), so_far))  # type: ignore[no-untyped-call]
        yield HistogramMetricFamily(
            "gatekeeper_origin_seconds",
            "From the request to the head of the origin's answer.",
            buckets=cumulative,
            sum_value=sum_s,
        )


def exposition(folder: Path, states: Sequence[RoomState], names: Sequence[RoomName]) -> bytes:
    """The text format, version 0.0.4, of the workers' files in `folder` and of the rooms."""
    registry = CollectorRegistry()
    registry.register(_Workers(folder))
    registry.register(_Rooms(states, names))
    return generate_latest(registry)
