"""The store is at `maxmemory`: removals work, writes fail, the rate is kept."""

import asyncio
import time
from typing import cast

import pytest
import redis

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Ticket, new_visitor_id
from gatekeeper.web.outcome import Deny
from tests.gates import GateStarter, Visitor
from tests.integration.replicas.replica_group import (
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    line_up,
    request_all,
)
from tests.servers import StoreServer, eventually

pytestmark = pytest.mark.valkey  # `maxmemory` of a running server, below 256 MB

SHORT_TIMEOUTS: dict[str, object] = {"heartbeat_timeout": "3s", "confirm_timeout": "2s"}


def fill(store: StoreServer) -> None:
    """Limit the memory to what is in use now."""
    with redis.Redis.from_url(store.url, socket_timeout=5) as client:
        used = cast(dict[str, int], client.info("memory"))["used_memory"]
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", max(used // 2, 1))
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("one", "more")


def empty_out(store: StoreServer) -> None:
    """Allow enough memory again."""
    with redis.Redis.from_url(store.url, socket_timeout=5) as client:
        client.config_set("maxmemory", 0)


async def test_full_store_keeps_passes_and_releases(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate=0, burst=1)
    first, second = await room.replicas(2)
    visitors = await line_up(10, first, second)
    await first.room.queue.allow(4)
    await eventually(lambda: first.state.released_total == second.state.released_total == 4)
    await request_all(visitors[:2], first)
    assert admitted_indexes(visitors) == [0, 1]
    fill(private_store)
    newcomers = [RoomVisitor() for _ in range(20)]
    for _ in range(3):
        await request_all([*visitors, *newcomers], first, second)
        await asyncio.sleep(0.3)
    assert admitted_indexes(visitors) == [
        0,
        1,
        2,
        3,
    ]  # released before, so they entered by the watermark
    assert all(visitor.is_waiting and visitor.position is None for visitor in visitors[4:])
    assert all(isinstance(visitor.token, Ticket) for visitor in newcomers)
    assert first.store_up
    assert second.store_up
    empty_out(private_store)
    await eventually(lambda: first.state.queue_length == 26)
    await request_all([*visitors, *newcomers], first, second)
    assert [visitor.position for visitor in visitors[4:]] == [*range(1, 7)]
    assert sorted(visitor.position or 0 for visitor in newcomers) == [*range(7, 27)]
    assert first.state.released_total == 4


@pytest.mark.parametrize("store_failure_mode", ["closed", "open"])
async def test_full_store_admits_no_more_than_the_rate(
    private_store: StoreServer, store_failure_mode: str, start_room: RoomStarter
) -> None:
    room = start_room(
        rate="600/min", burst=5, store_failure_mode=store_failure_mode, **SHORT_TIMEOUTS
    )
    first, second = await room.replicas(2)
    start_s = time.monotonic()
    visitors = await line_up(60, first, second)
    fill(private_store)
    async with asyncio.timeout(30):
        elapsed_s = 0.0
        while elapsed_s < 3 or len(visitors) < 200:
            visitors += [RoomVisitor() for _ in range(10)]
            await request_all(visitors, first, second)
            elapsed_s = time.monotonic() - start_s
            assert len(admitted_indexes(visitors)) <= 5 + 10 * elapsed_s + 1
            await asyncio.sleep(0.05)
    empty_out(private_store)
    await eventually(lambda: first.state.queue_length > 100)
    state = first.state
    assert state.active <= state.admitted_total + state.released_total


async def test_leave_with_full_store_is_final(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate=0, burst=1)
    replica = await room.replica()
    visitors = await line_up(3, replica)
    fill(private_store)
    gone = visitors[0].token
    assert gone is not None
    await replica.room.leave([gone.visitor])
    assert isinstance(await replica.admission.admit(gone, newcomers="denied"), Deny)
    empty_out(private_store)
    await eventually(lambda: replica.state.revocations == 1)
    await request_all(visitors[1:], replica)
    assert [visitor.position for visitor in visitors[1:]] == [1, 2]


async def test_sweep_of_full_store_makes_room(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate=0, burst=1, **SHORT_TIMEOUTS)
    replica = await room.replica()
    await line_up(500, replica)
    fill(private_store)
    await eventually(lambda: replica.state.queue_length == 0)
    assert replica.state.abandoned_total == 500


async def test_full_store_is_logged_once_and_pages_are_served(
    private_store: StoreServer,
    room_name: RoomName,
    capsys: pytest.CaptureFixture[str],
    start_gate: GateStarter,
) -> None:
    gate = await start_gate(rate="0")
    fill(private_store)
    for _ in range(20):
        async with Visitor(gate) as visitor:
            status, page = await visitor.get()
            assert status == 503
            assert "<html" in page
            assert (await visitor.status())["state"] == "waiting"
    await gate.room(room_name).leave([new_visitor_id()])
    await asyncio.sleep(1)
    logged = capsys.readouterr().out
    assert logged.count("store_full") == 1
    assert "store_unreachable" not in logged
    assert "failed" not in logged
