"""A whole room with any sequence of actions: visitors, operators, replicas, clocks and losses.

Every call goes to the real scripts, under DragonflyDB's rules, and to the model of `room_model.py`,
which must give the same reply and hold the same visitors at the same places. The machine also
checks promises by its own account: release in the order of turns, no more admissions than fall due
in any span of time, no lost visitor, no ticket accepted twice, a watermark that never falls; no
admission before an event opens, and every visitor of its prequeue at the turn that they drew.

The machine is in layers: calls (`room_calls.py`), visitors (`room_visitors.py`), the events of a
room (`room_events.py`), and here replicas, operators, time and losses.
"""

from copy import deepcopy
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.state import RoomState
from gatekeeper.room.visitor_calls import ArrivalRequest
from tests.profiles import ROOM_TIMEOUT_S, examples
from tests.property.room_calls import RATES, REPLICAS, STATE
from tests.property.room_events import EventRules
from tests.property.room_ledger import Revocation, SpentTicket, WaitingState
from tests.property.room_model import RoomModel

PASSING_MS = st.sampled_from(
    [1, 500, 2_000, 7_000, 11_000, 31_000, 70_000, 400_000, -2_000, -20_000]
)


def _name(newcomer: VisitorId | ArrivalRequest) -> VisitorId:
    return newcomer if isinstance(newcomer, str) else newcomer.visitor


class RoomMachine(EventRules):
    @rule(ats=st.lists(REPLICAS, min_size=1, max_size=4))
    def pace(self, ats: list[int]) -> None:
        counts = [self.call("advance", at, None) for at in ats]
        if self.model.mode is Mode.AUTO:
            assert not any(counts[1:]), "due once, released twice"

    @rule(at=REPLICAS, count=st.sampled_from([1, 2, 20]))
    def allow(self, at: int, count: int) -> None:
        self.call_allow(at, count)

    @rule(at=REPLICAS, rate=RATES)
    def set_rate(self, at: int, rate: int) -> None:
        self.call("set_rate", at, rate)

    @rule(at=REPLICAS, mode=st.sampled_from([Mode.AUTO, Mode.AUTO, *Mode]))
    def set_mode(self, at: int, mode: Mode) -> None:
        self.call("set_mode", at, mode)

    @rule(at=REPLICAS, message=st.sampled_from(["", "Doors at noon.", "0", "Türen um 12"]))
    def set_message(self, at: int, message: str) -> None:
        self.call("set_message", at, message)

    @rule(passing_ms=PASSING_MS)
    def time_passes(self, passing_ms: int) -> None:
        if passing_ms < 0:  # the store's clock steps back just after a pacer's call
            self.call("advance", 0, None)
        self.pass_time(passing_ms)

    @precondition(lambda self: self.latest)
    @rule(at=REPLICAS)
    def latest_call_is_repeated(self, at: int) -> None:
        kind, argument = cast(tuple[str, Any], self.latest)
        if kind == "poll" and self.latest_window != self.model.schedule.at(self.model.now_us):
            return  # the visitors may have other turns by now
        if kind == "arrive":  # before the reply no visitor knows the arrival, so none has left
            known = (SpentTicket, Revocation)
            argument = [
                n
                for n in argument
                if n is None or not isinstance(self.model.visitor_states.get(_name(n)), known)
            ]
        if argument or kind == "advance":
            getattr(self, f"call_{kind}")(at, argument)

    @rule(at=REPLICAS)
    def a_replica_restarts(self, at: int) -> None:
        self.replicas[at] = self.new_replica(at)
        self.out_of_touch[at] = False
        self.watermarks[at] = 0
        self.join(at, starting=True)

    @rule(order=st.permutations(range(3)), again=st.booleans())
    def the_store_loses_everything(self, order: list[int], again: bool) -> None:
        """The replicas reconnect one by one."""
        newest = self.newest_known()
        self.ground.rules.data.clear()
        # Two losses while the clock is behind could give two stores the same epoch.
        behind_ms = max(newest.epoch - self.ground.rules.clock_us, 0) // 1000
        self.ground.rules.clock_us += (behind_ms + 1) * 1000
        self.model = RoomModel(self.promised, self.ground.rules.clock_us)
        self.come_back(order if again else order[:1])
        if again:
            self.check_written_back(newest)

    @rule()
    def the_store_is_copied(self) -> None:
        self.copy = (deepcopy(self.ground.rules.data), deepcopy(self.model))

    @precondition(lambda self: self.copy)
    @rule(order=st.permutations(range(3)))
    def the_store_falls_back_to_the_copy(self, order: list[int]) -> None:
        """The replica with the newest state is first, since the state of another would count as
        newer."""
        newest = self.newest_known()
        assert self.copy
        data, model = deepcopy(self.copy)
        self.ground.rules.data, self.model = data, model
        model.clock_us = self.ground.rules.clock_us
        data[STATE]["attended_at"] = str(model.now_us)  # as after a call of a pacer
        is_older = (model.epoch, int(data[STATE]["version"])) < (newest.epoch, newest.version)
        order.sort(key=lambda at: self.replicas[at].newest is not newest)
        was_set = model.notice_clock()
        self.come_back(order)
        if was_set:
            self.call_advance(order[0])
        if is_older:
            self.check_written_back(newest)

    def newest_known(self) -> RoomState:
        return max(
            (each.newest for each in self.replicas if each.newest),
            key=lambda state: (state.epoch, state.version),
        )

    def come_back(self, order: list[int]) -> None:
        """Replicas notice the loss, and send the revoked visitors again, like a live room."""
        self.out_of_touch = [True, True, True]
        for at in order:
            self.join(at)
        left = [each.name for each in self.visitors if each.is_revoked]
        if left:
            self.call_leave(order[0], (left, False))
        for visitor in self.visitors:
            visitor.is_over = visitor.is_counted = False
            visitor.session_ends_s = None
            visitor.has_left = visitor.is_revoked

    def check_written_back(self, newest: RoomState) -> None:
        model, totals = self.model, self.model.totals
        assert (model.mode, model.rate) == (newest.mode, round(newest.rate_per_minute))
        assert model.message == newest.message
        assert model.schedule == newest.schedule
        assert model.grants == newest.pending_grants
        assert model.watermark_us >= newest.watermark_us
        assert model.last_us >= newest.last_arrival_us
        assert totals.arrived >= newest.arrived_total
        assert totals.released >= newest.released_total
        assert totals.admitted >= newest.admitted_total
        assert totals.abandoned >= newest.abandoned_total
        assert model.now_us < model.recovering_until_us

    def teardown(self) -> None:
        """In the end every visitor who continues to poll is admitted."""
        if not hasattr(self, "loop"):
            return
        try:
            self.admit_every_visitor()
        finally:
            self.loop.close()

    def admit_every_visitor(self) -> None:
        self.call("set_mode", 0, Mode.AUTO)
        self.call("set_rate", 0, 600)
        self.end_events()
        self.pass_time(3000)
        while self.model.clock_ahead_us:
            self.pass_time(2000)
            self.call("advance", 0, None)
        for turn in range(30 + len(self.visitors)):  # a burst of one admits one visitor at a time
            there = [
                each
                for each in self.visitors
                if isinstance(each.token, Ticket) and each.token.expires_at_s > self.now_s
            ]
            for visitor in there:  # waiting visitors only as often as a heartbeat requires
                waits = isinstance(self.model.visitor_states.get(visitor.name), WaitingState)
                if turn % 4 == 0 or not waits:
                    self.request(1, visitor)
            self.call("leave", 2, (self.model.inside(), False))
            if not any(isinstance(each.token, Ticket) for each in there):
                return
            self.call("advance", 0, None)
            self.pass_time(5000)
        raise AssertionError(f"a visitor waits without end: {self.model}")


# Hypothesis shrinks a failing example for up to five minutes; the timeout must be longer.
@pytest.mark.timeout(ROOM_TIMEOUT_S)
def test_room_holds_its_promises_under_any_course_of_events() -> None:
    run_state_machine_as_test(
        RoomMachine,
        settings=settings(
            max_examples=examples(100), stateful_step_count=40, report_multiple_bugs=False
        ),
    )
