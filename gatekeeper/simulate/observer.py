"""Records what a crowd observed: the judge's evidence, the figures, and the curve over time.

Rules. No I/O and no clock. Call `request_began` before each request and `response_received` after
it, each with its instant. Memory grows with the admitted visitors, not with the requests.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter

from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.simulate.bots import BotRecord
from gatekeeper.simulate.evidence import ForgedTokens, Point, Progress, Violation
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.judge import AFTER_ALL_US, Order, Place, RoomSample
from gatekeeper.simulate.lane_record import LaneRecord
from gatekeeper.simulate.opening import OpeningRecord
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.pressure_record import PressureRecord
from gatekeeper.simulate.progress_record import ProgressRecord
from gatekeeper.simulate.release_delays import ReleaseDelays, client_delay_of, is_near_front
from gatekeeper.simulate.room_monitor import RoomFigures
from gatekeeper.simulate.room_samples import SampleStart, sample_of
from gatekeeper.simulate.token_claims import Claims
from gatekeeper.simulate.visitor import Action, Visitor, VisitorKind, VisitorStage

MAX_VIOLATIONS = 200  # recorded with instant and visitor; all are counted
_SAMPLED = 16  # one request in so many is measured
FORGED_TICKET_ACCEPTED = "forged token accepted as a ticket"
FORGED_VISIT_ADMITTED = "forged token accepted by the site"
SPENT_TICKET_ACCEPTED = "spent ticket accepted again"
# A newcomer's slot may end after `confirm_timeout` without a request; shorter silences must not.
_MAX_JUDGED_SILENCE_S = 4.0


class Observer:
    """The record of one run."""

    def __init__(
        self, plan: CrowdPlan | None = None, *, opening: OpeningRecord | None = None
    ) -> None:
        """`opening`: the record of an event that the crowd takes part in."""
        self.opening = opening
        self.order = Order()
        self.release_delays = ReleaseDelays()
        self.pressure = PressureRecord(self.release_delays, plan)
        self.pressure.is_closed = opening is not None
        self.forged_tokens = ForgedTokens()
        self.bots = BotRecord()
        self.lanes = LaneRecord(is_kept=plan is not None and bool(plan.lanes))
        self.requests = 0
        self.arrived = self.admitted = self.admitted_at_once = 0
        self.waiting = self.done = 0
        self.kinds: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.unreadable_tokens = 0
        self.places_lost = self.places_moved = self.sent_back = 0
        self.visits = 0
        self.reported_rate_per_minute: float | None = None  # the highest
        self.waits_s = array("d")  # these two exclude the delay of the crowd itself
        self.eta_errors_s = array("d")  # admission minus first estimate, returners left out
        self.polls = array("l")  # polls of each visitor admitted from the queue …
        self.polled_s = array("d")  # … and their waits
        self.reported_eta_s = array("d")
        self.client_delay_s = array("d")  # sampled: how late the crowd sent requests …
        self.response_times_s = array("d")  # … and the response times
        self.admitted_began_s = array("d")
        self.admitted_ended_s = array("d")
        self.violations: list[Violation] = []
        self.samples: list[RoomSample] = []
        self.room: RoomFigures | None = None
        self.over_time = ProgressRecord()
        self.failing_since_s: float | None = None  # all requests failed since then
        self._arriving = 0
        self._direct = 0  # admissions without a place: visitors, lurkers, floods, bots
        self._responses = 0

    # Around each request.

    def request_began(self, visitor: Visitor, *, now_s: float) -> None:
        self.requests += 1
        if self.requests % _SAMPLED == 0:
            self.client_delay_s.append(max(now_s - visitor.due_s, 0))
        match visitor.next_action:
            case Action.ARRIVE:
                self._arriving += 1
                self.pressure.arrival_began()
                self.lanes.arrival_began(visitor)
                self.order.request_began(visitor.place, now_s=now_s)
                visitor.arrived_s = now_s
            case Action.EVADE:
                self._arriving += 1
            case Action.LEAVE:
                self.pressure.leave_began(visitor)
            case Action.REPLAY:
                self.pressure.replay_began()
            case Action.POLL | Action.SOLVE:
                self.pressure.poll_began(visitor)
                if self.opening is not None:
                    self.opening.polled(now_s=now_s)
                self.order.request_began(visitor.place, now_s=now_s)

    def response_received(
        self,
        visitor: Visitor,
        response: ObservedResponse,
        *,
        sent: Token | None,
        began_s: float,
        now_s: float,
    ) -> None:
        """Record a response before it is applied; `sent` is the token of the request."""
        if response.outcome is Outcome.FAILED:
            self.failures[response.failure] += 1
            if self.failing_since_s is None:
                self.failing_since_s = began_s
        else:
            self.failing_since_s = None
            self._responses += 1
            if self._responses % _SAMPLED == 0:
                self.response_times_s.append(now_s - began_s)
        if response.rate_per_minute is not None:
            self.reported_rate_per_minute = max(
                self.reported_rate_per_minute or 0.0, response.rate_per_minute
            )
        self._record_violation(visitor, self.bots.received(visitor, response), now_s=now_s)
        match visitor.next_action:
            case Action.ARRIVE:
                self._arriving -= 1
                if response.is_without_ticket and not visitor.gives_up_next:
                    self.failures["no ticket yet"] += 1
                elif response.outcome is not Outcome.FAILED:
                    self._on_arrival(visitor, response, began_s=began_s, now_s=now_s)
            case Action.POLL | Action.SOLVE:
                self._on_poll(visitor, response, now_s=now_s)
            case Action.EVADE:
                self._arriving -= 1
                if response.outcome is Outcome.FORWARDED:
                    self.request_forwarded(None, began_s=began_s, now_s=now_s)
            case Action.LEAVE if response.outcome is not Outcome.FAILED:
                self.pressure.received_left(visitor)
            case Action.VISIT if not visitor.is_bot:
                self._on_visit(visitor, response, began_s=began_s, now_s=now_s)
            case Action.FORGE_POLL:
                accepted = response.accepts_ticket(sent)
                self._record_forgery(visitor, accepted, FORGED_TICKET_ACCEPTED, now_s=now_s)
            case Action.REPLAY:
                accepted = response.accepts_spent(sent)
                self._record_forgery(visitor, accepted, SPENT_TICKET_ACCEPTED, now_s=now_s)
            case Action.FORGE_VISIT:
                self._on_forged_visit(visitor, response, sent=sent, began_s=began_s, now_s=now_s)

    def stage_changed(self, visitor: Visitor, stage_before: VisitorStage, *, now_s: float) -> None:
        """A visitor changed to another stage."""
        stage_after = visitor.stage
        if stage_after is stage_before or visitor.is_beside:
            return
        self.pressure.stage_changed(visitor, now_s=now_s)
        self.waiting += (stage_after is VisitorStage.WAITING) - (
            stage_before is VisitorStage.WAITING
        )
        self.done += (stage_after is VisitorStage.DONE) - (stage_before is VisitorStage.DONE)

    def _on_arrival(
        self, visitor: Visitor, response: ObservedResponse, *, began_s: float, now_s: float
    ) -> None:
        if not visitor.is_beside:
            self.arrived += 1
            self.kinds[visitor.kind] += 1
        if response.claims is None:
            self.unreadable_tokens += 1
            return
        visitor.place.turn_us = self._turn_us(response.claims)
        violation = self.lanes.received_ticket(visitor, response, by_draw=self.opening is not None)
        self._record_violation(visitor, violation, now_s=now_s)
        if self.opening is not None:
            self.opening.arrived(visitor.place, response.claims, began_s=began_s, now_s=now_s)
        if response.outcome is Outcome.WAITING:
            self.order.received_ticket(
                visitor.place, now_s=now_s, poll_interval_s=response.poll_interval_s
            )
            self.pressure.note_estimate(response)
        else:
            self._direct += 1
            self.admitted_at_once += not visitor.is_beside
            self._received_admitted(visitor, now_s=now_s)

    def _on_poll(self, visitor: Visitor, response: ObservedResponse, *, now_s: float) -> None:
        place = visitor.place
        if response.outcome is Outcome.NO_PLACE and place.is_expected:
            self.places_lost += 1
            self._record_violation(visitor, "lost the place", now_s=now_s)
        turn_us = place.turn_us if response.claims is None else self._turn_us(response.claims)
        if turn_us != place.turn_us:
            if place.is_expected and not self.lanes.may_move(visitor, turn_us):
                self.places_moved += 1
                self._record_violation(visitor, "received another place", now_s=now_s)
            place.turn_us = turn_us
        if response.outcome is Outcome.WAITING:
            self._received_waiting(visitor, response, now_s=now_s)
        elif response.outcome is Outcome.ADMITTED:
            self._received_admitted(visitor, now_s=now_s)

    def _turn_us(self, claims: Claims) -> int:
        return claims.turn_us if self.opening is None else self.opening.turns.of(claims)

    def learn_draw(self, record: DrawRecord, *, now_s: float) -> None:
        """The public record of the event's draw, as it is now."""
        if self.opening is not None:
            self.pressure.is_closed = record.state != "drawn"
            for place in self.opening.learn(record, now_s=now_s):
                self.order.received_admitted(place)

    def _received_waiting(
        self, visitor: Visitor, response: ObservedResponse, *, now_s: float
    ) -> None:
        known, inversions_before = response.has_place, self.order.inversions
        if self.opening is not None:
            self.opening.received_waiting(visitor.place, poll_interval_s=response.poll_interval_s)
        has_returned = not visitor.place.is_expected
        self.order.received_waiting(
            visitor.place, now_s=now_s, poll_interval_s=response.poll_interval_s, known=known
        )
        visitor.place.near_front = is_near_front(
            response.position, rate_per_minute=response.rate_per_minute
        )
        if self.order.inversions > inversions_before:
            self._record_violation(
                visitor, "waited after a later arrival was admitted", now_s=now_s
            )
        violation = self.pressure.received_waiting(
            visitor, response, has_returned=has_returned, now_s=now_s
        )
        self._record_violation(visitor, violation, now_s=now_s)
        if visitor.eta_s is None and response.eta_s is not None:
            visitor.eta_s = response.eta_s
            visitor.expected_at_s = now_s + response.eta_s

    def _received_admitted(self, visitor: Visitor, *, now_s: float) -> None:
        if visitor.admitted:
            return
        visitor.admitted = True
        place = visitor.place
        if self._admitted_at_a_turn(visitor, now_s=now_s):
            self.order.received_admitted(place)
            self.lanes.received_admitted(visitor)
            self.release_delays.record_release(
                place.turn_us - 1, began_s=place.last_waiting_began_s, now_s=now_s
            )
        violation = self.pressure.received_admitted(visitor) or self.bots.received_admitted(visitor)
        self._record_violation(visitor, violation, now_s=now_s)
        self._admitted_between(place.last_waiting_began_s, now_s)
        if visitor.is_beside:
            return
        client_delay_s = 0.0
        if visitor.next_action is Action.POLL:
            client_delay_s = self._client_delay_s(visitor, now_s=now_s)
            if not visitor.failures:  # after a failure the poll time is the visitor's own
                self.release_delays.record_admission(place, now_s=now_s)
        self.admitted += 1
        place.received_s = now_s
        wait_s = now_s - visitor.arrived_s - client_delay_s
        self.waits_s.append(wait_s)
        if visitor.eta_s is not None and visitor.kind is not VisitorKind.RETURNER:
            self.reported_eta_s.append(visitor.eta_s)
            self.eta_errors_s.append(now_s - visitor.expected_at_s - client_delay_s)
        if visitor.next_action is Action.POLL and visitor.kind is not VisitorKind.REFRESHER:
            self.polls.append(visitor.polls + 1)
            self.polled_s.append(wait_s)

    def _admitted_at_a_turn(self, visitor: Visitor, *, now_s: float) -> bool:
        """Whether the turn of an admitted visitor is known."""
        return self.opening is None or self.opening.received_admitted(
            visitor.place,
            on_arrival=visitor.next_action is Action.ARRIVE,
            sent_s=visitor.place.sent_s,
            now_s=now_s,
        )

    def _client_delay_s(self, visitor: Visitor, *, now_s: float) -> float:
        """The part of the wait that the client caused by a late poll, seconds.

        At most the time since the release was certain.
        """
        place = visitor.place
        client_delay_s = max(place.sent_s - visitor.due_s, client_delay_of(place))
        released_at_s = self.release_delays.released_at_s(place.turn_us)
        return 0.0 if released_at_s is None else min(client_delay_s, now_s - released_at_s)

    def _admitted_between(self, began_s: float, ended_s: float) -> None:
        self.admitted_began_s.append(began_s)
        self.admitted_ended_s.append(ended_s)

    def _on_visit(
        self, visitor: Visitor, response: ObservedResponse, *, began_s: float, now_s: float
    ) -> None:
        silence_s = began_s - (visitor.place.received_s or began_s)
        if response.outcome is Outcome.WAITING and silence_s < _MAX_JUDGED_SILENCE_S:
            self.sent_back += 1
            self._record_violation(
                visitor, "was admitted, then received a waiting response", now_s=now_s
            )
        self.visits += response.outcome is Outcome.FORWARDED
        if response.outcome is not Outcome.FAILED:  # a failed request may not have reached the gate
            visitor.place.received_s = now_s

    def _record_violation(self, visitor: Visitor, what: str | None, *, now_s: float) -> None:
        if what is not None and len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(Violation(now_s, visitor.number, what))

    def _record_forgery(self, visitor: Visitor, accepted: bool, what: str, *, now_s: float) -> None:
        self.forged_tokens.count(accepted=accepted, what=what)
        if accepted:
            self._record_violation(visitor, what, now_s=now_s)

    def _on_forged_visit(
        self,
        visitor: Visitor,
        response: ObservedResponse,
        *,
        sent: Token | None,
        began_s: float,
        now_s: float,
    ) -> None:
        if response.outcome is Outcome.FAILED:
            return
        given = response.claims
        accepted = response.takes_for_visitor(sent)
        self._record_forgery(visitor, accepted, FORGED_VISIT_ADMITTED, now_s=now_s)
        if response.outcome is Outcome.FORWARDED and given is not None:
            self._record_newcomer_admission(given, began_s=began_s, now_s=now_s)

    def _record_newcomer_admission(
        self, claims: Claims | None, *, began_s: float, now_s: float
    ) -> None:
        turn_us = AFTER_ALL_US if claims is None else claims.turn_us
        self.order.received_admitted(Place(turn_us=turn_us, last_waiting_began_s=began_s))
        if claims is not None:
            self.release_delays.record_release(turn_us, began_s=began_s, now_s=now_s)

    def request_forwarded(self, claims: Claims | None, *, began_s: float, now_s: float) -> None:
        """A request without a cookie was forwarded, for one admission."""
        self._direct += 1
        self._admitted_between(began_s, now_s)
        self._record_newcomer_admission(claims, began_s=began_s, now_s=now_s)

    # Between the requests.

    def before_sample(self, *, now_s: float) -> SampleStart:
        """Call before each reading of the admin listener."""
        record = self.pressure
        return SampleStart(now_s, direct=self._direct, gone=record.queue.gone, left=record.left)

    def add_sample(self, figures: RoomFigures, *, start: SampleStart, now_s: float) -> None:
        self.room = self.pressure.room = figures
        previous_s = self.samples[-1].began_s if self.samples else -math.inf
        self.release_delays.record_release(figures.watermark_us, began_s=previous_s, now_s=now_s)
        self.pressure.queue.sample(figures.queue_length, gone=start.gone, now_s=now_s)
        direct = self._direct + self._arriving + self.pressure.floods.in_flight
        self.samples.append(
            sample_of(figures, start, now_s=now_s, direct=direct, returned=self.pressure.leaving)
        )

    def progress(self, *, now_s: float, last: bool = False) -> Progress:
        """The state now. Also adds a point to the curve; always if this is the `last` call."""
        self.pressure.sample(
            waiting=self.waiting, admissions=len(self.admitted_ended_s), now_s=now_s
        )
        if self.opening is not None:
            self.opening.sample(
                waiting=self.waiting,
                rate_per_minute=self.pressure.line_rate(),
                admissions=len(self.admitted_ended_s),
                now_s=now_s,
            )
        rates = self.over_time.add(
            Point(now_s, self.arrived, self.waiting, self.admitted),
            requests=self.requests,
            last=last,
        )
        return Progress(
            elapsed_s=now_s,
            arrived=self.arrived,
            waiting=self.waiting,
            admitted=self.admitted,
            done=self.done,
            failed=self.failures.total(),
            inversions=self.order.inversions,
            rate_per_minute=rates.admissions_per_minute,
            reported_rate_per_minute=self.reported_rate_per_minute or 0.0,
            requests_per_s=rates.requests_per_s,
            room=self.room,
            starts_in_s=self._starts_in_s(now_s),
        )

    def _starts_in_s(self, now_s: float) -> float | None:
        start_s = None if self.opening is None else self.opening.start_s
        return None if start_s is None or start_s < now_s else start_s - now_s
