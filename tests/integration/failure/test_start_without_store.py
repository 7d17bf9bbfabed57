"""A replica starts while the store is unreachable, and joins when it has recovered."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode, Phase
from tests.builders import make_pass, sign_token
from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings, shared_servers
from tests.integration.replicas.replica_group import (
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    line_up,
    request_all,
)
from tests.servers import StoreServer, eventually

MINUTES_S = 60.0


async def test_replica_started_in_outage_joins_on_recovery(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate="0", store_failure_mode="open")
    first = await room.replica()
    operator = await room.operator()
    visitors = await line_up(3, first)
    await operator.allow(1)
    await request_all(visitors, first)
    private_store.pause()
    async with room.running_replica() as late:
        assert not late.store_up
        newcomer = RoomVisitor()
        await request_all([*visitors, newcomer], late)
        assert admitted_indexes([*visitors, newcomer]) == [0]
        assert [visitor.is_waiting for visitor in [*visitors, newcomer]] == [
            False,
            True,
            True,
            False,  # no place by a clock that is not the store's
        ]
        private_store.resume()
        await eventually(lambda: late.store_up and first.store_up)
        await request_all([*visitors, newcomer], late)
        assert [visitor.position for visitor in [*visitors, newcomer]] == [None, 1, 2, 3]
        assert (await operator.status()).replicas == 2


async def test_new_room_is_created_once_store_is_reachable(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    private_store.kill()
    room = start_room(rate="60/min", confirm_timeout="1s", heartbeat_timeout="3s")
    late = await room.replica()
    newcomer = RoomVisitor()
    await newcomer.request(late)
    assert not newcomer.is_waiting
    assert not newcomer.is_admitted
    await asyncio.to_thread(private_store.start)
    await eventually(lambda: late.store_up)
    assert late.state.rate_per_minute == 60
    async with asyncio.timeout(40):
        while not newcomer.is_admitted:
            await newcomer.request(late)
            await asyncio.sleep(0.05)


async def test_replica_started_in_outage_learns_state_by_event(
    private_store: StoreServer, events_url: str, start_room: RoomStarter
) -> None:
    room = start_room(rate="600/min", store_failure_mode="open")
    first = await room.replica()
    operator = await room.operator()
    visitors = await line_up(3, first)
    await operator.set_rate(0)
    visitors += await line_up(1, first)
    await operator.allow(1)
    await eventually(lambda: first.state.released_total == 1)
    await operator.set_mode(Mode.HOLD)
    # From the store itself: a replica does not publish what it knows only from an event.
    await eventually(lambda: first.store_state.mode is Mode.HOLD and first.events.connected())
    private_store.pause()
    async with room.running_replica(clock_error_s=-7 * MINUTES_S) as late:
        await eventually(lambda: late.room.view.decisive.phase is Phase.HELD)
        assert not late.store_up
        assert late.room.view.store_state is None
        assert late.room.view.decisive.phase is Phase.HELD
        clocks = (late.room.view.now_s, first.room.view.now_s)
        # Each event is as late as its trip, and a faster one corrects the clock.
        await eventually(lambda: abs(clocks[0]() - clocks[1]()) < 1)
        newcomer = RoomVisitor()
        await request_all([*visitors, newcomer], late)
        assert admitted_indexes([*visitors, newcomer]) == [
            0,
            1,
            2,
            3,
        ]  # the last by the watermark
        private_store.resume()
        await eventually(lambda: late.store_up and first.store_up)
        await newcomer.request(late)
        assert newcomer.position == 1


@asynccontextmanager
async def fixed_reply_server(line: bytes) -> AsyncIterator[str]:
    """A server that sends this reply to every command."""

    async def response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(response, "127.0.0.1", 0)
    async with server:
        yield f"redis://:open-sesame@127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def test_gate_started_in_outage_admits_valid_passes(
    private_store: StoreServer,
) -> None:
    async with Origin.running() as origin:
        await asyncio.to_thread(private_store.pause)
        with GateProcess(
            settings(origin.url, more=shared_servers(private_store.url, timeout="300ms"))
        ) as gate:
            await gate.wait_until_serving()
            assert any(line["event"] == "store_unreachable" for line in gate.logs())
            async with (
                Visitor(gate.url) as admitted,
                Visitor(gate.url) as new,
                Visitor(gate.admin_url) as operator,
            ):
                earlier = make_pass(RoomName("default"), now_s=time.time())
                admitted.set_cookie("gatekeeper", sign_token(earlier))
                status, _ = await admitted.get()
                assert status == 200
                status, _ = await new.get()
                assert status == 503
                unready = await operator.request("GET", "/readyz")
                assert (unready.status, unready.json["problems"]) == (
                    503,
                    ["the store does not respond"],
                )
                assert (await operator.request("GET", "/healthz")).status == 200
                await asyncio.to_thread(private_store.resume)
                for _ in range(600):  # the visitor has no place to poll for yet
                    status, _ = await new.get()
                    if status == 200:
                        break
                    await asyncio.sleep(0.05)
                assert status == 200

                async def is_ready() -> bool:
                    ready = await operator.request("GET", "/readyz")
                    return ready.status == 200 and ready.json == {"status": "ready"}

                await eventually(is_ready)


async def test_store_that_refuses_is_a_start_error_of_one_line() -> None:
    async with fixed_reply_server(b"-NOAUTH Authentication required.\r\n") as url:
        with GateProcess(settings(more=shared_servers(url))) as gate:
            assert await gate.wait_until_exit() == 1
            [line] = gate.errors().splitlines()
            assert "the store refuses" in line
            assert "store.url" in line
            assert "sesame" not in line
