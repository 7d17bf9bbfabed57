"""The calls of a room's state machine: each call runs on the real scripts and on the model.

Rules: both must give the same reply and hold the same visitors at the same places. The machine
checks further promises by its own account.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import Standing
from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.next_token import conclude
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId
from gatekeeper.room.outstanding_polls import OutstandingPolls
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.contract.grounds import EmulatedGround, Replica
from tests.property.room_account import Account, Admissions, Visitor, is_shut
from tests.property.room_ledger import ActiveState, Revocation, SpentTicket, WaitingState
from tests.property.room_model import RoomModel

T = TypeVar("T")

ROOM = RoomName("machine")
STATE = f"gk:{{{ROOM}}}:state"
REPLICAS = st.integers(0, 2)
LANES = (Lane("members", 25_000_000), Lane("friends", 7_000_000))
RATES = st.sampled_from([0, 6, 60, 600])  # per ms, a whole number of billionths falls due


class RoomCalls(RuleBasedStateMachine):
    """The calls, the rules for every call, and the invariants between them."""

    @initialize(
        rate=RATES,
        burst=st.sampled_from([1, 3, 10]),
        max_active=st.sampled_from([0, 2, 5]),
        session_idle_timeout_s=st.sampled_from([30.0, 1000.0]),
        place_ttl_s=st.sampled_from([60.0, 600.0]),
        lanes=st.sampled_from([LANES, ()]),
    )
    def open(
        self,
        rate: int,
        burst: int,
        max_active: int,
        session_idle_timeout_s: float,
        place_ttl_s: float,
        lanes: tuple[Lane, ...],
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
            lanes=lanes,
        )
        self.ground = EmulatedGround(ROOM)
        self.model = RoomModel(self.promised, self.ground.rules.clock_us)
        self.visitors: list[Visitor] = []
        self.arrived = 0
        self.admissions = Admissions()
        self.due_until_us = self.model.now_us
        self.watermarks = [0, 0, 0]
        self.replicas = [self.new_replica(at) for at in range(3)]
        self.out_of_touch = [True, True, True]
        self.latest: tuple[str, Any] | None = None
        self.latest_window = self.model.schedule.at(0)
        self.copy: tuple[dict[str, Any], RoomModel] | None = None
        for at in range(3):
            self.join(at, starting=True)

    # Calls, each on the scripts and on the model

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def new_replica(self, at: int) -> Replica:
        """Its visitors have no outstanding polls by its own clock, which is that of the store."""
        replica = Replica(self.ground, self.promised, name=str(at))
        replica.queue.outstanding_polls = OutstandingPolls(
            monotonic_s=lambda: self.model.now_us / 1_000_000
        )
        return replica

    def replica(self, at: int) -> Replica:
        """That replica, after it has noticed a loss of the store."""
        if self.out_of_touch[at]:
            self.join(at)
        return self.replicas[at]

    def join(self, at: int, *, starting: bool = False) -> None:
        replica = self.replicas[at]
        known = replica.newest
        stored = self.ground.rules.data.get(STATE, {})
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
        queue = replica.queue
        window_s = queue._return_window.seconds(replica.newest, rules=queue.rules)
        return round(window_s * 1_000_000)

    def receive(self, at: int) -> None:
        """The watermark never falls on any replica."""
        state = self.replicas[at].newest
        assert state is not None
        assert state.watermark_us >= self.watermarks[at]
        self.watermarks[at] = state.watermark_us

    def call_arrive(self, at: int, newcomers: list[VisitorId | ArrivalRequest | None]) -> list[Any]:
        """None: a request that creates no place."""
        queue, before = self.replica(at).queue, self.account()
        requests = [ArrivalRequest(each) if isinstance(each, str) else each for each in newcomers]

        async def arrive() -> list[Any]:
            return await asyncio.gather(
                *[
                    queue.arrive(request) if request else queue.take_admission()
                    for request in requests
                ]
            )

        waiting = bool(self.model.line())
        replies = self.run(arrive())
        assert replies == self.model.arrive(requests)
        admitted = self.model.totals.admitted - before.admitted + replies.count(True)
        assert not (waiting and admitted) or self.model.mode is Mode.OPEN
        self.check_admissions(admitted, before)
        if self.model.mode is Mode.AUTO and admitted:  # no grant is spent on an unconfirmed visitor
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
        report = replica.queue.outstanding_polls.report()
        state, count = self.run(replica.queue.advance())
        present, before_us = self.model.line(), self.model.watermark_us
        replicas = len(self.run(self.ground.read()).get("replicas", {}))
        released = self.model.advance(str(at), report, replicas=replicas)
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
        """Lower turns are released first, and the watermark covers a turn when no visitor with it
        waits."""
        watermark_us, waiting = self.model.watermark_us, {us for us, _ in self.model.line()}
        top_us = max(released)
        assert all(us >= top_us for us in waiting)
        rises_to_us = top_us - (top_us in waiting) if top_us < PROVISIONAL_US else 0
        assert watermark_us == max(before_us, rises_to_us)
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
        self.latest, self.latest_window = (
            (kind, argument),
            self.model.schedule.at(self.model.now_us),
        )
        return getattr(self, f"call_{kind}")(at, argument)

    def pass_time(self, passing_ms: int) -> None:
        if passing_ms > 0:
            self.run(self.ground.pass_time(passing_ms / 1000))
        else:
            self.ground.rules.clock_us += passing_ms * 1000
        self.model.clock_us = self.ground.rules.clock_us
        if self.model.notice_clock():
            self.call_advance(0)

    # The account of the machine

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
            totals.admitted,
            totals.released,
            model.grants,
            model.returned,
            model.returned_grants,
            bool(model.provisional()),
        )

    def check_admissions(self, count: int, before: Account) -> None:
        given_back = self.model.returned - before.returned
        self.admissions.give_back(given_back)
        if self.model.is_shut():
            assert count == 0
        if self.model.mode is Mode.AUTO and count:
            assert not is_shut(self.model.schedule, self.model.now_us), "early"
            assert not (before.has_provisional and self.model.provisional()), "before the draw"
            returned = self.model.returned_grants - before.returned_grants
            by_grant = before.grants + returned - self.model.grants
            assert 0 <= by_grant <= count
            self.admissions.let_in(
                count - by_grant, given_back=given_back, burst=self.promised.burst
            )

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

    # Invariants after every step

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        model = self.model
        data = {key.rpartition(":")[2]: value for key, value in self.ground.rules.data.items()}
        waiting = {n: w for n, w in model.visitor_states.items() if isinstance(w, WaitingState)}
        inside = {n: i for n, i in model.visitor_states.items() if isinstance(i, ActiveState)}
        assert model.watermark_us < PROVISIONAL_US
        assert data.get("queue", {}) == {n: w.turn_us for n, w in waiting.items()}
        assert data.get("active", {}) == {n: i.until_us for n, i in inside.items()}
        guesses = {n: model.visitor_states[n].until_us for n in model.unconfirmed()}  # type: ignore[union-attr]
        assert data.get("unconfirmed", {}) == guesses
        assert data.get("missed", {}) == model.missed_us
        assert data.get("lanes", {}) == model.lanes
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
            "clock_ahead": model.clock_ahead_us,
            "grants": model.grants,
            "watermark": model.watermark_us,
            "reached": model.reached_us,
            "last": model.last_us,
            "recovering_until": model.recovering_until_us,
            "claims_until": model.claims_until,
            "owed_from": model.owed_from_us,
            "again_through": model.again_through_us,
            "again_at": model.again_at,
            "to_report": model.to_report,
            "slots_before": model.slots_before,
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
        reports = "".join(
            f"{name} {at_us} {turn_us} {was_counted:d};"
            for name, (at_us, turn_us, was_counted) in model.reports.items()
        )
        assert sorted(str(state["reports"]).split(";")) == sorted(reports.split(";"))
        assert (state["events"], state["windows"]) == (
            model.schedule.text,
            model.schedule.windows_text,
        )


def _tenths(us: int) -> int:
    return -(-us // 100_000)


def _still(scores: dict[VisitorId, T], now_us: int) -> dict[VisitorId, T]:
    return {name: until for name, until in scores.items() if cast(float, until) > now_us}
