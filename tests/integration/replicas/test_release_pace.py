"""Replicas share the pacing: one calls the store, the others receive the state.

Rules: the store is in memory, and both it and the replicas follow the simulated clock. So the test
sets the delay of an event, and no replica is late on a slow machine.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import LineFull
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.room.event_bus import Listener, NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Reply, Script
from gatekeeper.room.view import ReplicaView
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.contract.dragonfly_rules import DragonflyRules
from tests.contract.grounds import EmulatedStore
from tests.integration.replicas.replica_group import room_config

pytestmark = pytest.mark.simulated_time

BEGAN_US = 1_700_000_000_000_000
EVENT_S = 0.005  # in transit
TICK_S = 0.25  # for this rate and burst


@pytest.fixture
def moving(room_name: RoomName) -> RoomConfig:
    return room_config(room_name, rate="500/min")


@dataclass
class Calls:
    """Counts the calls of these replicas that release visitors."""

    count: int = 0

    def of(self, live: RoomReplica) -> None:
        advance = live.queue.advance

        async def counted() -> tuple[RoomState, int]:
            self.count += 1
            return await advance()

        live.queue.advance = counted  # type: ignore[method-assign]


class PacedStore(EmulatedStore):
    """The store in memory, with the clock of the loop."""

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        self._rules.clock_us = BEGAN_US + round(asyncio.get_running_loop().time() * 1e6)
        return await super().run(script, keys, args)


@dataclass
class Bus(NoEvents):
    """Records the published states, and sends them to the other replicas of the bus."""

    said: list[RoomState] = field(default_factory=list)
    others: list["Bus"] = field(default_factory=list)
    listener: Listener | None = None

    async def listen(self, room: RoomName, listener: Listener) -> None:
        del room
        self.listener = listener

    async def publish_state(self, room: RoomName, state: RoomState, *, sent_at_s: float) -> None:
        del room
        self.said.append(state)
        for other in self.others:
            asyncio.get_running_loop().call_later(EVENT_S, other.receive, state, sent_at_s)

    def receive(self, state: RoomState, sent_at_s: float) -> None:
        if self.listener is not None:
            self.listener.receive_state(state, sent_at_s=sent_at_s)


@asynccontextmanager
async def room_on(
    bus: Bus, room: RoomConfig, rules: DragonflyRules, *, name: str = "one"
) -> AsyncIterator[RoomReplica]:
    """A replica on that bus and on a store with these rules."""
    loop = asyncio.get_running_loop()
    view = ReplicaView(monotonic_s=loop.time, wall_s=lambda: BEGAN_US / 1e6 + loop.time())
    live = RoomReplica(PacedStore(rules), bus, Rules.of(room), replica=name, view=view)
    try:
        await live.start()
        yield live
    finally:
        await live.close()


async def line_up(live: RoomReplica, count: int) -> None:
    """New visitors, in line."""
    for _ in range(count):
        visitor = new_visitor_id()
        place = await live.queue.arrive(ArrivalRequest(visitor))
        assert not isinstance(place, LineFull)
        await live.queue.poll(PollRequest(visitor, place.turn_us, has_pass=False))


def released(live: RoomReplica) -> int:
    assert live.view.state is not None
    return live.view.state.released_total


async def receive_state_of_another_call(live: RoomReplica) -> None:
    """The state that another replica publishes after its call."""
    held = live.view.state
    assert held is not None
    now_s = live.view.now_s()
    news = replace(held, version=held.version + 1, now_us=round(now_s * 1_000_000))
    live.receive_state(news, sent_at_s=now_s)
    await asyncio.sleep(0.02)


async def test_replicas_share_calls_to_the_store(moving: RoomConfig) -> None:
    buses, rules = [Bus() for _ in range(6)], DragonflyRules()
    for bus in buses:
        bus.others = [each for each in buses if each is not bus]
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(room_on(bus, moving, rules, name=f"r{number}"))
            for number, bus in enumerate(buses)
        ]
        await line_up(replicas[0], 60)
        calls = Calls()
        for each in replicas:
            calls.of(each)
        before = released(replicas[0])
        await asyncio.sleep(8 * TICK_S)

        assert calls.count < 3 * 8  # 48 if each replica called on its own
        assert all(released(each) >= before + 8 for each in replicas)


async def test_replica_calls_rarely_while_others_call(moving: RoomConfig) -> None:
    async with room_on(Bus(), moving, DragonflyRules()) as live:
        await line_up(live, 60)
        calls = Calls()
        calls.of(live)
        for _ in range(100):  # two seconds
            await receive_state_of_another_call(live)

        assert 1 <= calls.count <= 4
        count_before = calls.count
        await asyncio.sleep(4 * TICK_S)
        assert calls.count > count_before + 1


async def test_received_state_is_not_published_again(room_name: RoomName) -> None:
    bus = Bus()
    async with room_on(bus, room_config(room_name, rate=0, burst=1), DragonflyRules()) as live:
        await live._stop_pacing()
        await live.queue.arrive(ArrivalRequest(new_visitor_id()))
        assert live.view.store_state is not None
        events = live.view.store_state
        live.receive_state(events, sent_at_s=live.view.now_s())
        bus.said.clear()
        await live._publish()
        assert bus.said == []

        await live.queue.arrive(ArrivalRequest(new_visitor_id()))
        await live._publish()
        assert [state.version for state in bus.said] == [events.version + 1]


@pytest.mark.parametrize("rate", [20, 60, 100, 120, 250, 600, 1500])
async def test_bucket_of_one_releases_the_whole_rate(room_name: RoomName, rate: int) -> None:
    """The bucket is full when an admission is due, so what falls due until the pacer's call is
    lost."""
    due = 20
    config = room_config(room_name, rate=f"{rate}/min", burst=1)
    async with room_on(Bus(), config, DragonflyRules()) as live:
        await line_up(live, due + 5)
        began, calls = released(live), Calls()
        calls.of(live)
        await asyncio.sleep(due * 60 / rate)

        assert released(live) - began == pytest.approx(due, abs=1)
        assert calls.count < due * max(2.5, 4.5 * 60 / rate + 1)
