"""Whether what a crowd saw kept the gate's promises. Pure: no I/O, and instants are passed in.

Rules. Instants are seconds of one monotonic clock, that of the crowd. What happened inside the
gate is known only between the beginning of a request and the end of its answer, so a promise is
called broken only when every instant in between would break it: no false alarm, whatever the
delays. What cannot be judged is not held against the gate, and is counted.

Order. A waited and B was admitted. There is an inversion if A arrived before B (by the arrivals
in their tokens), A is told `waiting` by an answer to a request that began after B's `admitted` had
ended, and A was present when B was released. B was released after the beginning of B's last
request that was told `waiting` (or of B's arrival), so it is enough that A was back in line before
that; who arrived before B and has been present ever since was in line before B in any case.

Rate. A token bucket admits at most `rate × t + burst` in *every* span t, so that is what is asked.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

_PRESENT_FACTOR = 1.25  # one who comes so much later than told, and a second, still counts as there
_PRESENT_MARGIN_S = 1.0
_EXAMPLES = 5
_NOBODY = -1


@dataclass(slots=True)
class Place:
    """What the judge remembers of one visitor."""

    arrival_us: int = _NOBODY
    present_since_s: float = -math.inf  # +inf: absent, until told a position again
    last_waiting_began_s: float = 0.0
    heard_s: float | None = None
    told_s: float = 0.0
    asked_s: float = 0.0
    mark_us: int = _NOBODY  # the latest arrival admitted before the request under way began
    overtaken: bool = False
    near: bool = False  # the front, as told last

    @property
    def present(self) -> bool:
        return self.present_since_s != math.inf


@dataclass(frozen=True, slots=True)
class Inversion:
    """One who still waited after one who came later had been let in."""

    waiting_arrival_us: int
    admitted_arrival_us: int
    at_s: float


class Order:
    """First come, first served. Call `asks` before each request of a visitor, then what it told."""

    def __init__(self) -> None:
        # Admissions that no other one makes superfluous: began rising, arrivals falling.
        self._began_s: list[float] = []
        self._arrivals_us: list[int] = []
        self.answers_judged = 0
        self.answers_excused = 0
        self.inversions = 0
        self.overtaken = 0
        self.examples: list[Inversion] = []

    def asks(self, place: Place, *, now_s: float) -> None:
        """A request of this visitor begins."""
        if place.heard_s is None:
            place.last_waiting_began_s = now_s
        elif now_s - place.heard_s > place.told_s * _PRESENT_FACTOR + _PRESENT_MARGIN_S:
            place.present_since_s = math.inf
        place.asked_s = now_s
        place.mark_us = self._latest_admitted(place.present_since_s)

    def waits(self, place: Place, *, now_s: float, refresh_s: float, known: bool) -> None:
        """Told `waiting`; `known` is false when the gate could not say at which position."""
        place.heard_s, place.told_s = now_s, refresh_s
        if not known or place.arrival_us == _NOBODY:
            place.present_since_s = math.inf
            self.answers_excused += 1
            return
        place.last_waiting_began_s = place.asked_s
        if not place.present:
            place.present_since_s = now_s
            self.answers_excused += 1
            return
        self.answers_judged += 1
        if place.mark_us <= place.arrival_us:
            return
        self.inversions += 1
        self.overtaken += not place.overtaken
        place.overtaken = True
        if len(self.examples) < _EXAMPLES:
            self.examples.append(Inversion(place.arrival_us, place.mark_us, now_s))

    def admitted(self, place: Place) -> None:
        """Told `admitted`, for the first time; the answer has ended."""
        began_s, arrival_us = place.last_waiting_began_s, place.arrival_us
        index = bisect_left(self._began_s, began_s)
        if index < len(self._began_s) and self._arrivals_us[index] >= arrival_us:
            return
        end = index + (index < len(self._began_s) and self._began_s[index] == began_s)
        while index > 0 and self._arrivals_us[index - 1] <= arrival_us:
            index -= 1
        self._began_s[index:end] = [began_s]
        self._arrivals_us[index:end] = [arrival_us]

    def _latest_admitted(self, since_s: float) -> int:
        index = bisect_left(self._began_s, since_s)
        return self._arrivals_us[index] if index < len(self._arrivals_us) else _NOBODY


def most_certain_in(window_s: float, *, began_s: Sequence[float], ended_s: Sequence[float]) -> int:
    """The most admissions that fell into one span of `window_s` for sure.

    Each happened somewhere between its `began_s` and its `ended_s`. One that the span from s on
    surely holds has s in [ended − window, began]; the answer is where most of those overlap.
    """
    edges: list[tuple[float, int]] = []
    for began, ended in zip(began_s, ended_s, strict=True):
        if ended - began <= window_s:
            edges.append((ended - window_s, -1))
            edges.append((began, 1))
    edges.sort()  # at the same instant, beginnings (-1) first: the spans are closed
    most = overlapping = 0
    for _, edge in edges:
        overlapping -= edge
        most = max(most, overlapping)
    return most


def most_certain_above_rate(
    rate_per_minute: float, *, began_s: Sequence[float], ended_s: Sequence[float]
) -> float:
    """The most admissions above `rate × t` that fell into one span t for sure, of any length.

    A span that counts begins with one admission's `began_s` and ends with another's `ended_s`. In
    the order of their ends, each admission adds one to every span that began no later than it. A
    tree over the beginnings keeps the best of them: a node knows how many admissions it holds, and
    the most of `rate × beginning + admissions from there on` among its own beginnings.
    """
    rate_per_s = rate_per_minute / 60
    beginnings = sorted(set(began_s))
    size = 1 << max(len(beginnings) - 1, 0).bit_length()
    held = [0] * (2 * size)
    best = [-math.inf] * (2 * size)
    most = -math.inf
    for ended, began in sorted(zip(ended_s, began_s, strict=True)):
        node = size + bisect_left(beginnings, began)
        held[node] += 1
        best[node] = rate_per_s * began + held[node]
        while node > 1:
            node //= 2
            left, right = 2 * node, 2 * node + 1
            held[node] = held[left] + held[right]
            best[node] = max(best[right], best[left] + held[right])
        most = max(most, best[1] - rate_per_s * ended)
    return most


@dataclass(frozen=True, slots=True)
class Sample:
    """What the operator's listener said, in an answer that began and ended then.

    `released_total` counts who came out of the line. Who found no line was let in on arrival and
    is counted by the crowd: `direct_certain` surely before this sample, `direct_possible` perhaps.
    """

    began_s: float
    ended_s: float
    released_total: int
    active: int
    max_active: int
    queue_length: int
    rate_per_minute: float
    direct_certain: int
    direct_possible: int
    watermark_us: int = 0


def most_above_rate(samples: Sequence[Sample], *, rate_per_minute: float) -> float | None:
    """The most admissions above `rate × t` in any span between two samples; None without a span.

    A gate keeps its promise while this stays within its burst.
    """
    rate_per_s = rate_per_minute / 60
    released, least = 0, math.inf
    most: float | None = None
    for sample in samples:
        # A store that lost everything counts from 0 until it is told its totals again.
        released = max(released, sample.released_total)
        if least != math.inf:
            above = released + sample.direct_certain - rate_per_s * sample.ended_s - least
            most = above if most is None else max(most, above)
        least = min(least, released + sample.direct_possible - rate_per_s * sample.began_s)
    return most


def most_counted_in(window_s: float, samples: Sequence[Sample]) -> int | None:
    """The most admissions in any span of `window_s` by the gate's own count; None without a span.

    Between two samples there were at least as many as their totals differ by. A span that surely
    holds them begins with the first sample's beginning and ends with the last one's end.
    """
    released, most = 0, None
    began_s: list[float] = []
    least: list[int] = []
    for sample in samples:
        released = max(released, sample.released_total)
        first = bisect_left(began_s, sample.ended_s - window_s)
        if first < len(began_s):
            counted = released + sample.direct_certain - least[first]
            most = counted if most is None else max(most, counted)
        began_s.append(sample.began_s)
        least.append(released + sample.direct_possible)
    return most


def most_above_limit(samples: Sequence[Sample]) -> int | None:
    """The most people above `max_active` in any sample; None when there is no such limit."""
    return max(
        (each.active - each.max_active for each in samples if each.max_active > 0), default=None
    )


def deepest_fall_us(samples: Sequence[Sample]) -> int | None:
    """How far the watermark ever stood below where it had been; None without two samples."""
    if len(samples) < 2:
        return None
    highest_us = deepest_us = 0
    for sample in samples:
        highest_us = max(highest_us, sample.watermark_us)
        deepest_us = max(deepest_us, highest_us - sample.watermark_us)
    return deepest_us
