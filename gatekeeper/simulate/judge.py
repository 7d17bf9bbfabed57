"""Judges order, rate, limits and the watermark from recorded evidence.

Rules. Pure: no I/O. Instants are seconds of one monotonic clock, that of the crowd. An event inside
the gate is only known to be between the start of a request and the end of its response. A promise
counts as broken only when every possible instant in between breaks it, so that delays cause no
false alarm. Cases that cannot be judged are counted as excused.

Order. A waited and B was admitted. There is an inversion if all of these hold:

- A's turn is before B's, by their tokens;
- A received `waiting` in the response to a request that began after B's `admitted` response ended;
- A was present when B was released.

A visitor is in line from its first poll on, which returns the token and so confirms it. A is
certainly present from the end of the response to that poll, or to the first poll after a silence,
on. B was released after the start of B's last poll with a `waiting` response; or, if no poll had
one, of B's arrival: the store may have given B a slot then, in a reply that came too late for the
gate. So it is enough that A was present before then.

Rate. A token bucket admits at most `rate * t + burst` in *every* span t; every span is checked.
A release that was not claimed gives its admission back, which does not count.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.policy.numbers import EXACT_END

_PRESENT_FACTOR = 1.25  # a poll late by this factor plus the margin still counts as present
_PRESENT_MARGIN_S = 1.0
_EXAMPLES = 5
_NO_TURN = -1
AFTER_ALL_US = EXACT_END  # the turn of a forwarded request that has none


@dataclass(slots=True)
class Place:
    """The judge's record of one visitor."""

    turn_us: int = _NO_TURN
    present_since_s: float = math.inf  # +inf: absent until a poll returns a position
    arrival_began_s: float = 0.0
    last_waiting_began_s: float = 0.0
    confirm_began_s: float | None = None  # the start of the first poll
    received_s: float | None = None
    poll_interval_s: float = 0.0
    sent_s: float = 0.0
    admitted_up_to_us: int = _NO_TURN  # latest turn admitted before the current request began
    overtaken: bool = False
    near_front: bool = False  # according to the last response

    @property
    def is_present(self) -> bool:
        return self.present_since_s != math.inf

    @property
    def is_expected(self) -> bool:
        """Whether the current request must find the place: in line, or the first poll."""
        return self.is_present or self.confirm_began_s == self.sent_s


@dataclass(frozen=True, slots=True)
class Inversion:
    """A visitor that still waited after a later turn was admitted."""

    waiting_turn_us: int
    admitted_turn_us: int
    at_s: float


class Order:
    """First come, first served. Call `request_began`, then the method for its response."""

    def __init__(self) -> None:
        # Admissions that no other one dominates: `began` rising, `turns` falling.
        self._began_s: list[float] = []
        self._turns_us: list[int] = []
        self.responses_judged = 0
        self.responses_excused = 0
        self.inversions = 0
        self.overtaken = 0
        self.examples: list[Inversion] = []

    def request_began(self, place: Place, *, now_s: float) -> None:
        """A request of this visitor begins now."""
        if place.received_s is None:
            place.arrival_began_s = place.last_waiting_began_s = now_s
        elif place.confirm_began_s is None:
            place.confirm_began_s = place.last_waiting_began_s = now_s
        elif now_s - place.received_s > place.poll_interval_s * _PRESENT_FACTOR + _PRESENT_MARGIN_S:
            place.present_since_s = math.inf
        place.sent_s = now_s
        place.admitted_up_to_us = self._latest_admitted(place.present_since_s)

    def received_ticket(self, place: Place, *, now_s: float, poll_interval_s: float) -> None:
        """A `waiting` response to an arrival ended: a ticket, and no place in line yet."""
        place.received_s, place.poll_interval_s = now_s, poll_interval_s

    def received_waiting(
        self, place: Place, *, now_s: float, poll_interval_s: float, known: bool
    ) -> None:
        """A `waiting` response to a poll ended; `known` is false when it had no position."""
        place.received_s, place.poll_interval_s = now_s, poll_interval_s
        if not known or place.turn_us == _NO_TURN:
            place.present_since_s = math.inf
            self.responses_excused += 1
            return
        place.last_waiting_began_s = place.sent_s
        if not place.is_present:
            place.present_since_s = now_s
            self.responses_excused += 1
            return
        self.responses_judged += 1
        if place.admitted_up_to_us <= place.turn_us:
            return
        self.inversions += 1
        self.overtaken += not place.overtaken
        place.overtaken = True
        if len(self.examples) < _EXAMPLES:
            self.examples.append(Inversion(place.turn_us, place.admitted_up_to_us, now_s))

    def received_admitted(self, place: Place) -> None:
        """The first `admitted` response of this visitor ended."""
        is_first_poll = place.confirm_began_s == place.sent_s
        began_s = place.arrival_began_s if is_first_poll else place.last_waiting_began_s
        turn_us = place.turn_us
        index = bisect_left(self._began_s, began_s)
        if index < len(self._began_s) and self._turns_us[index] >= turn_us:
            return
        end = index + (index < len(self._began_s) and self._began_s[index] == began_s)
        while index > 0 and self._turns_us[index - 1] <= turn_us:
            index -= 1
        self._began_s[index:end] = [began_s]
        self._turns_us[index:end] = [turn_us]

    def _latest_admitted(self, since_s: float) -> int:
        index = bisect_left(self._began_s, since_s)
        return self._turns_us[index] if index < len(self._turns_us) else _NO_TURN


def max_certain_in_window(
    window_s: float, *, began_s: Sequence[float], ended_s: Sequence[float]
) -> int:
    """The maximum number of admissions that were certainly within one span of `window_s`.

    Each admission happened between its `began_s` and its `ended_s`. A span that starts at s
    certainly contains it if s is in [ended - window, began]. The result is the largest number of
    these intervals that overlap.
    """
    edges: list[tuple[float, int]] = []
    for began, ended in zip(began_s, ended_s, strict=True):
        if ended - began <= window_s:
            edges.append((ended - window_s, -1))
            edges.append((began, 1))
    edges.sort()  # at equal instants, starts (-1) first: the intervals are closed
    maximum = overlapping = 0
    for _, edge in edges:
        overlapping -= edge
        maximum = max(maximum, overlapping)
    return maximum


def max_certain_above_rate(
    rate_per_minute: float, *, began_s: Sequence[float], ended_s: Sequence[float]
) -> float:
    """The largest certain excess over `rate * t` in any span t, in admissions.

    The worst span starts at the `began_s` of one admission and ends at the `ended_s` of another. In
    the order of `ended_s`, each admission adds one to every span that starts no later than it. A
    segment tree over the starts keeps the maximum: each node has its number of admissions, and the
    largest `rate * start + admissions from there on` among its starts.
    """
    rate_per_s = rate_per_minute / 60
    beginnings = sorted(set(began_s))
    size = 1 << max(len(beginnings) - 1, 0).bit_length()
    held = [0] * (2 * size)
    best = [-math.inf] * (2 * size)
    maximum = -math.inf
    for ended, began in sorted(zip(ended_s, began_s, strict=True)):
        node = size + bisect_left(beginnings, began)
        held[node] += 1
        best[node] = rate_per_s * began + held[node]
        while node > 1:
            node //= 2
            left, right = 2 * node, 2 * node + 1
            held[node] = held[left] + held[right]
            best[node] = max(best[right], best[left] + held[right])
        maximum = max(maximum, best[1] - rate_per_s * ended)
    return maximum


@dataclass(frozen=True, slots=True)
class RoomSample:
    """A reading of the admin listener; the request lasted from `began_s` to `ended_s`.

    `released_total` counts releases from the queue. Admissions on arrival are counted by the crowd:
    `direct_certain` were before this sample, `direct_possible` includes those in flight.
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
    returned_certain: int = 0  # admissions that were given back, likewise
    returned_possible: int = 0


def max_above_rate(samples: Sequence[RoomSample], *, rate_per_minute: float) -> float | None:
    """The largest excess over `rate * t` between two samples, in admissions; None without a span.

    The promise holds while this is at most the burst. Returned admissions are taken off.
    """
    rate_per_s = rate_per_minute / 60
    released, least = 0, math.inf
    maximum: float | None = None
    for sample in samples:
        # A store that lost its data counts from 0 until the totals are written back.
        released = max(released, sample.released_total)
        if least != math.inf:
            counted = released + sample.direct_certain - sample.returned_possible
            above = counted - rate_per_s * sample.ended_s - least
            maximum = above if maximum is None else max(maximum, above)
        most = released + sample.direct_possible - sample.returned_certain
        least = min(least, most - rate_per_s * sample.began_s)
    return maximum


def max_counted_in_window(window_s: float, samples: Sequence[RoomSample]) -> int | None:
    """The maximum number of admissions in a span of `window_s` by the gate's count; None without a
    span.

    The difference of two totals is a lower bound of the admissions between the samples. The span
    lasts from the start of the first sample to the end of the last one.
    """
    released, maximum = 0, None
    began_s: list[float] = []
    least: list[int] = []
    for sample in samples:
        released = max(released, sample.released_total)
        first = bisect_left(began_s, sample.ended_s - window_s)
        if first < len(began_s):
            counted = released + sample.direct_certain - sample.returned_possible - least[first]
            maximum = counted if maximum is None else max(maximum, counted)
        began_s.append(sample.began_s)
        least.append(released + sample.direct_possible - sample.returned_certain)
    return maximum


def max_above_limit(samples: Sequence[RoomSample]) -> int | None:
    """The largest excess over `max_active` in any sample; None without such a limit."""
    return max(
        (each.active - each.max_active for each in samples if each.max_active > 0), default=None
    )


def max_watermark_fall_us(samples: Sequence[RoomSample]) -> int | None:
    """The largest fall of the watermark, in microseconds; None without two samples."""
    if len(samples) < 2:
        return None
    highest_us = max_fall_us = 0
    for sample in samples:
        highest_us = max(highest_us, sample.watermark_us)
        max_fall_us = max(max_fall_us, highest_us - sample.watermark_us)
    return max_fall_us
