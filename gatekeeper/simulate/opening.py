"""Judges the opening of an event from recorded evidence.

Rules. Pure: no I/O. As in `judge`, instants are of the crowd's clock, and an event inside the gate
is only known to be between the start of a request and the end of its response. A promise counts as
broken only when every possible instant breaks it.

Clock. The arrival of a ticket is the store's clock at some instant of its request. So each arrival
bounds the difference of the two clocks from both sides. The outermost tenth is ignored: a replica
may have estimated the clock while the store was unreachable.

Turns. The tickets of an event's prequeue name arrivals. Their turns are computed from the public
record and the visitor ids; until the record is drawn they are provisional, above every real turn.
Admissions until then are remembered, and count in the order as soon as their turns are known.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gatekeeper.policy.draw import drawn_turn_us, id_hash, participant_of
from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.simulate.judge import Place
from gatekeeper.simulate.token_claims import Claims

MAX_FIRST_ADMISSION_S = 10.0
MAX_REQUESTS = 1.5  # at the opening, times those a minute later
FIRST_MINUTE_S = 60.0
MIN_FIRST_MINUTE = 20.0  # expected admissions: fewer show no rate
PEAK_S = 5  # the busiest span of the opening
_BEFORE_S, _AFTER_S = 5, 40  # around the start
_LATER_S, _LATER_FOR_S = 60, 30
_MIN_LATER = 200  # requests of the later span: fewer show no ratio
_MIN_LINE = 0.8  # of the line at the opening, a minute later
_LEFT_OUT = 0.1
_JITTER = 1.15  # a page polls up to this factor later than the poll interval
_MAX_WAITING = 1.0  # seconds of the rate: with fewer in line the rate is not reached


class StoreClock:
    """The difference between the store's clock and the crowd's, seconds."""

    def __init__(self) -> None:
        self._least_s = array("d")
        self._most_s = array("d")

    def note(self, arrival_us: int, *, began_s: float, ended_s: float) -> None:
        self._least_s.append(arrival_us / 1e6 - ended_s)
        self._most_s.append(arrival_us / 1e6 - began_s)

    @property
    def bounds_s(self) -> tuple[float, float] | None:
        """The lower and upper bound; None without arrivals."""
        if not self._most_s:
            return None
        least, most = sorted(self._least_s, reverse=True), sorted(self._most_s)
        at = int(len(most) * _LEFT_OUT)
        return min(least[at], most[at]), most[at]


class DrawnTurns:
    """The turns of tickets, before and after the draw."""

    def __init__(self, record: DrawRecord) -> None:
        self.start_us, self.span_us = record.start_us, record.span_us
        self._seed: bytes | None = None
        self._confirmed: set[str] = set()  # returned the ticket before the opening
        self._lanes: dict[str, str] = {}  # of visitors
        self._spans = {span.lane: span for span in record.lanes}

    @property
    def is_known(self) -> bool:
        return self._seed is not None

    def learn(self, record: DrawRecord) -> bool:
        """Update the record: an operator may have moved the start. Returns whether it is drawn."""
        self.start_us, self.span_us = record.start_us, record.span_us
        self._seed = record.seed
        self._spans = {span.lane: span for span in record.lanes}
        return self._seed is not None

    def covers(self, arrival_us: int) -> bool:
        return self.start_us - self.span_us <= arrival_us < self.start_us

    def of(self, claims: Claims) -> int:
        """The turn of a ticket: its own if it has one, else by arrival or draw."""
        if claims.lane:
            self._lanes[claims.visitor] = claims.lane
        if claims.turn_us >= PROVISIONAL_US:  # returned before the opening
            self._confirmed.add(claims.visitor)
        elif claims.turn_us != claims.arrival_us or not self.covers(claims.arrival_us):
            return claims.turn_us
        return self.of_visitor(claims.visitor, claims.arrival_us)

    def of_visitor(self, visitor: str, arrival_us: int) -> int:
        """The turn of a visitor that arrived in the prequeue."""
        if self._seed is None:
            return PROVISIONAL_US + arrival_us
        span = self._spans.get(self._lanes.get(visitor, ""))
        if visitor not in self._confirmed:  # after all drawn turns
            return self.start_us if span is None else span.last_us
        if span is not None:
            return span.turn_us(self._seed, id_hash(visitor))
        return drawn_turn_us(self._seed, visitor, start_us=self.start_us, span_us=self.span_us)

    def lane_of(self, visitor: str) -> str:
        """The lane in which a visitor is drawn; "": none."""
        lane = self._lanes.get(visitor, "")
        return lane if lane in self._spans else ""

    def is_of_draw(self, turn_us: int) -> bool:
        """Whether a turn is drawn or provisional; others come before or after these."""
        in_lane = any(span.first_us <= turn_us <= span.last_us for span in self._spans.values())
        return turn_us >= PROVISIONAL_US or self.covers(turn_us) or in_lane


@dataclass(slots=True)
class _Participant:
    """A visitor of the prequeue, until the draw is known."""

    place: Place
    visitor: str
    arrival_us: int


@dataclass(frozen=True, slots=True)
class _Count:
    """Counts of the crowd at one instant."""

    at_s: float
    admissions: int


class OpeningRecord:
    """What the crowd observed of one event."""

    def __init__(self, record: DrawRecord) -> None:
        self.announced = record
        self.turns = DrawnTurns(record)
        self.clock = StoreClock()
        self.participants = 0
        self.late = 0  # arrivals from the start on
        self.early_arrivals = 0  # admitted on arrival in the prequeue
        self.admitted_ended_s = array("d")  # visitors of the prequeue
        self.first_began_s = math.inf  # of the request that was admitted first, of these …
        self.first_ended_s = math.inf
        self.longest_poll_s = 0.0  # interval in the prequeue
        self.polls_by_s: list[int] = []
        self.waiting_by_s: list[int] = []
        self.drawn_s: float | None = None
        self.draw_problems: list[str] | None = None  # None: the draw was not verified
        self.counts: list[_Count] = []  # of the first minute
        self.minute_is_over = False
        self._undrawn: list[_Participant] = []
        self._unknown: list[Place] = []  # admitted before their turn was known

    # Visitors.

    def arrived(self, place: Place, claims: Claims, *, began_s: float, now_s: float) -> None:
        self.clock.note(claims.arrival_us, began_s=began_s, ended_s=now_s)
        if self.turns.covers(claims.arrival_us):
            self.participants += 1
            self._undrawn.append(_Participant(place, claims.visitor, claims.arrival_us))
        else:
            self.late += claims.arrival_us >= self.turns.start_us

    def received_waiting(self, place: Place, *, poll_interval_s: float) -> None:
        if place.turn_us >= PROVISIONAL_US:
            self.longest_poll_s = max(self.longest_poll_s, poll_interval_s)

    def received_admitted(
        self, place: Place, *, on_arrival: bool, sent_s: float, now_s: float
    ) -> bool:
        """The first `admitted` response of a visitor. False: its turn is not known yet."""
        if self.turns.is_of_draw(place.turn_us):
            self.early_arrivals += on_arrival
            self.admitted_ended_s.append(now_s)
            self.first_began_s = min(self.first_began_s, sent_s)
            self.first_ended_s = min(self.first_ended_s, now_s)
        if place.turn_us < PROVISIONAL_US:
            return True
        self._unknown.append(place)
        return False

    def learn(self, record: DrawRecord, *, now_s: float) -> list[Place]:
        """Update the record. Once it is drawn, returns the visitors that were admitted before their
        turn was known."""
        if self.turns.is_known or not self.turns.learn(record):
            return []
        self.drawn_s = now_s
        for each in self._undrawn:
            if each.place.turn_us >= PROVISIONAL_US:
                each.place.turn_us = self.turns.of_visitor(each.visitor, each.arrival_us)
        unknown, self._unknown = self._unknown, []
        return [place for place in unknown if place.turn_us < PROVISIONAL_US]

    def certain_participants(self) -> set[str]:
        """The list lines of the visitors that were certainly in line when the event started."""
        start_s = self.start_s
        return {
            participant_of(each.visitor, lane=self.turns.lane_of(each.visitor))
            for each in self._undrawn
            if start_s is not None
            and each.place.is_present
            # It polled before and after the start, without a silence.
            and each.place.present_since_s < start_s < each.place.last_waiting_began_s
        }

    @property
    def start_s(self) -> float | None:
        """The start by the crowd's clock; None without arrivals."""
        bounds = self.clock.bounds_s
        return None if bounds is None else self.turns.start_us / 1e6 - sum(bounds) / 2

    # Requests and counts.

    def polled(self, *, now_s: float) -> None:
        _add(self.polls_by_s, at_s=now_s)

    def sample(
        self, *, waiting: int, rate_per_minute: float | None, admissions: int, now_s: float
    ) -> None:
        """Call at short intervals. `rate_per_minute` is None while releases do not follow it."""
        _add(self.waiting_by_s, at_s=now_s, count=waiting, adds=False)
        if self.minute_is_over or self.first_ended_s > now_s:
            return
        since_s = now_s - self.first_ended_s
        is_short = waiting <= _MAX_WAITING * (rate_per_minute or math.inf) / 60
        if since_s > FIRST_MINUTE_S + 1 or is_short:
            self.minute_is_over = bool(self.counts) or since_s > FIRST_MINUTE_S
            return
        self.counts.append(_Count(now_s, admissions))


def _add(counts: list[int], *, at_s: float, count: int = 1, adds: bool = True) -> None:
    second = max(int(at_s), 0)
    while len(counts) <= second:
        counts.append(0 if adds or not counts else counts[-1])
    counts[second] = counts[second] + count if adds else count


# The judgements.


def early_admissions(record: OpeningRecord) -> int | None:
    """How many visitors were certainly admitted before the start; None: the start is unknown."""
    bounds = record.clock.bounds_s
    if bounds is None or not record.participants:
        return None
    start_s = record.turns.start_us / 1e6
    by_clock = sum(ended_s + bounds[1] < start_s for ended_s in record.admitted_ended_s)
    return max(by_clock, record.early_arrivals)


def first_admission_s(record: OpeningRecord) -> tuple[float, float] | None:
    """The time from the start to the first admission: the lower bound, and as observed."""
    bounds = record.clock.bounds_s
    if bounds is None or record.first_ended_s == math.inf:
        return None
    start_s = record.turns.start_us / 1e6
    return (
        record.first_began_s + bounds[0] - start_s,
        record.first_ended_s + sum(bounds) / 2 - start_s,
    )


@dataclass(frozen=True, slots=True)
class FirstMinute:
    """The admissions of the first minute, or of the part of it in which enough visitors waited."""

    duration_s: float
    admissions: int
    expected: float

    def keeps_rate(self, *, burst: int, late_s: float) -> bool:
        """Whether the rate was kept. `late_s`: how late visitors claim their release."""
        edge = 1 + late_s * self.expected / self.duration_s
        return 0.95 * self.expected - edge <= self.admissions <= 1.05 * self.expected + burst + edge


def first_minute(record: OpeningRecord, *, rate_per_minute: float) -> FirstMinute | None:
    """The admissions of the first minute; None: visitors did not wait for long enough, with each
    one polling once since the start."""
    if len(record.counts) < 2:
        return None
    first, last = record.counts[0], record.counts[-1]
    duration_s = last.at_s - first.at_s
    expected = duration_s * rate_per_minute / 60
    if expected < MIN_FIRST_MINUTE or duration_s < min(
        record.longest_poll_s * _JITTER, FIRST_MINUTE_S * 0.9
    ):
        return None
    return FirstMinute(duration_s, last.admissions - first.admissions, expected)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Polls per second in the busiest span around the start, and a minute later."""

    peak_per_s: float
    later_per_s: float

    @property
    def ratio(self) -> float:
        return self.peak_per_s / self.later_per_s


def quiet_opening(record: OpeningRecord) -> Quiet | None:
    """The polls around the start and later; None: too few requests, or a much shorter line
    later."""
    if record.start_s is None or record.first_ended_s == math.inf:
        return None
    start = int(record.start_s)
    later = record.polls_by_s[start + _LATER_S : start + _LATER_S + _LATER_FOR_S][:-1]
    around = record.polls_by_s[max(start - _BEFORE_S, 0) : start + _AFTER_S]
    if sum(later) < _MIN_LATER or not _is_as_long(record.waiting_by_s, start=start):
        return None
    peak = max(sum(span) for span in _spans(around, PEAK_S))
    return Quiet(peak / PEAK_S, sum(later) / len(later))


def _is_as_long(waiting_by_s: Sequence[int], *, start: int) -> bool:
    later = waiting_by_s[start + _LATER_S : start + _LATER_S + _LATER_FOR_S]
    before = waiting_by_s[start] if start < len(waiting_by_s) else 0
    return bool(later) and min(later) >= _MIN_LINE * before


def _spans(counts: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    for first in range(max(len(counts) - length, 0) + 1):
        yield counts[first : first + length]
