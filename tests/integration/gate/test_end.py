"""A replica that ends lets what is under way finish."""

import asyncio

from gatekeeper.config.types import RoomName
from tests.gates import Origin, Visitor, room, running_gate
from tests.servers import eventually


async def test_an_answer_under_way_is_finished_and_its_connection_closed(
    store_url: str, room_name: RoomName
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        await visitor.get()
        await visitor.get()
        slow = asyncio.create_task(visitor.get("/slow"))
        await eventually(lambda: len(origin.requests) == 3)
        closing = asyncio.create_task(gate.worker.close())
        done, _ = await asyncio.wait({closing}, timeout=0.1)
        assert not done
        origin.go.set()
        assert (await slow)[0] == 200
        await asyncio.wait_for(closing, 5)


async def test_an_origin_that_ends_as_well_is_still_answered_for(
    store_url: str, room_name: RoomName
) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        await visitor.get()
        await visitor.get()
        slow = asyncio.create_task(visitor.get("/slow"))
        await eventually(lambda: len(origin.requests) == 3)
        closing = asyncio.create_task(gate.worker.close())
        await origin.stop()
        status, text = await slow
        assert status == 502
        assert "Your place is kept" in text
        await asyncio.wait_for(closing, 5)
        assert gate.worker._server is not None
        assert gate.worker._server.connections == []


async def test_an_idle_connection_delays_nothing(store_url: str, room_name: RoomName) -> None:
    async with (
        Origin.running() as origin,
        running_gate(room(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
        Visitor(gate) as waiting,
    ):
        await visitor.get()
        await visitor.get()
        await waiting.ask("POST", "/.gatekeeper/enqueue")
        await asyncio.wait_for(gate.worker.close(), 2)
