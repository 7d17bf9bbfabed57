"""A whole room under any course of events: visitors, operators, replicas, clocks and losses.

Every call goes to the real scripts, under DragonflyDB's rules, and to the model of `room_model.py`,
which must give the same reply and hold the same visitors at the same places. The machine also
checks promises by its own account: release in the order of turns, no more admissions than fall due
in any span of time, no lost visitor, no ticket accepted twice, a watermark that never falls.
"""

import asyncio
from collections.abc import Coroutine
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import (
    Arrive,
    Forward,
    Poll,
    RoomView,
    SlotGrant,
    Standing,
    VoidToken,
    conclude,
    decide,
    renewed,
    ticket_of,
)
from gatekeeper.policy.ordering import ARRIVAL_ORDER, turn_of
from gatekeeper.policy.phase import Mode, phase_of
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId
from gatekeeper.room.queue import PollRequest
from gatekeeper.room.state import RoomState
from tests.contract.grounds import EmulatedGround, Replica
from tests.profiles import examples
from tests.property.room_model import (
    UNIT,
    ActiveState,
    Revocation,
    RoomModel,
    SpentTicket,
    UnconfirmedSlot,
    WaitingState,
)

T = TypeVar("T")

ROOM = RoomName("machine")
_STATE = f"gk:{{{ROOM}}}:state"
REPLICAS = st.integers(0, 2)
RATES = st.sampled_from([0, 6, 60, 600])  # a whole number of billionths falls due in each ms
PASSING_MS = st.sampled_from([1, 500, 2_000, 7_000, 11_000, 31_000, 70_000, 400_000, -2_000])
TURNS = st.sampled_from(["first", "tied", "tied", "tied last", "last"])
INDEXES = st.integers(0, 10_000)  # picks one of the existing visitors


@dataclass(slots=True)
class Visitor:
    """One browser, with its present token and its last ticket."""

    name: VisitorId
    token: Token | None
    ticket: Ticket | None = None
    ever_left: bool = False
    has_left: bool = False  # and the store, or every replica, knows
    is_revoked: bool = False  # left and held a slot, or came with a pass: replicas remember that
    has_claimed: bool = False
    is_counted: bool = False  # this store knows of the slot: it has not forgotten since
    session_ends_s: float | None = None  # as this store gave it first
    is_over: bool = False  # the counted pass expired, and the pacer has looked since


@dataclass(slots=True)
class Admissions:
    """What was let in by the rate, moment by moment, beside what had fallen due until then."""

    fell_due: int = 0
    was_given_back: bool = False
    log: list[tuple[int, int]] | None = None  # (fallen due in all, let in just now)

    def let_in(self, count: int, *, burst: int) -> None:
        """What no-shows gave back fell due again, and may leave a fraction above the bucket."""
        self.log = [*(self.log or []), (self.fell_due, count)]
        fraction = UNIT - 1 if self.was_given_back else 0
        let_in = 0
        for fell_due, at_once in reversed(self.log):
            let_in += at_once
            assert let_in * UNIT <= burst * UNIT + fraction + self.fell_due - fell_due

    def give_back(self, count: int) -> None:
        self.fell_due += count * UNIT
        self.was_given_back = self.was_given_back or count > 0


class Account(NamedTuple):
    """What a call may spend or give back, before it."""

    admitted: int
    released: int
    grants: int
    returned: int
    returned_grants: int


class RoomMachine(RuleBasedStateMachine):
    @initialize(
        rate=RATES,
        burst=st.sampled_from([1, 3, 10]),
        max_active=st.sampled_from([0, 2, 5]),
        session_idle_timeout_s=st.sampled_from([30.0, 1000.0]),
        place_ttl_s=st.sampled_from([60.0, 600.0]),
    )
    def open(
        self,
        rate: int,
        burst: int,
        max_active: int,
        session_idle_timeout_s: float,
        place_ttl_s: float,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.promised = replace(
            Rules.of(RoomConfig(name=ROOM)),
            rate_per_minute=float(rate),
            burst=burst,
            max_active=max_active,
            session_idle_timeout_s=session_idle_timeout_s,
            place_ttl_s=place_ttl_s,
            claim_timeout_s=20.0,
            confirm_timeout_s=10.0,
            heartbeat_timeout_s=30.0,
        )
        self.ground = EmulatedGround(ROOM)
        self.model = RoomModel(self.promised, self.ground.rules.clock_us)
        self.visitors: list[Visitor] = []
        self.arrived = 0
        self.admissions = Admissions()
        self.due_until_us = self.model.now_us
        self.watermarks = [0, 0, 0]
        self.replicas = [Replica(self.ground, self.promised, name=str(at)) for at in range(3)]
        self.out_of_touch = [True, True, True]
        self.latest: tuple[str, Any] | None = None
        self.copy: tuple[dict[str, Any], RoomModel] | None = None
        for at in range(3):
            self.join(at, starting=True)

    # Calls, each made of the scripts and of the model

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def replica(self, at: int) -> Replica:
        """That replica, after it has noticed that the store forgot."""
        if self.out_of_touch[at]:
            self.join(at)
        return self.replicas[at]

    def join(self, at: int, *, starting: bool = False) -> None:
        replica = self.replicas[at]
        known = replica.newest
        stored = self.ground.rules.data.get(_STATE, {})
        version, window_us = int(stored.get("version", 0)), self.window_us(replica)
        was_born = bool(self.model.epoch)
        before = (self.model.grants, self.model.level)
        self.run(replica.queue.join(starting=starting))
        self.model.join(known, version=version, starting=starting, window_us=window_us)
        self.out_of_touch[at] = False
        if not was_born or before != (self.model.grants, self.model.level):
            self.admissions = Admissions()
            self.due_until_us = self.model.now_us
        self.receive(at)

    def window_us(self, replica: Replica) -> int:
        return round(replica.queue._recovery_window_s(replica.newest) * 1_000_000)

    def receive(self, at: int) -> None:
        """The watermark never falls for anybody."""
        state = self.replicas[at].newest
        assert state is not None
        assert state.watermark_us >= self.watermarks[at]
        self.watermarks[at] = state.watermark_us

    def call_arrive(self, at: int, names: list[VisitorId | None]) -> list[Any]:
        """None is a request that creates no place."""
        queue, before = self.replica(at).queue, self.account()

        async def arrive() -> list[Any]:
            return await asyncio.gather(
                *[queue.take_admission() if name is None else queue.arrive(name) for name in names]
            )

        waiting = bool(self.model.line())
        replies = self.run(arrive())
        assert replies == self.model.arrive(names)
        admitted = self.model.totals.admitted - before.admitted + replies.count(True)
        assert not (waiting and admitted) or self.model.mode is Mode.OPEN
        self.check_admissions(admitted, before)
        if self.model.mode is Mode.AUTO and admitted:  # no grant is spent on a guess
            assert self.model.grants >= before.grants
        self.receive(at)
        return replies

    def call_poll(self, at: int, batch: list[PollRequest]) -> list[Standing]:
        replica, before = self.replica(at), self.account()

        async def poll() -> list[Standing]:
            return await asyncio.gather(*map(replica.queue.poll, batch))

        window_us = self.window_us(replica)
        standings = self.run(poll())
        assert standings == self.model.poll(batch, window_us=window_us)
        self.check_admissions(self.model.totals.released - before.released, before)
        self.receive(at)
        return standings

    def call_touch(self, at: int, batch: list[tuple[VisitorId, int, int]]) -> None:
        replica = self.replica(at)

        async def touch() -> list[bool]:
            return await asyncio.gather(
                *[
                    replica.queue.touch(name, until_us=until_us, ends_us=ends_us)
                    for name, until_us, ends_us in batch
                ]
            )

        assert self.run(touch()) == self.model.touch(batch)

    def call_leave(self, at: int, leaving: tuple[list[VisitorId], bool]) -> None:
        names, with_tickets = leaving
        queue, before = self.replica(at).queue, self.account()
        _, left = self.run(queue.leave(names, with_tickets=with_tickets))
        assert left == self.model.leave(names, with_tickets=with_tickets)
        self.check_admissions(0, before)

    def call_advance(self, at: int, _: object = None) -> int:
        replica, before = self.replica(at), self.account()
        state, count = self.run(replica.queue.advance())
        present, before_us = self.model.line(), self.model.watermark_us
        released = self.model.advance()
        assert (count, state.expected) == (len(released), self.model.expected())
        assert state.has_room is self.model.has_room()
        turns = {name: turn_us for turn_us, name in present}
        if released:
            self.check_watermark(before_us, [turns[name] for name in released])
        if released and self.model.mode is Mode.AUTO and self.promised.max_active:
            assert len(self.model.inside()) <= self.promised.max_active
        self.check_admissions(count, before)
        for visitor in self.visitors:
            expired = isinstance(visitor.token, Pass) and visitor.token.expires_at_s <= self.now_s
            visitor.is_over = visitor.is_over or (expired and visitor.is_counted)
        self.receive(at)
        return count

    def check_watermark(self, before_us: int, released: list[int]) -> None:
        """The first turns go first, and the watermark covers a turn once none of it waits."""
        watermark_us, waiting = self.model.watermark_us, {us for us, _ in self.model.line()}
        top_us = max(released)
        assert all(us >= top_us for us in waiting)
        assert watermark_us == max(before_us, top_us - (top_us in waiting))
        if before_us < watermark_us:
            assert all(us > watermark_us for us in waiting)

    def call_allow(self, at: int, count: int) -> None:
        self.run(self.replica(at).queue.allow(count))
        self.model.allow(count)

    def call_set_rate(self, at: int, rate: int) -> None:
        self.let_fall_due()
        self.run(self.replica(at).queue.set_rate(rate))
        self.model.set_rate(rate)

    def call_set_mode(self, at: int, mode: Mode) -> None:
        self.run(self.replica(at).queue.set_mode(mode))
        self.model.set_mode(mode)

    def call_set_message(self, at: int, message: str) -> None:
        self.run(self.replica(at).queue.set_message(message))
        self.model.set_message(message)

    def call(self, kind: str, at: int, argument: Any) -> Any:
        self.latest = (kind, argument)
        return getattr(self, f"call_{kind}")(at, argument)

    # What the machine keeps account of

    @property
    def now_s(self) -> float:
        return self.model.now_us / 1_000_000

    def let_fall_due(self) -> None:
        elapsed_us = self.model.now_us - self.due_until_us
        self.due_until_us = self.model.now_us
        self.admissions.fell_due += elapsed_us * self.model.rate * 1000 // 60

    def account(self) -> Account:
        self.let_fall_due()
        model, totals = self.model, self.model.totals
        return Account(
            totals.admitted, totals.released, model.grants, model.returned, model.returned_grants
        )

    def check_admissions(self, count: int, before: Account) -> None:
        self.admissions.give_back(self.model.returned - before.returned)
        if self.model.mode in {Mode.HOLD, Mode.ENDED}:
            assert count == 0
        if self.model.mode is Mode.AUTO and count:
            returned = self.model.returned_grants - before.returned_grants
            by_grant = before.grants + returned - self.model.grants
            assert 0 <= by_grant <= count
            self.admissions.let_in(count - by_grant, burst=self.promised.burst)

    def keep_token(self, visitor: Visitor, standing: Standing, held: Token | None) -> None:
        token = conclude(visitor.name, standing, held, rules=self.promised, now_s=self.now_s)
        visitor.token = token
        if isinstance(token, Ticket):
            visitor.ticket, visitor.is_over = token, False
        elif isinstance(token, Pass):
            known_s = visitor.session_ends_s
            assert known_s is None or abs(token.ends_at_s - known_s) < 1e-5, "another session"
            visitor.session_ends_s = token.ends_at_s
            visitor.has_claimed = visitor.is_counted = True
            visitor.is_over = False

    # Visitors

    @rule(at=REPLICAS, count=st.integers(1, 6), confirm=st.booleans())
    def newcomers(self, at: int, count: int, *, confirm: bool) -> None:
        """Some return their tickets at once, as the page does, and some later or never."""
        names = [VisitorId(f"v{self.arrived + number:04}") for number in range(count)]
        self.arrived += count
        replies = self.call("arrive", at, names)
        arrivals = [reply.turn_us for reply in replies]
        assert arrivals == sorted(set(arrivals))
        for name, reply in zip(names, replies, strict=True):
            self.visitors.append(Visitor(name, None))
            self.keep_token(self.visitors[-1], reply, None)
        for visitor in self.visitors[-count:] if confirm else []:
            if isinstance(visitor.token, Ticket):
                self.request(at, visitor)

    @rule(at=REPLICAS, count=st.integers(1, 20), singles=st.integers(0, 5))
    def clients_without_cookies(self, at: int, count: int, singles: int) -> None:
        """They never return a token. Requests that create no place come between them."""
        names: list[VisitorId | None] = [VisitorId(f"x{self.arrived + n:04}") for n in range(count)]
        self.arrived += count
        waiting = len(self.model.line())
        self.call("arrive", at, [None] * (singles // 2) + names + [None] * (singles - singles // 2))
        assert len(self.model.line()) == waiting

    @rule(at=REPLICAS, turns=st.lists(TURNS, min_size=1, max_size=6))
    def visitors_come_with_turns(self, at: int, turns: list[str]) -> None:
        """Turns in another order than arrivals: tied, before all waiting visitors, behind all."""
        self.replica(at)
        for turn in turns:
            name = VisitorId(f"v{self.arrived:04}")
            self.arrived += 1
            waiting = [us for us, _ in self.model.line()] or [self.model.last_us + 1]
            turn_us = {
                "first": max(waiting[0] - 1, 0),
                "tied": waiting[0],
                "tied last": waiting[-1],
                "last": waiting[-1] + 1,
            }[turn]
            ticket = ticket_of(
                name,
                arrival_us=self.model.now_us,
                turn_us=turn_us,
                rules=self.promised,
                now_s=self.now_s,
            )
            self.visitors.append(Visitor(name, ticket, ticket))
            self.request(at, self.visitors[-1])
            if isinstance(held := self.visitors[-1].token, Ticket):
                assert turn_of(held, ARRIVAL_ORDER) == turn_us

    @rule(at=REPLICAS, count=st.integers(1, 4), ran=st.sampled_from(["before", "after", "never"]))
    def the_answer_to_newcomers_is_lost(self, at: int, count: int, ran: str) -> None:
        """The replica stamps them, they return the ticket and the replica polls for them; whether
        the call has run it cannot know."""
        names = [VisitorId(f"v{self.arrived + number:04}") for number in range(count)]
        self.arrived += count
        self.replica(at)
        came_us = max(self.model.now_us, self.watermarks[at] + 1)
        tickets = [
            ticket_of(name, arrival_us=came_us + number, rules=self.promised, now_s=self.now_s)
            for number, name in enumerate(names)
        ]
        if ran == "before":
            self.call("arrive", at, names)
        add_stamped = [
            PollRequest(ticket.visitor, ticket.arrival_us, has_pass=False, by_proxy=True)
            for ticket in tickets
        ]
        self.call("poll", at, add_stamped)
        if ran == "after":
            self.call("arrive", at, names)
        for ticket in tickets:
            match self.model.visitor_states[ticket.visitor]:
                case WaitingState(turn_us=turn_us):
                    assert turn_us == ticket.arrival_us, "two places"
                case visitor_state:
                    assert isinstance(visitor_state, ActiveState | UnconfirmedSlot)
            self.visitors.append(Visitor(ticket.visitor, ticket, ticket))

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS, picked=st.lists(INDEXES, min_size=1, max_size=8))
    def visitors_poll(self, at: int, picked: list[int]) -> None:
        """Requests of visitors, as the gate handles them."""
        for visitor in self.some(picked):
            self.request(at, visitor)

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS)
    def every_visitor_polls(self, at: int) -> None:
        for visitor in self.visitors:
            self.request(at, visitor)

    def request(self, at: int, visitor: Visitor) -> None:
        token = visitor.token
        if token is None or token.read_until_s <= self.now_s:
            return
        self.replica(at)
        view = RoomView(
            phase_of(self.model.mode), self.model.watermark_us, frozenset(), store_up=True
        )
        match decide(token, view, rules=self.promised, now_s=self.now_s):
            case Forward(pass_=pass_, renew=True):
                visitor.token = renewed(pass_, rules=self.promised, now_s=self.now_s)
                until_us = round(visitor.token.expires_at_s * 1_000_000)
                ends_us = round(visitor.token.ends_at_s * 1_000_000)
                self.call("touch", at, [(visitor.name, until_us, ends_us)])
                visitor.is_counted = True
            case Forward():
                pass
            case Poll(visitor=name, turn_us=turn_us):
                poll_request = PollRequest(name, turn_us, has_pass=isinstance(token, Pass))
                [standing] = self.call("poll", at, [poll_request])
                if isinstance(standing, VoidToken):
                    assert visitor.ever_left or visitor.has_claimed, "lost"
                if visitor.has_left:
                    assert standing == VoidToken()
                self.keep_token(visitor, standing, token)
            case decision:
                assert isinstance(decision, Arrive), decision

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS, picked=st.lists(st.tuples(INDEXES, st.booleans()), min_size=2, max_size=12))
    def several_visitors_poll_in_one_turn(self, at: int, picked: list[tuple[int, bool]]) -> None:
        """Waiting visitors in one call; some of them twice, or connected besides."""
        self.replica(at)
        poll_request: list[tuple[Visitor, Ticket, PollRequest]] = []
        for each, connected in picked:
            visitor = self.visitors[each % len(self.visitors)]
            ticket = visitor.token
            if isinstance(ticket, Ticket) and ticket.expires_at_s > self.now_s:
                one = PollRequest(
                    visitor.name, turn_of(ticket, ARRIVAL_ORDER), False, connected=connected
                )
                poll_request.append((visitor, ticket, one))
        if not poll_request:
            return
        standings = self.call("poll", at, [one for _, _, one in poll_request])
        for (visitor, ticket, one), standing in zip(poll_request, standings, strict=True):
            if isinstance(standing, VoidToken):
                assert visitor.ever_left or visitor.has_claimed, "lost"
            if not one.connected:
                self.keep_token(visitor, standing, ticket)

    @precondition(lambda self: any(each.ticket for each in self.visitors))
    @rule(at=REPLICAS, picked=INDEXES)
    def old_ticket_is_presented_again(self, at: int, picked: int) -> None:
        visitors = [each for each in self.visitors if each.ticket and each.has_claimed]
        if not visitors:
            return
        visitor = visitors[picked % len(visitors)]
        ticket = visitor.ticket
        assert ticket is not None
        if ticket.expires_at_s <= self.now_s:
            return
        poll_request = PollRequest(visitor.name, turn_of(ticket, ARRIVAL_ORDER), has_pass=False)
        [standing] = self.call("poll", at, [poll_request])
        if visitor.is_over or visitor.has_left:
            assert standing == VoidToken(), "accepted twice"
        if isinstance(standing, SlotGrant):
            self.keep_token(visitor, standing, ticket)

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS, picked=st.lists(INDEXES, min_size=1, max_size=3))
    def leave(self, at: int, picked: list[int]) -> None:
        leaving = self.some(picked)
        for with_tickets in (True, False):
            some = [each for each in leaving if isinstance(each.token, Ticket) is with_tickets]
            if some:
                self.call("leave", at, ([each.name for each in some], with_tickets))
            for visitor in some:
                visitor.has_left = visitor.ever_left = True
                visitor.is_revoked = isinstance(self.model.visitor_states[visitor.name], Revocation)

    def some(self, picked: list[int]) -> list[Visitor]:
        return list(
            {
                at: self.visitors[at] for at in (each % len(self.visitors) for each in picked)
            }.values()
        )

    # Replicas, operators, time

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
        if passing_ms > 0:
            self.run(self.ground.pass_time(passing_ms / 1000))
        else:
            self.ground.rules.clock_us += passing_ms * 1000
        self.model.clock_us = self.ground.rules.clock_us

    @precondition(lambda self: self.latest)
    @rule(at=REPLICAS)
    def latest_call_is_repeated(self, at: int) -> None:
        kind, argument = cast(tuple[str, Any], self.latest)
        if kind == "arrive":  # before the reply no visitor knows of the arrival, so none left
            known = (SpentTicket, Revocation)
            argument = [
                n
                for n in argument
                if n is None or not isinstance(self.model.visitor_states.get(n), known)
            ]
        if argument or kind == "advance":
            getattr(self, f"call_{kind}")(at, argument)

    @rule(at=REPLICAS)
    def a_replica_restarts(self, at: int) -> None:
        self.replicas[at] = Replica(self.ground, self.promised, name=str(at))
        self.out_of_touch[at] = False
        self.watermarks[at] = 0
        self.join(at, starting=True)

    @rule(order=st.permutations(range(3)), again=st.booleans())
    def the_store_loses_everything(self, order: list[int], again: bool) -> None:
        """The replicas come back one by one."""
        newest = self.newest_known()
        self.ground.rules.data.clear()
        # Two losses while the clock is behind could give two births one epoch.
        behind_ms = max(newest.epoch - self.ground.rules.clock_us, 0) // 1000
        self.time_passes(behind_ms + 1)
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
        """The best informed replica is first: what others know would be taken for newer."""
        newest = self.newest_known()
        assert self.copy
        data, model = deepcopy(self.copy)
        self.ground.rules.data, self.model = data, model
        model.clock_us = self.ground.rules.clock_us
        data[_STATE]["attended_at"] = str(model.now_us)  # a pacer was there
        is_older = (model.epoch, int(data[_STATE]["version"])) < (newest.epoch, newest.version)
        order.sort(key=lambda at: self.replicas[at].newest is not newest)
        self.come_back(order)
        if is_older:
            self.check_written_back(newest)

    def newest_known(self) -> RoomState:
        return max(
            (each.newest for each in self.replicas if each.newest),
            key=lambda state: (state.epoch, state.version),
        )

    def come_back(self, order: list[int]) -> None:
        """Replicas find that the store forgot, and send again who left, as the live room does."""
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
        assert model.grants == newest.pending_grants
        assert model.watermark_us >= newest.watermark_us
        assert model.last_us >= newest.last_arrival_us
        assert totals.arrived >= newest.arrived_total
        assert totals.released >= newest.released_total
        assert totals.admitted >= newest.admitted_total
        assert totals.abandoned >= newest.abandoned_total
        assert model.now_us < model.recovering_until_us

    # What holds after every step

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        model = self.model
        data = {key.rpartition(":")[2]: value for key, value in self.ground.rules.data.items()}
        waiting = {n: w for n, w in model.visitor_states.items() if isinstance(w, WaitingState)}
        inside = {n: i for n, i in model.visitor_states.items() if isinstance(i, ActiveState)}
        assert data.get("queue", {}) == {n: w.turn_us for n, w in waiting.items()}
        assert data.get("active", {}) == {n: i.until_us for n, i in inside.items()}
        guesses = {n: model.visitor_states[n].until_us for n in model.unconfirmed()}  # type: ignore[union-attr]
        assert data.get("unconfirmed", {}) == guesses
        assert data.get("missed", {}) == model.missed_us
        sessions = {n: str(i.ends_us) for n, i in inside.items() if i.ends_us is not None}
        assert data.get("sessions", {}) == sessions
        deadlines = data.get("deadlines", {})
        unclaimed = {n: i.cost for n, i in inside.items() if i.cost is not None}
        assert deadlines.keys() == {*waiting, *unclaimed}
        assert all(deadlines[n] == str(_tenths(w.deadline_us)) for n, w in waiting.items())
        marks = {"free": "0", "grant": "-1"}
        assert all(
            deadlines[n] == marks[cost] if cost in marks else int(cast(str, deadlines[n])) > 0
            for n, cost in unclaimed.items()
        )
        for name, kind in (("spent", SpentTicket), ("revoked", Revocation)):
            held = {n: e.until_us for n, e in model.visitor_states.items() if isinstance(e, kind)}
            stored = cast(dict[VisitorId, float], data.get(name, {}))
            assert _still(held, model.now_us) == _still(stored, model.now_us)
        state, totals = data["state"], model.totals
        numbers = {
            "epoch": model.epoch,
            "level": model.level,
            "filled_at": model.filled_at_us,
            "grants": model.grants,
            "watermark": model.watermark_us,
            "reached": model.reached_us,
            "last": model.last_us,
            "recovering_until": model.recovering_until_us,
            "claims_until": model.claims_until,
            "arrived": totals.arrived,
            "released": totals.released,
            "admitted": totals.admitted,
            "abandoned": totals.abandoned,
            "revocations": totals.revocations,
        }
        stored_numbers = {name: int(state[name]) for name in numbers}
        assert stored_numbers == numbers, stored_numbers.items() ^ numbers.items()
        assert (state["mode"], float(state["rate"])) == (model.mode, model.rate)
        assert state["message"] == model.message

    def teardown(self) -> None:
        """In the end everybody who kept asking gets in."""
        if not hasattr(self, "loop"):
            return
        try:
            self.admit_every_visitor()
        finally:
            self.loop.close()

    def admit_every_visitor(self) -> None:
        self.call("set_mode", 0, Mode.AUTO)
        self.call("set_rate", 0, 600)
        self.time_passes(3000)
        for turn in range(30 + len(self.visitors)):  # a burst of one lets in one at a time
            there = [
                each
                for each in self.visitors
                if isinstance(each.token, Ticket) and each.token.expires_at_s > self.now_s
            ]
            for visitor in there:  # a waiting one only as often as its heartbeat must arrive
                waits = isinstance(self.model.visitor_states.get(visitor.name), WaitingState)
                if turn % 4 == 0 or not waits:
                    self.request(1, visitor)
            self.call("leave", 2, (self.model.inside(), False))
            if not any(isinstance(each.token, Ticket) for each in there):
                return
            self.call("advance", 0, None)
            self.time_passes(5000)
        raise AssertionError(f"a visitor waits without end: {self.model}")


def _tenths(us: int) -> int:
    return -(-us // 100_000)


def _still(scores: dict[VisitorId, T], now_us: int) -> dict[VisitorId, T]:
    return {name: until for name, until in scores.items() if cast(float, until) > now_us}


# Hypothesis shrinks a failing example for up to five minutes; the test must live to report it.
@pytest.mark.timeout(450)
def test_room_holds_its_promises_under_any_course_of_events() -> None:
    run_state_machine_as_test(
        RoomMachine,
        settings=settings(
            max_examples=examples(100), stateful_step_count=40, report_multiple_bugs=False
        ),
    )
