"""A crowd of real HTTP visitors against any gate, and a verdict on what they saw.

Rules. No task per visitor and none per request: a heap of due times, and connections that call
back, so that one process holds tens of thousands. Each request goes to any of the addresses, as
through a balancer. When the crowd itself cannot keep up, that is measured (`crowd_late_s`) and
never blamed on the gate. Every wait has a time-out, and the run ends by itself: when everybody is
done, when its time is up, or when the gate has been silent for too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from heapq import heappop, heappush
from random import Random

from gatekeeper.simulate.arrivals import arrival_times_s
from gatekeeper.simulate.connection import Reply
from gatekeeper.simulate.gate_answer import Answer, Token, meaning
from gatekeeper.simulate.observer import Progress, Witness
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.requests import Wire
from gatekeeper.simulate.room_figures import Watch
from gatekeeper.simulate.token_claims import TICKET, forgeries
from gatekeeper.simulate.verdict import Verdict, verdict_of
from gatekeeper.simulate.visitor import LIES, Ask, Kind, Visitor, hear, new_visitor

_GONE_S = 5.0  # of failures alone at the end: whoever was left went home for it
_BEAT_S = 0.01  # how often due times are looked at
_PROGRESS_EVERY_S = 0.5
_SAMPLE_EVERY_S = 1.0

OnProgress = Callable[[Progress], None]


async def run_crowd(
    plan: CrowdPlan, *, on_progress: OnProgress, ended: asyncio.Event | None = None
) -> Verdict:
    """Send the crowd and judge; what it saw so far once `ended` is set.

    Raises GatekeeperError when no gate answers at the start.
    """
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Wire(plan))
        await wire.greet()
        watch = await stack.enter_async_context(Watch(plan)) if plan.admin_url else None
        return await Crowd(plan, wire, watch, on_progress, ended or asyncio.Event()).run()


class Crowd:
    """One run."""

    def __init__(
        self,
        plan: CrowdPlan,
        wire: Wire,
        watch: Watch | None,
        on_progress: OnProgress,
        ended: asyncio.Event,
    ) -> None:
        self._plan = plan
        self._wire = wire
        self._watch = watch
        self._on_progress = on_progress
        self._ended = ended
        # Who comes and when is drawn apart from how they pace, which depends on the answers.
        self._people = Random(plan.seed)  # noqa: S311  the same crowd again, not a secret
        self._pace = Random(plan.seed)  # noqa: S311
        self._witness = Witness()
        self._heap: list[tuple[float, int, Visitor]] = []  # when due, and the number breaks ties
        self._under_way = 0
        self._other_ticket = ""
        self._began_s = asyncio.get_running_loop().time()

    async def run(self) -> Verdict:
        problems: list[str] = []
        if self._watch is not None:
            await self._sample(self._watch)  # the count before anybody came
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._show(), name="progress")]
            if self._watch is not None:
                beside.append(group.create_task(self._keep_sampling(self._watch), name="operator"))
            problems += await self._dispatch()
            for task in beside:
                task.cancel()
        if self._watch is not None:
            await self._sample(self._watch)  # … and when all are done, however soon
            if not self._witness.samples:
                problems.append(self._watch.problem or "the operator's listener was never asked")
        now_s = self._now_s()
        self._on_progress(self._witness.progress(now_s=now_s, last=True))
        return verdict_of(self._witness, self._plan, problems=problems, elapsed_s=now_s)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    async def _dispatch(self) -> list[str]:
        """Hand out who is due, until the end; say what was wrong with it, if anything."""
        plan = self._plan
        coming = self._newcomers()
        newcomer = next(coming, None)
        while newcomer is not None or self._heap or self._under_way:
            now_s = self._now_s()
            if now_s >= plan.duration_s or self._ended.is_set():
                return []
            if self._silent_s(now_s) > plan.give_up_s:
                break
            while newcomer is not None and newcomer.due_s <= now_s:
                self._ask(newcomer)
                newcomer = next(coming, None)
            while self._heap and self._heap[0][0] <= now_s:
                self._ask(heappop(self._heap)[2])
            await asyncio.sleep(_BEAT_S)
        silent_s = self._silent_s(self._now_s())
        if silent_s > min(_GONE_S, plan.give_up_s):
            return [f"the gate has not answered for {silent_s:.0f} s"]
        return []

    def _silent_s(self, now_s: float) -> float:
        """For how long nothing but failures has been heard."""
        since_s = self._witness.failing_since_s
        return 0.0 if since_s is None else now_s - since_s

    def _newcomers(self) -> Iterator[Visitor]:
        for number, at_s in enumerate(arrival_times_s(self._plan, self._people)):
            visitor = new_visitor(number, self._plan, self._people)
            visitor.due_s = at_s
            yield visitor

    # One request of one visitor.

    def _ask(self, visitor: Visitor) -> None:
        self._under_way += 1
        at = self._pace.randrange(self._wire.addresses)
        self._wire.ask(_Request(self, visitor, at), at=at)

    def put(self, request: _Request) -> bytes:
        """It is sent now."""
        visitor = request.visitor
        request.began_s = now_s = self._now_s()
        request.sent = sent = self._token_to_send(visitor)
        self._witness.asks(visitor, now_s=now_s)
        data, request.own = self._bytes_of(visitor, sent, at=request.at)
        return data

    def answered(self, request: _Request, reply: Reply | str) -> None:
        """What comes of it."""
        witness, visitor = self._witness, request.visitor
        before, now_s = visitor.stage, self._now_s()
        answer = meaning(reply, own=request.own)
        witness.heard(visitor, answer, sent=request.sent, began_s=request.began_s, now_s=now_s)
        again_s = hear(visitor, answer, plan=self._plan, random=self._pace)
        witness.moved(before, visitor.stage)
        self._prepare_lies(visitor, answer)
        self._under_way -= 1
        if again_s is not None:
            visitor.due_s = now_s + again_s
            heappush(self._heap, (visitor.due_s, visitor.number, visitor))

    def _token_to_send(self, visitor: Visitor) -> Token | None:
        if visitor.next in LIES and visitor.lies and visitor.token:
            return Token(next(visitor.lies), visitor.token.cookie)
        return visitor.token

    def _bytes_of(self, visitor: Visitor, token: Token | None, *, at: int) -> tuple[bytes, bool]:
        """The request, and whether it asks the gate itself."""
        wire, paths = self._wire, self._plan.paths
        path = paths[visitor.visits % len(paths)]
        if visitor.next is Ask.ARRIVE or token is None:
            if visitor.browser:
                return wire.navigate(path, at=at), False
            return wire.enqueue(at=at), True
        match visitor.next:
            case Ask.VISIT | Ask.LIE_TO_SITE:
                return wire.visit(path, token, at=at), False
            case Ask.LEAVE:
                return wire.leave(token, at=at), True
            case Ask.POLL | Ask.LIE_TO_STATUS | Ask.REPLAY:
                return wire.poll(token, at=at), True

    def _prepare_lies(self, visitor: Visitor, answer: Answer) -> None:
        """Liars use each other's tickets too, so the last one seen is remembered."""
        if answer.token is None or answer.claims is None or answer.claims.kind != TICKET:
            return
        if visitor.kind is Kind.JUMPER and visitor.lies is None and self._other_ticket:
            visitor.lies = forgeries(answer.token.raw, self._other_ticket)
        self._other_ticket = answer.token.raw

    async def _show(self) -> None:
        while True:
            self._on_progress(self._witness.progress(now_s=self._now_s()))
            await asyncio.sleep(_PROGRESS_EVERY_S)

    async def _keep_sampling(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            await self._sample(watch)

    async def _sample(self, watch: Watch) -> None:
        began_s, (certain, _) = self._now_s(), self._witness.direct()
        figures = await watch.figures()
        if figures is not None:
            now_s = self._now_s()
            self._witness.sample(figures, began_s=began_s, direct_certain=certain, now_s=now_s)


class _Request:
    """A question of a visitor at one of the addresses."""

    __slots__ = ("_crowd", "at", "began_s", "own", "sent", "visitor")

    def __init__(self, crowd: Crowd, visitor: Visitor, at: int) -> None:
        self._crowd = crowd
        self.visitor = visitor
        self.at = at
        self.sent: Token | None = None
        self.own = True
        self.began_s = 0.0

    def put(self) -> bytes:
        return self._crowd.put(self)

    def answered(self, reply: Reply | str) -> None:
        self._crowd.answered(self, reply)
