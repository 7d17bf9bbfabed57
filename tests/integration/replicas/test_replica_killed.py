"""Replicas are killed under load: order and rate are kept, and every visitor is admitted."""

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import aiohttp

from tests.gates import TIMEOUT, GateProcess, Origin
from tests.integration.ops.process_settings import settings, shared_servers
from tests.servers import EventsServer, StoreServer

TOKEN = "X-Queue-Token"
TRIES = 40  # a killed worker's connections break, and the next one needs a second to start


@dataclass
class App:
    """A visitor without cookies who uses any gate that responds."""

    urls: Sequence[str]
    session: aiohttp.ClientSession
    token: str = ""
    is_admitted: bool = False

    async def enqueue(self) -> None:
        async with self.session.post(f"{self.urls[0]}/.gatekeeper/enqueue") as response:
            assert response.status == 201
            self.token = (await response.json())["token"]

    @property
    def arrival_us(self) -> int:
        payload = self.token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(claims["arr"])

    async def request(self) -> None:
        for number in range(TRIES):
            try:
                await self._request(self.urls[number % len(self.urls)])
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
            else:
                return
        raise AssertionError("no gate responds")

    async def _request(self, url: str) -> None:
        headers = {TOKEN: self.token}
        async with self.session.get(f"{url}/.gatekeeper/status", headers=headers) as response:
            state = (await response.json())["state"]
            assert state in {"waiting", "admitted"}
            self.token = response.headers.get(TOKEN, self.token)
            self.is_admitted = state == "admitted"


async def kill_a_worker(gate: GateProcess, *, after_s: float) -> None:
    workers = gate.workers()
    assert len(workers) == 3
    await asyncio.sleep(after_s)
    os.kill(workers[0], signal.SIGKILL)


async def rates(admin_url: str) -> dict[str, int]:
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.get(f"{admin_url}/admin/status") as response,
    ):
        return (await response.json())["rooms"][0]  # type: ignore[no-any-return]


async def allow(admin_url: str, count: int) -> None:
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.post(f"{admin_url}/admin/allow?n={count}") as response,
    ):
        assert response.status == 200


async def test_killed_worker_keeps_order_under_load() -> None:
    connector = aiohttp.TCPConnector(limit=12)
    async with (
        Origin.running() as origin,
        aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
    ):
        toml = settings(origin.url, server="workers = 3", more='[admission]\nrate = "0"\n')
        with GateProcess(toml) as gate:
            await gate.wait_until_serving()
            apps = [App([gate.url], session) for _ in range(150)]
            await asyncio.gather(*(app.enqueue() for app in apps))
            await asyncio.gather(*(app.request() for app in apps))  # now they are in the queue
            apps.sort(key=lambda app: app.arrival_us)
            for granted in range(25, 151, 25):
                killing = None
                if granted in (50, 100):
                    killing = asyncio.create_task(kill_a_worker(gate, after_s=0.02))
                await allow(gate.admin_url, 25)
                async with asyncio.timeout(40):
                    while sum(app.is_admitted for app in apps) < granted:
                        await asyncio.gather(*(app.request() for app in apps))
                await asyncio.gather(*(app.request() for app in apps))
                assert [at for at, app in enumerate(apps) if app.is_admitted] == [*range(granted)]
                if killing:
                    await killing
                    await gate_is_whole(gate)
            status = await rates(gate.admin_url)
            assert status["arrived_total"] == 150
            assert status["released_total"] == status["admitted_total"] == 150
            assert status["abandoned_total"] == status["queue_length"] == 0
            assert gate.errors().count("worker_exited") == 2


async def gate_is_whole(gate: GateProcess) -> None:
    async with asyncio.timeout(40), aiohttp.ClientSession(timeout=TIMEOUT) as session:
        while True:
            async with session.get(f"{gate.admin_url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)


async def test_killed_gate_admits_no_more_than_the_rate(
    private_store: StoreServer, private_events: EventsServer
) -> None:
    per_second, burst = 20, 2
    more = f'[admission]\nrate = "{per_second}/s"\nburst = {burst}\n' + shared_servers(
        private_store.url, private_events.url
    )
    connector = aiohttp.TCPConnector(limit=12)
    async with (
        Origin.running() as origin,
        aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
    ):
        with ExitStack() as stack:
            gates = [
                stack.enter_context(GateProcess(settings(origin.url, more=more))) for _ in range(3)
            ]
            for gate in gates:
                await gate.wait_until_serving()
            urls = [gate.url for gate in gates]
            start_s = time.monotonic()
            apps = [App([*urls[n % 3 :], *urls[: n % 3]], session) for n in range(120)]
            await asyncio.gather(*(app.enqueue() for app in apps))
            killed = False
            async with asyncio.timeout(90):
                while waiting := [app for app in apps if not app.is_admitted]:
                    await asyncio.gather(*(app.request() for app in waiting))
                    elapsed_s = time.monotonic() - start_s
                    assert sum(app.is_admitted for app in apps) <= burst + per_second * elapsed_s
                    if elapsed_s > 1.5 and not killed:
                        gates[0].process.kill()
                        killed = True
            assert killed
            await asyncio.gather(*(app.request() for app in apps))
            assert all(app.is_admitted for app in apps)
            status = await rates(gates[1].admin_url)
            assert status["arrived_total"] == status["admitted_total"] == 120
            assert (status["abandoned_total"], status["queue_length"]) == (0, 0)
