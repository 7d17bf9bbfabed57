"""Replicas share the pacing: one calls the store, the others receive the state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import LineFull
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import RedisStore
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.integration.replicas.replica_group import line_up, room_config, running_replica
from tests.servers import eventually

TICK_S = 0.25  # of a line at this rate and burst


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


class Bus(NoEvents):
    """Records the published states."""

    def __init__(self) -> None:
        self.said: list[RoomState] = []

    async def publish_state(self, room: RoomName, state: RoomState, *, sent_at_s: float) -> None:
        del room, sent_at_s
        self.said.append(state)


@asynccontextmanager
async def room_on(bus: Bus, room: RoomConfig, store_url: str) -> AsyncIterator[RoomReplica]:
    store = RedisStore(store_url, timeout_s=5)
    live = RoomReplica(store, bus, Rules.of(room), replica="one")
    try:
        await live.start()
        yield live
    finally:
        await live.close()
        await store.close()


async def receive_state_of_another_call(live: RoomReplica) -> None:
    """The state that another replica publishes after its call."""
    held = live.view.state
    assert held is not None
    now_s = live.view.now_s()
    news = replace(held, version=held.version + 1, now_us=round(now_s * 1_000_000))
    live.receive_state(news, sent_at_s=now_s)
    await asyncio.sleep(0.02)


async def test_replicas_share_calls_to_the_store(
    store_url: str, events_url: str, moving: RoomConfig
) -> None:
    running = partial(running_replica, moving, store_url=store_url, events_url=events_url)
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(running()) for _ in range(6)]
        one = replicas[0]
        await line_up(60, one)
        await eventually(lambda: all(each.events.connected() for each in replicas))
        calls = Calls()
        for each in replicas:
            calls.of(each.room)
        released = one.state.released_total
        await asyncio.sleep(8 * TICK_S)

        assert calls.count < 3 * 8  # and 48 if each went by itself
        await eventually(lambda: one.state.released_total >= released + 8)


async def test_replica_calls_rarely_while_others_call(store_url: str, moving: RoomConfig) -> None:
    async with room_on(Bus(), moving, store_url) as live:
        for _ in range(60):
            visitor = new_visitor_id()
            place = await live.queue.arrive(ArrivalRequest(visitor))
            assert not isinstance(place, LineFull)
            await live.queue.poll(PollRequest(visitor, place.turn_us, has_pass=False))
        calls = Calls()
        calls.of(live)
        for _ in range(100):  # two seconds at least
            await receive_state_of_another_call(live)

        assert 1 <= calls.count <= 5
        count_before = calls.count
        await eventually(lambda: calls.count > count_before + 1)


async def test_received_state_is_not_published_again(store_url: str, room_name: RoomName) -> None:
    bus = Bus()
    async with room_on(bus, room_config(room_name, rate=0, burst=1), store_url) as live:
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
