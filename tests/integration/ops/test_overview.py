"""What the control room receives from one gate about itself and the others."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from gatekeeper.admin.monitor import Monitor
from gatekeeper.config.types import RoomName
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from tests.admin import room_of, running_admin
from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings, shared_servers
from tests.patient_store import PatientStore
from tests.servers import StoreServer

SECRET = "a secret of the tests, longer than 32 bytes"


async def overview(operator: Visitor, after: float = 0) -> dict[str, Any]:
    response = await operator.request("GET", f"/admin/overview?after={after}")
    assert response.status == 200
    return response.json


def shared(origin_url: str, name: RoomName, *, store_url: str, events_url: str) -> str:
    """The configuration of a gate that shares all servers with another."""
    more = f"""{shared_servers(store_url, events_url)}
[[room]]
name = "{name}"
rate = "0"
[[room]]
name = "{name}-open"
path = "/open/"
rate = "1000/s"
burst = 1000
"""
    return settings(origin_url, more=more)


async def until(operator: Visitor, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first overview that fulfils the condition."""

    async def look() -> dict[str, Any] | None:
        response = await overview(operator)
        return response if seen(response) else None

    return await found(look)


async def found(look: Callable[[], Awaitable[dict[str, Any] | None]]) -> dict[str, Any]:
    """The first that `look` finds."""
    async with asyncio.timeout(40):
        while True:
            if (response := await look()) is not None:
                return response
            await asyncio.sleep(0.1)


def busy(response: dict[str, Any]) -> int:
    """The number of rows, one per replica and one for all, with a recent admission."""
    at = response["replica_fields"].index("admitted")
    return (
        sum(bool(row[at]) for row in response["now"]["replicas"].values()) if response["now"] else 0
    )


def is_silent(response: dict[str, Any]) -> bool:
    return any("1 of 2 replicas is not reporting" in each["text"] for each in response["situation"])


async def test_overview_has_replicas_of_every_process_group(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    async with Origin.running() as origin:
        toml = shared(origin.url, room_name, store_url=store_url, events_url=events_url)
        with GateProcess(toml) as one, GateProcess(toml) as other:
            await asyncio.gather(one.wait_until_serving(), other.wait_until_serving())
            async with Visitor(one.admin_url) as here, Visitor(other.url) as visitor:
                assert (await visitor.join())["state"] == "waiting"

                async def come_and_look() -> dict[str, Any] | None:
                    async with Visitor(other.url) as newcomer:
                        await newcomer.get("/open/")
                    response = await overview(here)
                    return response if len(response["replicas"]) == 2 == busy(response) else None

                response = await found(come_and_look)
                assert sorted(each["own"] for each in response["replicas"]) == [False, True]
                assert [each["room"] for each in response["rooms"]] == [
                    room_name,
                    f"{room_name}-open",
                ]
                row = response["now"]["rooms"][room_name]
                room = dict(zip(response["room_fields"], row, strict=True))
                assert (room["queue"], room["limit"]) == (1, 0)
                [worker] = other.workers()
                os.kill(worker, signal.SIGSTOP)
                await until(here, is_silent)
                os.kill(worker, signal.SIGCONT)
                assert await other.stop() == 0
                response = await until(here, lambda response: len(response["replicas"]) == 1)
                assert not is_silent(response)


async def test_overview_returns_past_and_missed_samples(
    store_url: str, room_name: RoomName
) -> None:
    now_s = 1_000_000.0
    monitor = Monitor([], NoEvents(), own=list, wall_s=lambda: now_s, monotonic_s=lambda: now_s)
    async with running_admin(store_url, room_name, monitor=monitor) as admin:
        for _ in range(4_000):  # more than an hour, in seconds
            await monitor.refresh()
            now_s += 1
        response = await overview(admin)
        assert len(response["samples"]) == response["kept_s"] / response["every_s"] == 720
        times = [each["at"] for each in response["samples"]]
        assert times[-1] - times[0] == 719 * 5
        missed = (await overview(admin, after=times[-3]))["samples"]
        assert [each["at"] for each in missed] == times[-2:]
        for bad in ("x", "-1", "nan", "inf", ""):
            assert (await admin.request("GET", f"/admin/overview?after={bad}")).status == 400


async def test_overview_of_unreachable_store_keeps_last_figures(
    private_store: StoreServer, room_name: RoomName
) -> None:
    store = PatientStore(private_store.url)
    operator = Operator(store, NoEvents(), room_of(room_name))
    monitor = Monitor([operator], NoEvents(), own=list)
    async with running_admin(private_store.url, room_name, monitor=monitor) as admin:
        assert (await overview(admin))["situation"] == []  # nothing was measured yet
        await monitor.refresh()
        private_store.kill()
        await monitor.refresh()
        response = await overview(admin)
        assert response["situation"][0]["text"].startswith("Store unreachable since {since}: ")
        assert response["now"]["rooms"][room_name][response["room_fields"].index("queue")] is None
        assert response["rooms"][0]["room"] == room_name
        private_store.restart()
        await monitor.refresh()
        response = await overview(admin)
        assert response["situation"][0]["text"] == "The line is empty, 0 of 7 active."
    await operator.close()
    await store.close()
