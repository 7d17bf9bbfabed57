"""A crowd of simulated HTTP visitors against any gate, and a verdict on what it observed.

Rules. There is no task per visitor and none per request: a heap of due times and connections with
callbacks let one process hold tens of thousands of visitors. Each request goes to a random
address, as through a load balancer. When the crowd itself sends late, the delay is measured
(`crowd_late_s`) and is not counted against the gate. Every wait has a timeout. A run ends when all
visitors are done, when its time is up, or when the gate has not responded for too long.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from heapq import heappop, heappush
from random import Random

from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.simulate.arrivals import EventTimes, arrival_times_s, event_arrival_times_s
from gatekeeper.simulate.bots import evasion_of, new_bot, source_address
from gatekeeper.simulate.connection import RawResponse
from gatekeeper.simulate.event_watch import EventWatch
from gatekeeper.simulate.evidence import Progress
from gatekeeper.simulate.floods import Flood
from gatekeeper.simulate.gate_client import GateClient, forwarded_for
from gatekeeper.simulate.gate_response import (
    ObservedResponse,
    Token,
    parse_gate_response,
    parse_without_place,
)
from gatekeeper.simulate.observer import Observer
from gatekeeper.simulate.opening import OpeningRecord
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.proof_solver import ProofSolver
from gatekeeper.simulate.room_monitor import RoomMonitor
from gatekeeper.simulate.simulated_lanes import SimulatedLane, invitation_of
from gatekeeper.simulate.token_claims import PASS, TICKET, forgeries
from gatekeeper.simulate.verdict import Verdict, verdict_of
from gatekeeper.simulate.visitor import (
    FORGERY_ACTIONS,
    Action,
    Visitor,
    VisitorKind,
    apply_response,
    new_lurker,
    new_visitor,
)

_UNREACHABLE_S = 5.0  # only failures for so long at the end make the run invalid
_TICK_S = 0.01  # how often due times are checked
_PROGRESS_EVERY_S = 0.5
_SAMPLE_EVERY_S = 1.0
_BOTS_WITHIN_S = 5.0
_FLOOD_CONNECTIONS = 16  # separate, so that visitors do not wait for it

OnProgress = Callable[[Progress], None]


async def run_crowd(
    plan: CrowdPlan, *, on_progress: OnProgress, ended: asyncio.Event | None = None
) -> Verdict:
    """Run the crowd and return the verdict; ends early once `ended` is set.

    Raises GatekeeperError when an address has no gate at the start.
    """
    opening = await _announced(plan)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(GateClient(plan))
        await client.check_gates()
        flooding = await stack.enter_async_context(GateClient(plan, connections=_FLOOD_CONNECTIONS))
        monitor = await stack.enter_async_context(RoomMonitor(plan)) if plan.admin_url else None
        observer = Observer(plan, opening=opening)
        solver = await stack.enter_async_context(ProofSolver(bot_cpu_s=plan.bot_cpu_s))
        crowd = Crowd(
            plan, client, flooding, monitor, on_progress, ended or asyncio.Event(), observer, solver
        )
        return await crowd.run()


async def _announced(plan: CrowdPlan) -> OpeningRecord | None:
    return OpeningRecord(await EventWatch(plan).announced()) if plan.event else None


class Crowd:
    """One run."""

    def __init__(
        self,
        plan: CrowdPlan,
        client: GateClient,
        flooding: GateClient,
        monitor: RoomMonitor | None,
        on_progress: OnProgress,
        ended: asyncio.Event,
        observer: Observer,
        solver: ProofSolver,
    ) -> None:
        self._plan = plan
        self._client = client
        self._monitor = monitor
        self._on_progress = on_progress
        self._ended = ended
        # Two sources: kinds and arrivals must not depend on the responses, pauses do.
        self._visitor_random = Random(plan.seed)  # noqa: S311  reproducible, not a secret
        self._pace_random = Random(plan.seed)  # noqa: S311
        self._observer = observer
        # Differs in each run, since an invitation is valid for one place.
        self._run = secrets.token_hex(8)
        self._times = _event_times(observer.opening)
        self._solver = solver
        self._solving: set[asyncio.Task[None]] = set()
        self._proof = ""  # a proof that another place has used, for replayers
        self._pass: Token | None = None  # of a bot, for sharers
        self._flooding = flooding
        self._first_bot = plan.visitors + plan.lurkers
        self._flood = Flood(plan, flooding, self._observer, now_s=self._now_s)
        self._heap: list[tuple[float, int, Visitor]] = []  # due time; the number breaks ties
        self._open = plan.visitors  # visitors that are not done, without lurkers
        self._other_ticket = ""
        self._began_s = asyncio.get_running_loop().time()

    async def run(self) -> Verdict:
        problems: list[str] = []
        opening, watch = self._observer.opening, EventWatch(self._plan)
        if self._monitor is not None:
            await self._take_sample(self._monitor)  # the totals before the first arrival
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._report_progress(), name="progress")]
            if self._monitor is not None:
                background.append(
                    group.create_task(self._sample_repeatedly(self._monitor), name="monitor")
                )
            if opening is not None:
                background.append(group.create_task(self._watch(watch), name="draw"))
            problems += await self._dispatch()
            for task in (*background, *self._solving):
                task.cancel()
        if self._monitor is not None:
            await self._take_sample(self._monitor)  # … and after the last visitor
            if not self._observer.samples:
                problems.append(self._monitor.problem or "admin listener: no sample was taken")
        now_s = self._now_s()
        if opening is not None:
            problems += await watch.verify(opening)
        self._on_progress(self._observer.progress(now_s=now_s, last=True))
        return verdict_of(self._observer, self._plan, problems=problems, elapsed_s=now_s)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    async def _dispatch(self) -> list[str]:
        """Send all requests that are due, until the run ends; returns the problems found."""
        plan = self._plan
        duration_s = plan.duration_s + (self._times.start_s if self._times else 0)
        arriving = self._arrivals()
        next_visitor = next(arriving, None)
        self._schedule_lurkers()
        self._schedule_bots()
        while self._open:
            now_s = self._now_s()
            if now_s >= duration_s or self._ended.is_set():
                return []
            if self._failing_for_s(now_s) > plan.give_up_s:
                break
            while self._heap and self._heap[0][0] <= now_s:
                self._send(heappop(self._heap)[2])
            while next_visitor is not None and next_visitor.due_s <= now_s:
                self._send(next_visitor)
                next_visitor = next(arriving, None)
            self._flood.send_due(now_s)
            await asyncio.sleep(_TICK_S)
        failing_s = self._failing_for_s(self._now_s())
        if failing_s > min(_UNREACHABLE_S, plan.give_up_s):
            return [f"gate: no response for {failing_s:.0f} s"]
        return []

    def _failing_for_s(self, now_s: float) -> float:
        """For how many seconds all requests have failed."""
        since_s = self._observer.failing_since_s
        return 0.0 if since_s is None else now_s - since_s

    def _arrivals(self) -> Iterator[Visitor]:
        plan, random = self._plan, self._visitor_random
        times_s = (
            arrival_times_s(plan, random)
            if self._times is None
            else event_arrival_times_s(plan, random, times=self._times)
        )
        for number, at_s in enumerate(times_s):
            visitor = new_visitor(number, self._plan, self._visitor_random)
            visitor.due_s = at_s
            yield visitor

    async def _watch(self, watch: EventWatch) -> None:
        """Learn the draw as soon as it is public."""

        def learn(record: DrawRecord) -> None:
            self._observer.learn_draw(record, now_s=self._now_s())

        start_s = self._times.start_s if self._times else 0
        await watch.until_drawn(learn, starts_in_s=lambda: start_s - self._now_s())

    def _schedule_lurkers(self) -> None:
        """Lurkers arrive first, so that they are at the front of a line that is not drawn."""
        has_line = self._times is None or self._plan.before
        first_s = 0.0 if has_line or not self._times else max(self._times.prequeue_s, 0.0) + 0.1
        for number in range(self._plan.visitors, self._plan.visitors + self._plan.lurkers):
            heappush(self._heap, (first_s, number, new_lurker(number)))

    def _schedule_bots(self) -> None:
        """Bots come evenly over the first seconds."""
        for index in range(self._plan.bots):
            number = self._first_bot + index
            bot = new_bot(number, self._first_bot)
            heappush(self._heap, (_BOTS_WITHIN_S * index / self._plan.bots, number, bot))

    # One request of one visitor.

    def _send(self, visitor: Visitor) -> None:
        if visitor.kind is VisitorKind.SHARER:
            if self._pass is None:  # no other bot was admitted yet
                self._schedule(visitor, pause_s=_SAMPLE_EVERY_S)
                return
            visitor.token, visitor.next_action = self._pass, Action.VISIT
        at = self._pace_random.randrange(self._client.addresses)
        # Bots use separate connections, so that visitors do not wait for them.
        client = self._flooding if visitor.is_bot else self._client
        client.send(_Request(self, visitor, at), at=at)

    def _schedule(self, visitor: Visitor, *, pause_s: float) -> None:
        visitor.due_s = self._now_s() + pause_s
        heappush(self._heap, (visitor.due_s, visitor.number, visitor))

    def encode(self, request: _Request) -> bytes:
        """Encode the request; it is sent now."""
        visitor = request.visitor
        request.began_s = now_s = self._now_s()
        request.sent = sent = self._token_to_send(visitor)
        self._observer.request_began(visitor, now_s=now_s)
        data, request.own = self._bytes_of(visitor, sent, at=request.at)
        if self._plan.bots:
            address = source_address(
                visitor, first=self._first_bot, addresses=self._plan.bot_addresses
            )
            data = forwarded_for(data, address)
        return data

    def complete(self, request: _Request, raw: RawResponse | str) -> None:
        """Record the response and schedule the visitor's next request."""
        observer, visitor = self._observer, request.visitor
        stage_before, now_s = visitor.stage, self._now_s()
        is_evasion = visitor.next_action is Action.EVADE
        response = (
            parse_without_place(raw) if is_evasion else parse_gate_response(raw, own=request.own)
        )
        observer.response_received(
            visitor, response, sent=request.sent, began_s=request.began_s, now_s=now_s
        )
        pause_s = apply_response(visitor, response, plan=self._plan, random=self._pace_random)
        observer.stage_changed(visitor, stage_before, now_s=now_s)
        self._prepare_forged_tokens(visitor, response)
        if visitor.is_bot and response.claims is not None and response.claims.kind == PASS:
            self._pass = response.token
        if pause_s is None:
            self._open -= 1
        elif not self._solves(visitor):
            self._schedule(visitor, pause_s=pause_s)

    def _solves(self, visitor: Visitor) -> bool:
        """Let the visitor solve its challenge, if it has one and is of a kind that does."""
        challenge = visitor.challenge
        if challenge is None or visitor.next_action is not Action.POLL:
            return False
        if visitor.kind is VisitorKind.REPLAYER and self._proof:
            self._send_proof(visitor, self._proof)
            return True
        if visitor.is_bot and visitor.kind is not VisitorKind.WORKER:
            return False
        if visitor.is_bot and self._solver.bot_cpu_left_s <= 0:
            return False
        task = asyncio.get_running_loop().create_task(
            self._solve(visitor, challenge), name="proof of work"
        )
        self._solving.add(task)
        task.add_done_callback(self._solving.discard)
        return True

    async def _solve(self, visitor: Visitor, challenge: Mapping[str, object]) -> None:
        proof = await self._solver.solved(challenge, is_bot=visitor.is_bot)
        if proof is None:
            self._schedule(visitor, pause_s=visitor.poll_interval_s)
            return
        if visitor.is_bot:
            self._observer.bots.spent(cpu_s=proof.cpu_s, hashes=proof.hashes)
        self._proof = proof.payload
        self._send_proof(visitor, proof.payload)

    def _send_proof(self, visitor: Visitor, proof: str) -> None:
        visitor.proof, visitor.next_action = proof, Action.SOLVE
        self._schedule(visitor, pause_s=0.0)

    def _token_to_send(self, visitor: Visitor) -> Token | None:
        if visitor.next_action in FORGERY_ACTIONS and visitor.forged_tokens and visitor.token:
            return Token(next(visitor.forged_tokens), visitor.token.cookie)
        return visitor.token

    def _invitation(self, number: int, lane: SimulatedLane) -> str:
        plan = self._plan
        return invitation_of(
            number,
            lane,
            room=plan.room,
            secret=plan.invitation_secret,
            run=self._run,
            now_s=time.time(),
        )

    def _bytes_of(self, visitor: Visitor, token: Token | None, *, at: int) -> tuple[bytes, bool]:
        """The request, and whether it is for an endpoint of the gate."""
        client, paths = self._client, self._plan.paths
        path = paths[visitor.visits % len(paths)]
        if visitor.next_action is Action.EVADE:
            kind = evasion_of(visitor)
            return client.without_token(kind.method, path, fields=kind.fields, at=at), False
        if visitor.next_action is Action.ARRIVE or token is None:
            if visitor.lane is not None and not visitor.invitation:
                visitor.invitation = self._invitation(visitor.number, visitor.lane)
            if visitor.browser:
                return client.navigate(path, at=at, invitation=visitor.invitation), False
            return client.enqueue(at=at, invitation=visitor.invitation), True
        match visitor.next_action:
            case Action.VISIT | Action.FORGE_VISIT:
                return client.visit(path, token, at=at), False
            case Action.SOLVE:
                return client.solve(token, visitor.proof, at=at), True
            case Action.LEAVE:
                return client.leave(token, at=at), True
            case Action.POLL | Action.FORGE_POLL | Action.REPLAY:
                return client.poll(token, at=at), True

    def _prepare_forged_tokens(self, visitor: Visitor, response: ObservedResponse) -> None:
        """Forged tokens also use another visitor's ticket: remember the last one received."""
        if response.token is None or response.claims is None or response.claims.kind != TICKET:
            return
        if (
            visitor.kind is VisitorKind.JUMPER
            and visitor.forged_tokens is None
            and self._other_ticket
        ):
            visitor.forged_tokens = forgeries(response.token.raw, self._other_ticket)
        self._other_ticket = response.token.raw

    async def _report_progress(self) -> None:
        while True:
            self._on_progress(self._observer.progress(now_s=self._now_s()))
            await asyncio.sleep(_PROGRESS_EVERY_S)

    async def _sample_repeatedly(self, monitor: RoomMonitor) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            await self._take_sample(monitor)

    async def _take_sample(self, monitor: RoomMonitor) -> None:
        start = self._observer.before_sample(now_s=self._now_s())
        figures = await monitor.read()
        if figures is not None:
            self._observer.add_sample(figures, start=start, now_s=self._now_s())


def _event_times(opening: OpeningRecord | None) -> EventTimes | None:
    """The times of the event by this machine's clock; later tickets give the store's clock."""
    if opening is None:
        return None
    record, now_us = opening.announced, time.time_ns() // 1000
    start_s = (record.start_us - now_us) / 1e6
    return EventTimes(start_s - record.span_us / 1e6, start_s)


class _Request:
    """A request of a visitor, to the address with index `at`."""

    __slots__ = ("_crowd", "at", "began_s", "own", "sent", "visitor")

    def __init__(self, crowd: Crowd, visitor: Visitor, at: int) -> None:
        self._crowd = crowd
        self.visitor = visitor
        self.at = at
        self.sent: Token | None = None
        self.own = True
        self.began_s = 0.0

    def encode(self) -> bytes:
        return self._crowd.encode(self)

    def complete(self, raw: RawResponse | str) -> None:
        self._crowd.complete(self, raw)
