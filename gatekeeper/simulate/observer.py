"""Writes down what a crowd saw: the judge's evidence, the figures, and the curve over time.

Rules. No I/O and no clock. `asks` before each request, `heard` after it, each with its instant;
memory grows with the visitors admitted, never with the requests made.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from dataclasses import dataclass, field

from gatekeeper.simulate.gate_answer import Answer, Said, Token
from gatekeeper.simulate.judge import Order, Place, Sample
from gatekeeper.simulate.promptness import Promptness, is_near, lateness_s
from gatekeeper.simulate.room_figures import RoomFigures
from gatekeeper.simulate.token_claims import Claims, claims_of
from gatekeeper.simulate.visitor import Ask, Kind, Stage, Visitor

_RATE_SPAN_S = 30.0
MOST_VIOLATIONS = 200  # written down one by one; all are counted
_SAMPLED = 16  # of so many requests one
_MOST_POINTS = 1200  # of the curve; beyond that every second one goes
FORGED_STANDS = "a forged token had a standing"
FORGED_PASSES = "a forged token passed for one of ours"
SPENT_COUNTS = "a spent ticket counted again"
_TRUSTED_SILENCE_S = (
    4.0  # the slot of a newcomer may end when they are silent for `confirm_timeout`
)


@dataclass(frozen=True, slots=True)
class Point:
    """The crowd at one instant."""

    at_s: float
    arrived: int
    waiting: int
    admitted: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How it goes, for those who watch."""

    elapsed_s: float
    arrived: int
    waiting: int
    admitted: int
    gone: int
    failed: int
    inversions: int
    rate_per_minute: float  # admissions seen over the last half minute
    told_rate_per_minute: float
    requests_per_s: float
    room: RoomFigures | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise broken to one visitor."""

    at_s: float
    visitor: int
    what: str


@dataclass(slots=True)
class Lies:
    """What came of forged, swapped and spent tokens."""

    told: int = 0
    believed: int = 0
    examples: list[str] = field(default_factory=list)

    def count(self, *, believed: bool, what: str) -> None:
        self.told += 1
        self.believed += believed
        if believed and len(self.examples) < 5:
            self.examples.append(what)


class Witness:
    """Everything that one run was seen to do."""

    def __init__(self) -> None:
        self.order = Order()
        self.promptness = Promptness()
        self.lies = Lies()
        self.requests = 0
        self.arrived = 0
        self.admitted = 0
        self.admitted_at_once = 0
        self.waiting = 0
        self.gone = 0
        self.kinds: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.unreadable = 0
        self.places_lost = 0
        self.places_moved = 0
        self.turned_back = 0
        self.visits = 0
        self.told_rate_per_minute = 0.0
        self.waits_s = array("d")  # these two without what the crowd itself was late
        self.eta_errors_s = array("d")  # how much later than first told, of those who stayed
        self.polls = array("l")  # how often each who was let in from the line had to ask
        self.polled_s = array("d")  # … in how long
        self.eta_told_s = array("d")
        self.late_s = array("d")  # a sample of how late the crowd itself asked …
        self.answers_s = array("d")  # … and of how long the answers took
        self.admitted_began_s = array("d")
        self.admitted_ended_s = array("d")
        self.violations: list[Violation] = []
        self.samples: list[Sample] = []
        self.room: RoomFigures | None = None
        self.curve: list[Point] = []
        self.failing_since_s: float | None = None  # no request was answered from then on
        self._arriving = 0
        self._answers = 0
        self._curve_step_s = 0.5
        self._recent: deque[tuple[float, int, int]] = deque()

    # Around each request.

    def asks(self, visitor: Visitor, *, now_s: float) -> None:
        self.requests += 1
        if self.requests % _SAMPLED == 0:
            self.late_s.append(max(now_s - visitor.due_s, 0))
        match visitor.next:
            case Ask.ARRIVE:
                self._arriving += 1
                self.order.asks(visitor.place, now_s=now_s)
                visitor.arrived_s = now_s
            case Ask.POLL:
                self.order.asks(visitor.place, now_s=now_s)

    def heard(
        self, visitor: Visitor, answer: Answer, *, sent: Token | None, began_s: float, now_s: float
    ) -> None:
        """What was told, before the visitor acts on it; `sent` is the token they came with."""
        if answer.said is Said.FAILED:
            self.failures[answer.failure] += 1
            if self.failing_since_s is None:
                self.failing_since_s = began_s
        else:
            self.failing_since_s = None
            self._answers += 1
            if self._answers % _SAMPLED == 0:
                self.answers_s.append(now_s - began_s)
        if answer.rate_per_minute is not None:
            self.told_rate_per_minute = max(self.told_rate_per_minute, answer.rate_per_minute)
        match visitor.next:
            case Ask.ARRIVE:
                self._arriving -= 1
                if answer.said is not Said.FAILED:
                    self._arrives(visitor, answer, now_s=now_s)
            case Ask.POLL:
                self._polls(visitor, answer, now_s=now_s)
            case Ask.VISIT:
                self._visits(visitor, answer, began_s=began_s, now_s=now_s)
            case Ask.LIE_TO_STATUS:
                believed = answer.said in {Said.WAITING, Said.ADMITTED}
                self._lied(visitor, believed, FORGED_STANDS, now_s=now_s)
            case Ask.LIE_TO_SITE:
                self._lied_to_site(visitor, answer, sent=sent, began_s=began_s, now_s=now_s)
            case Ask.REPLAY:
                believed = answer.said in {Said.WAITING, Said.ADMITTED}
                self._lied(visitor, believed, SPENT_COUNTS, now_s=now_s)

    def moved(self, before: Stage, after: Stage) -> None:
        """A visitor went from one stage to another."""
        self.waiting += (after is Stage.WAITING) - (before is Stage.WAITING)
        self.gone += (after is Stage.GONE) - (before is Stage.GONE)

    def _arrives(self, visitor: Visitor, answer: Answer, *, now_s: float) -> None:
        self.arrived += 1
        self.kinds[visitor.kind] += 1
        if answer.claims is None:
            self.unreadable += 1
            return
        visitor.place.arrival_us = answer.claims.arrival_us
        if answer.said is Said.WAITING:
            self._waits(visitor, answer, now_s=now_s)
        else:
            self.admitted_at_once += 1
            self._enters(visitor, now_s=now_s)

    def _polls(self, visitor: Visitor, answer: Answer, *, now_s: float) -> None:
        place = visitor.place
        if answer.said is Said.NOTHING and place.present:
            self.places_lost += 1
            self._violated(visitor, "lost the place", now_s=now_s)
        if answer.claims is not None and answer.claims.arrival_us != place.arrival_us:
            self.places_moved += place.present
            if place.present:
                self._violated(visitor, "was given another place", now_s=now_s)
            place.arrival_us = answer.claims.arrival_us
        if answer.said is Said.WAITING:
            self._waits(visitor, answer, now_s=now_s)
        elif answer.said is Said.ADMITTED:
            self._enters(visitor, now_s=now_s)

    def _waits(self, visitor: Visitor, answer: Answer, *, now_s: float) -> None:
        known, before = answer.position is not None, self.order.inversions
        self.order.waits(visitor.place, now_s=now_s, refresh_s=answer.refresh_s, known=known)
        visitor.place.near = is_near(answer.position, rate_per_minute=answer.rate_per_minute)
        if self.order.inversions > before:
            self._violated(visitor, "waited while one who came later was in", now_s=now_s)
        if visitor.eta_s is None and answer.eta_s is not None:
            visitor.eta_s = answer.eta_s
            visitor.expected_s = now_s + answer.eta_s

    def _enters(self, visitor: Visitor, *, now_s: float) -> None:
        if visitor.admitted:
            return
        visitor.admitted = True
        place = visitor.place
        self.order.admitted(place)
        self.promptness.passed(place.arrival_us, now_s=now_s)
        late_s = 0.0
        if visitor.next is Ask.POLL:
            late_s = self._late_s(visitor, now_s=now_s)
            if not visitor.failures:  # else they came back when they thought fit
                self.promptness.admitted(place, now_s=now_s)
        self.admitted += 1
        self.admitted_began_s.append(place.last_waiting_began_s)
        self.admitted_ended_s.append(now_s)
        place.heard_s = now_s
        wait_s = now_s - visitor.arrived_s - late_s
        self.waits_s.append(wait_s)
        if visitor.eta_s is not None and visitor.kind is not Kind.RETURNER:
            self.eta_told_s.append(visitor.eta_s)
            self.eta_errors_s.append(now_s - visitor.expected_s - late_s)
        if visitor.next is Ask.POLL and visitor.kind is not Kind.REFRESHER:
            self.polls.append(visitor.polls + 1)
            self.polled_s.append(wait_s)

    def _late_s(self, visitor: Visitor, *, now_s: float) -> float:
        """How much sooner they would have been told had they asked when they meant to and were
        told to: not before their release was certain."""
        place = visitor.place
        late_s = max(place.asked_s - visitor.due_s, lateness_s(place))
        released_s = self.promptness.released_s(place.arrival_us)
        return 0.0 if released_s is None else min(late_s, now_s - released_s)

    def _visits(self, visitor: Visitor, answer: Answer, *, began_s: float, now_s: float) -> None:
        silence_s = began_s - (visitor.place.heard_s or began_s)
        if answer.said is Said.WAITING and silence_s < _TRUSTED_SILENCE_S:
            self.turned_back += 1
            self._violated(visitor, "was in, and told to wait", now_s=now_s)
        self.visits += answer.said is Said.THROUGH
        if answer.said is not Said.FAILED:  # else nobody may have heard them
            visitor.place.heard_s = now_s

    def _violated(self, visitor: Visitor, what: str, *, now_s: float) -> None:
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(Violation(now_s, visitor.number, what))

    def _lied(self, visitor: Visitor, believed: bool, what: str, *, now_s: float) -> None:
        self.lies.count(believed=believed, what=what)
        if believed:
            self._violated(visitor, what, now_s=now_s)

    def _lied_to_site(
        self, visitor: Visitor, answer: Answer, *, sent: Token | None, began_s: float, now_s: float
    ) -> None:
        """A liar is a newcomer, and gets a token of their own; with none the lie was believed."""
        if answer.said is Said.FAILED:
            return
        lie = claims_of(sent.raw) if sent else None
        given = answer.claims
        believed = given is None or (lie is not None and given.visitor == lie.visitor)
        self._lied(visitor, believed, FORGED_PASSES, now_s=now_s)
        if answer.said is Said.THROUGH and given is not None:
            self._newcomer_entered(given, began_s=began_s, now_s=now_s)

    def _newcomer_entered(self, claims: Claims, *, began_s: float, now_s: float) -> None:
        self.order.admitted(Place(arrival_us=claims.arrival_us, last_waiting_began_s=began_s))
        self.promptness.passed(claims.arrival_us, now_s=now_s)

    # Beside the requests.

    def direct(self) -> tuple[int, int]:
        """Admissions on arrival so far: surely, and perhaps with those under way."""
        return self.admitted_at_once, self.admitted_at_once + self._arriving

    def sample(
        self, figures: RoomFigures, *, began_s: float, direct_certain: int, now_s: float
    ) -> None:
        self.room = figures
        self.promptness.passed(figures.watermark_us, now_s=now_s)
        self.samples.append(
            Sample(
                began_s=began_s,
                ended_s=now_s,
                released_total=figures.released_total,
                active=figures.active,
                max_active=figures.max_active,
                queue_length=figures.queue_length,
                rate_per_minute=figures.rate_per_minute,
                direct_certain=direct_certain,
                direct_possible=self.direct()[1],
                watermark_us=figures.watermark_us,
            )
        )

    def progress(self, *, now_s: float, last: bool = False) -> Progress:
        """The state now; also adds to the curve, and to its very end when it is the `last`."""
        self._recent.append((now_s, self.admitted, self.requests))
        while now_s - self._recent[0][0] > _RATE_SPAN_S:
            self._recent.popleft()
        began_s, admitted, _ = self._recent[0]
        span_s = max(now_s - began_s, 1.0)
        earlier = next((each for each in self._recent if now_s - each[0] <= 5), self._recent[0])
        if last or not self.curve or now_s - self.curve[-1].at_s >= self._curve_step_s:
            self.curve.append(Point(now_s, self.arrived, self.waiting, self.admitted))
            if len(self.curve) > _MOST_POINTS:
                del self.curve[1::2]
                self._curve_step_s *= 2
        return Progress(
            elapsed_s=now_s,
            arrived=self.arrived,
            waiting=self.waiting,
            admitted=self.admitted,
            gone=self.gone,
            failed=self.failures.total(),
            inversions=self.order.inversions,
            rate_per_minute=(self.admitted - admitted) * 60 / span_s,
            told_rate_per_minute=self.told_rate_per_minute,
            requests_per_s=(self.requests - earlier[2]) / max(now_s - earlier[0], 1.0),
            room=self.room,
        )
