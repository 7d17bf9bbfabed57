"""The servers of the tests behave as the tests require."""

import asyncio

import nats
import pytest
import redis.asyncio as redis
import uvloop
from redis.exceptions import ConnectionError as StoreGone

from gatekeeper.config.types import RoomName
from gatekeeper.room.store import room_keys
from tests.gates import GateStarter, is_alive
from tests.servers import EventsServer, Server, StoreServer, eventually


async def test_loop_is_uvloop() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_shared_store_replies(store_url: str, room_name: RoomName) -> None:
    async with redis.from_url(store_url) as client:
        assert await client.incr(room_name) == 1


async def test_pause_of_the_machine_is_no_outage_of_the_shared_store(
    store_url: str, room_name: RoomName, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="600/min")
    [state] = [key for key in room_keys(room_name) if key.endswith(":state")]
    async with redis.from_url(store_url) as client:
        await client.hincrby(state, "attended_at", -10_000_000)
    assert not (await gate.queue.read_state()).is_recovering
    assert (await gate.visitor().get())[0] == 200


async def test_shared_events_reply(events_url: str) -> None:
    client = await nats.connect(events_url)
    await client.flush()
    await client.close()


async def test_killed_store_restarts_with_its_data(private_store: StoreServer) -> None:
    async with redis.from_url(private_store.url, retry=None) as client:
        await client.set("a", 1)
        private_store.kill()
        with pytest.raises(StoreGone):
            await client.get("a")
        private_store.restart()
        assert await client.get("a") == b"1"


async def test_store_can_restart_empty(private_store: StoreServer) -> None:
    async with redis.from_url(private_store.url) as client:
        await client.set("a", 1)
    private_store.restart(empty=True)
    async with redis.from_url(private_store.url) as client:
        assert await client.get("a") is None


async def test_store_counts_commands_and_forgets_on_flush(private_store: StoreServer) -> None:
    async with redis.from_url(private_store.url) as client:
        await client.set("a", 1)
        await client.get("a")
        await client.get("a")
        private_store.flush()
        assert await client.get("a") is None
    assert private_store.commands()["get"] == 3


async def test_paused_store_replies_after_resume(private_store: StoreServer) -> None:
    async with redis.from_url(private_store.url) as client:
        await client.ping()
        private_store.pause()
        reply = asyncio.ensure_future(client.get("a"))
        done, _ = await asyncio.wait({reply}, timeout=0.1)
        assert not done
        private_store.resume()
        async with asyncio.timeout(30):
            assert await reply is None


async def test_killed_events_restart_on_the_same_port(private_events: EventsServer) -> None:
    address = private_events.url
    client = await nats.connect(address, reconnect_time_wait=0.01)
    private_events.kill()
    await eventually(lambda: not client.is_connected)
    private_events.restart()
    assert private_events.url == address
    await eventually(lambda: client.is_connected)
    await client.close()


async def test_eventually_names_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match="the moon is blue"):
        await eventually(lambda: False, 0.02, what="the moon is blue")


class ForkingServer(Server):
    """A server with a worker that outlives it, as with nginx."""

    def _command(self) -> list[str]:
        return ["/bin/sh", "-c", "sleep 600 & echo $! > worker; wait"]

    def _responds(self) -> bool:
        return self.worker() != 0

    def worker(self) -> int:
        file = self.home / "worker"
        return int(file.read_text() or 0) if file.exists() else 0


async def test_workers_of_a_server_end_with_it() -> None:
    with ForkingServer() as server:
        worker = server.worker()
        assert is_alive(worker)
    await eventually(lambda: not is_alive(worker))
