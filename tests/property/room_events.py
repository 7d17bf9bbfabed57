"""The events of a room's state machine: operators plan and change them, replicas draw.

Rules: operators change events by the functions of the gate. The results of a draw are computed here
from the published secret, with the standard library only.
"""

import hmac
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gatekeeper.config.event_schema import Order
from gatekeeper.errors import ConfigError, Conflict, NotFound
from gatekeeper.policy.draw import lane_spans
from gatekeeper.policy.event_changes import (
    NewStart,
    stage_of,
    with_added,
    with_cancelled,
    with_start,
)
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.openings import FileEvents, Openings
from tests.property.room_calls import REPLICAS, ROOM
from tests.property.room_ledger import WaitingState
from tests.property.room_visitors import VisitorRules

SIGNING_SECRET = b"machine" * 5
KEYS = SigningKeys((SIGNING_SECRET,))
UNKNOWN_KEYS = SigningKeys((b"another" * 5,))
_PENDING = {"planned", "prequeue"}
ORDERS: st.SearchStrategy[Order] = st.sampled_from(["draw", "draw", "draw", "arrival"])

Change = Callable[[Schedule, int], Schedule]


class EventRules(VisitorRules):
    planned = 0
    early: frozenset[VisitorId] = frozenset()  # arrived before the event was planned

    @rule(
        at=REPLICAS,
        prequeue_s=st.sampled_from([0, 0, 0, 5, 40, None]),
        opens_after_s=st.sampled_from([5, 30, 30, 100]),
        lasts_s=st.sampled_from([None, None, 60, 300]),
        order=ORDERS,
        before=st.sampled_from(["normal", "closed"]),
        after=st.sampled_from(["ended", "normal"]),
    )
    def an_event_is_planned(
        self,
        at: int,
        prequeue_s: int | None,
        opens_after_s: int,
        lasts_s: int | None,
        order: Order,
        before: Literal["normal", "closed"],
        after: Literal["ended", "normal"],
    ) -> None:
        """One at a time."""

        def plan(schedule: Schedule, now_us: int) -> Schedule:
            start_us = now_us + _us((prequeue_s or 0) + opens_after_s)
            event = Event(
                f"sale{self.planned}",
                start_us=start_us,
                announced_us=start_us,
                prequeue_us=None if prequeue_s is None else now_us + _us(prequeue_s),
                end_us=None if lasts_s is None else start_us + _us(lasts_s),
                order=order,
                before=before,
                after=after,
            )
            return with_added(schedule, KEYS.committed(event, room=ROOM), now_us=now_us)

        if not self.events_in(_PENDING):
            self.planned += 1
            self.change_events(at, plan)
            # Their arrivals are in the future, after the clock stepped back.
            self.early |= {
                each.name
                for each in self.visitors
                if each.ticket is not None and self.draw_of(each.ticket.arrival_us)
            }

    @precondition(lambda self: self.events_in(_PENDING))
    @rule(at=REPLICAS, by_s=st.sampled_from([None, None, 20, 200, -20]))
    def an_event_is_moved(self, at: int, by_s: int | None) -> None:
        """None: it opens now."""
        [event] = self.events_in(_PENDING)
        start = NewStart(by_us=None if by_s is None else _us(by_s))
        self.change_events(
            at,
            lambda schedule, now_us: with_start(schedule, event.name, start, now_us=now_us),
        )

    @precondition(lambda self: self.events_in({*_PENDING, "running"}))
    @rule(at=REPLICAS)
    def an_event_is_cancelled(self, at: int) -> None:
        event = self.events_in({*_PENDING, "running"})[-1]
        self.cancel(at, event)

    def cancel(self, at: int, event: Event) -> None:
        self.change_events(
            at, lambda schedule, now_us: with_cancelled(schedule, event.name, now_us=now_us)
        )

    @precondition(lambda self: self.model.schedule.events)
    @rule(
        ats=st.lists(REPLICAS, min_size=1, max_size=3),
        keys=st.sampled_from([KEYS, KEYS, KEYS, UNKNOWN_KEYS]),
    )
    def replicas_tick(self, ats: list[int], keys: SigningKeys) -> None:
        for at in ats:
            self.call("tick", at, keys)

    @rule(at=REPLICAS, count=st.integers(2, 6), order=ORDERS)
    def visitors_gather(self, at: int, count: int, order: Order) -> None:
        """In a prequeue, after its begin if necessary."""
        if not self.events_in(_PENDING):
            self.an_event_is_planned(at, 0, 30, None, order, "normal", "ended")
        for event in self.events_in(_PENDING):
            self.pass_until(event.first_us)
            self.newcomers(at=at, count=count, confirm=True)

    @rule(at=REPLICAS, ticks=st.lists(REPLICAS, max_size=2), order=ORDERS)
    def an_event_opens(self, at: int, ticks: list[int], order: Order) -> None:
        """In steps, since visitors continue to poll."""
        if not self.events_in({"prequeue"}):
            self.visitors_gather(at=at, count=3, order=order)
        for event in self.events_in({"prequeue"}):
            while self.model.now_us < event.start_us:
                self.pass_until(min(event.start_us, self.model.now_us + _us(20)))
                for visitor in self.visitors:
                    if isinstance(self.model.visitor_states.get(visitor.name), WaitingState):
                        self.request(at, visitor)
        for each in ticks:
            self.call("tick", each, KEYS)

    def pass_until(self, time_us: int) -> None:
        if self.model.now_us < time_us:
            self.pass_time(-(-(time_us - self.model.clock_us) // 1000))

    # Calls

    def events_in(self, stages: set[str]) -> list[Event]:
        now_us = self.model.now_us
        return [each for each in self.model.schedule.events if stage_of(each, now_us) in stages]

    def undecided(self) -> list[Event]:
        """The events whose draw is due."""
        begun = self.events_in({"running", "ended"})
        return [
            each
            for each in begun
            if each.order == "draw" and each.drawn is None and each.first_us < each.start_us
        ]

    def change_events(self, at: int, change: Change) -> None:
        replica = self.replica(at)
        state = self.run(replica.queue.read_state())
        assert state.schedule == self.model.schedule
        try:
            after = change(state.schedule, state.now_us)
        except (ConfigError, Conflict, NotFound):
            return
        assert self.run(replica.queue.change_events(state.schedule, after)) is not None
        self.model.change_events(after)
        self.receive(at)

    def call_tick(self, at: int, keys: SigningKeys) -> None:
        """The tick of a replica with these signing secrets, for its events."""
        replica = self.replica(at)
        state = self.run(replica.queue.read_state())
        self.run(Openings(replica.queue, file=FileEvents((), keys)).step(state))
        model = self.model
        undecided = self.undecided()
        if undecided and keys is KEYS:
            drawn = Drawn(
                _secret(undecided[0]).hex(),
                made_us=state.now_us,
                lanes=lane_spans(
                    {lane.name: lane.head_start_us for lane in self.promised.lanes},
                    prequeue_us=undecided[0].first_us,
                    released_us=model.watermark_us + 1,
                ),
            )
            event = replace(undecided[0], drawn=drawn)
            model.change_events(model.schedule.with_event(event), by_draw=True)
        if not undecided and model.is_gathering(model.now_us):
            return
        if not undecided or keys is KEYS:
            found = {
                n: self.turn_us(n, us, lane=model.lanes.get(n, ""))
                for n, us in model.provisional().items()
            }
            model.place_drawn({name: us for name, us in found.items() if us is not None})
        self.receive(at)

    # Promises

    def turn_us(self, name: VisitorId, arrival_us: int, *, lane: str = "") -> int | None:
        """The turn; None: the draw is not made yet."""
        event = self.draw_of(arrival_us)
        if event is None:
            return arrival_us
        if event.drawn is None:
            return None
        number = hmac.new(_secret(event), sha256(name.encode()).digest(), sha256).digest()
        first_us, end_us = event.first_us, event.start_us
        for span in event.drawn.lanes:
            if span.lane == lane:
                first_us, end_us = span.first_us, span.first_us + span.span_us
        return first_us + int.from_bytes(number, "big") % (end_us - first_us)

    def draw_of(self, arrival_us: int) -> Event | None:
        for event in self.model.schedule.events:
            is_drawn = event.order == "draw" and not event.cancelled
            if is_drawn and event.first_us <= arrival_us < event.start_us:
                return event
        return None

    @invariant()
    def visitors_of_a_prequeue_stand_where_they_drew(self) -> None:
        """Before the draw they have no turn of their own."""
        for visitor in self.visitors:
            ticket = visitor.ticket
            waiting = self.model.visitor_states.get(visitor.name)
            is_moved = self.model.missed_us.get(visitor.name, 0) > 0
            if ticket is None or not isinstance(waiting, WaitingState) or is_moved:
                continue
            if visitor.name in self.early:
                continue
            event, own_us = self.draw_of(ticket.arrival_us), ticket.own_turn_us
            if event is None or (own_us is not None and own_us < PROVISIONAL_US):
                continue
            drawn_us = self.turn_us(visitor.name, ticket.arrival_us, lane=ticket.lane)
            stands = {PROVISIONAL_US + ticket.arrival_us, drawn_us}
            if own_us is None:  # maybe not returned before the opening
                stands.add(event.start_us)
            if own_us is None and ticket.lane and event.drawn is not None:
                stands |= {span.last_us for span in event.drawn.lanes if span.lane == ticket.lane}
            assert waiting.turn_us in stands

    def end_events(self) -> None:
        """End all events, so that no visitor waits for one."""
        for at in range(3):  # a replica may write events back
            self.replica(at)
        for event in self.events_in({*_PENDING, "running"}):
            self.cancel(0, event)
        if self.model.schedule.at(self.model.now_us).phase is Phase.ENDED:
            self.change_events(0, _with_last_event)
            behind_us = self.model.now_us - self.model.clock_us  # the clock was set back
            self.pass_time(5000 + behind_us // 1000)
        while self.undecided() or self.model.is_closed():
            before = self.model.schedule, self.model.provisional()
            self.call("tick", 0, KEYS)
            assert before != (self.model.schedule, self.model.provisional()), "closed for good"


def _with_last_event(schedule: Schedule, now_us: int) -> Schedule:
    start_us = now_us + _us(4)
    event = Event("last", start_us=start_us, announced_us=start_us)
    return with_added(schedule, event, now_us=now_us)


def _secret(event: Event) -> bytes:
    """The secret of its draw, checked against the commitment."""
    text = f"{ROOM}|{event.name}|{event.announced_us}"
    secret = hmac.new(SIGNING_SECRET, text.encode(), sha256).digest()
    assert sha256(secret).hexdigest() == event.commitment
    assert event.drawn is None or bytes.fromhex(event.drawn.secret) == secret
    return secret


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
