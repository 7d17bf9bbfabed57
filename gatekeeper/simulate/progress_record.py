"""The counts of a run over time: its curve, and the rates of the last seconds.

Rules. No I/O and no clock. Bounded: of a long run every second point of the curve is dropped.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from gatekeeper.simulate.evidence import Point

_RATE_SPAN_S = 30.0
_REQUESTS_SPAN_S = 5.0
_MAX_POINTS = 1200  # of the curve


class Rates(NamedTuple):
    admissions_per_minute: float
    requests_per_s: float


class ProgressRecord:
    """Call `add` at short intervals."""

    def __init__(self) -> None:
        self.curve: list[Point] = []
        self._step_s = 0.5
        self._recent: deque[tuple[Point, int]] = deque()

    def add(self, point: Point, *, requests: int, last: bool) -> Rates:
        """The rates now. Also adds the point to the curve when it is due or the `last`."""
        now_s = point.at_s
        self._recent.append((point, requests))
        while now_s - self._recent[0][0].at_s > _RATE_SPAN_S:
            self._recent.popleft()
        self._extend_curve(point, last=last)
        first, _ = self._recent[0]
        since, before = next(
            each for each in self._recent if now_s - each[0].at_s <= _REQUESTS_SPAN_S
        )
        return Rates(
            (point.admitted - first.admitted) * 60 / max(now_s - first.at_s, 1.0),
            (requests - before) / max(now_s - since.at_s, 1.0),
        )

    def _extend_curve(self, point: Point, *, last: bool) -> None:
        if not last and self.curve and point.at_s - self.curve[-1].at_s < self._step_s:
            return
        self.curve.append(point)
        if len(self.curve) > _MAX_POINTS:
            del self.curve[1::2]
            self._step_s *= 2
