"""A room with its pacer and visitors in virtual time: minutes of a crowd within a second."""

import heapq
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import LineFull, QueuePosition, SlotGrant
from gatekeeper.policy.pacing import tick_interval_s
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.contract.grounds import EmulatedGround, Replica

Action = Callable[[], Awaitable[None]]


class VirtualRoom:
    """Visitors act at their times, and the pacer ticks like a real one."""

    def __init__(self, **keys: object) -> None:
        room = RoomName("virtual")
        self.ground = EmulatedGround(room)
        self.rules = Rules.of(RoomConfig.model_validate({"name": room} | keys))
        self.replica = Replica(self.ground, self.rules, name="only")
        self.now_s = 0.0
        self.admitted_at_s: dict[str, float] = {}
        self._due: list[tuple[float, int, Action]] = []
        self._number = count()

    def at(self, due_s: float, action: Action) -> None:
        heapq.heappush(self._due, (due_s, next(self._number), action))

    async def run(self, until_s: float) -> None:
        await self.replica.queue.join(starting=True)
        await self._tick()
        while self._due and self._due[0][0] <= until_s:
            due_s, _, action = heapq.heappop(self._due)
            await self.ground.pass_time(due_s - self.now_s)
            self.now_s = due_s
            await action()

    async def _tick(self) -> None:
        state, _ = await self.replica.queue.advance()
        pause_s = tick_interval_s(
            rate_per_minute=state.effective_rate_per_minute,
            burst=self.rules.burst,
            waiting=state.queue_length + state.pending_grants,
        )
        self.at(self.now_s + pause_s, self._tick)

    def come(self, at_s: float, name: str, *, polls: int = 1_000_000, every_s: float = 1) -> None:
        """A visitor who polls like the page near the front, and leaves without notice after `polls`
        polls."""

        async def arrive() -> None:
            standing = await self.replica.queue.arrive(ArrivalRequest(VisitorId(name)))
            if isinstance(standing, SlotGrant):
                await self._enter(name)
            elif isinstance(standing, QueuePosition):
                self.at(self.now_s + 1, lambda: poll(standing, polls))

        async def poll(place: QueuePosition, left: int) -> None:
            standing = await self.replica.queue.poll(
                PollRequest(VisitorId(name), place.turn_us, has_pass=False)
            )
            if isinstance(standing, SlotGrant):
                await self._enter(name)
            elif isinstance(standing, QueuePosition) and left > 1:
                self.at(self.now_s + every_s, lambda: poll(standing, left - 1))

        self.at(at_s, arrive)

    async def _enter(self, name: str) -> None:
        self.admitted_at_s[name] = self.now_s
        until_us = self.ground.rules.clock_us + round(self.rules.pass_life_s * 1_000_000)
        await self.replica.queue.touch(VisitorId(name), until_us=until_us, ends_us=until_us)

    def flood(self, *, per_s: float, until_s: float) -> None:
        """Clients without cookies: every request is from a newcomer."""

        async def arrive() -> None:
            visitor = VisitorId(f"flood {next(self._number)}")
            await self.replica.queue.arrive(ArrivalRequest(visitor))

        for number in range(round(per_s * until_s)):
            self.at(number / per_s, arrive)

    def lurk(self, name: str, *, first_s: float, every_s: float, connected: bool) -> None:
        """A client that keeps its first ticket, polls with it, and never claims."""
        request = PollRequest(VisitorId(name), 0, has_pass=False, connected=connected)

        async def arrive() -> None:
            standing = await self.replica.queue.arrive(ArrivalRequest(request.visitor))
            assert not isinstance(standing, LineFull)
            held = replace(request, turn_us=standing.turn_us)
            self.at(self.now_s + every_s, lambda: poll(held))

        async def poll(held: PollRequest) -> None:
            await self.replica.queue.poll(held)
            self.at(self.now_s + every_s, lambda: poll(held))

        self.at(first_s, arrive)
