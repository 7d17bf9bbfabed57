"""A real gate in front of a real origin of known capacity, and a crowd that keeps a line.

Rules: an admitted visitor makes `REQUESTS` requests on average. Each request waits for one of
`SERVERS` servers. `stop_half` stops half of the servers.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from benchmarks.rig import free_port
from tests.builders import SECRET
from tests.gates import GateProcess

SERVERS = 8
SERVICE_S = 0.2
REQUESTS = 4  # mean number per visitor
PAUSE_S = 1.5
_IN_LINE = 40
PATIENCE_S = 30.0  # a visitor leaves when one response takes longer
_POLL_S = 1.0


class LimitedOrigin:
    """An aiohttp application. Its requests wait for one of `SERVERS` servers, in order of
    arrival."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._servers = asyncio.Semaphore(SERVERS)
        self._sigma = math.sqrt(math.log(1 + 0.5**2))
        self.served: list[float] = []  # when each request was served, monotonic

    async def respond(self, _: web.Request) -> web.Response:
        async with self._servers:
            mean = math.log(SERVICE_S) - self._sigma**2 / 2
            await asyncio.sleep(math.exp(self._rng.gauss(mean, self._sigma)))
        self.served.append(time.monotonic())
        return web.Response(text="in")

    async def stop_half(self) -> None:
        for _ in range(SERVERS // 2):
            await self._servers.acquire()

    def start_half(self) -> None:
        for _ in range(SERVERS // 2):
            self._servers.release()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.respond)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port := free_port())
        await site.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


@dataclass
class Crowd:
    """Visitors of one gate. Keeps a line, and records the responses to admitted visitors."""

    url: str
    session: aiohttp.ClientSession
    rng: random.Random
    waiting: int = 0
    entered: list[float] = field(default_factory=list)  # when, monotonic
    responses: list[tuple[float, float, bool]] = field(default_factory=list)  # end, s, failed
    problems: list[str] = field(default_factory=list)

    async def keep_a_line(self) -> None:
        """Keep a line until cancelled."""
        async with asyncio.TaskGroup() as visitors:
            while True:
                for _ in range(_IN_LINE - self.waiting):
                    self.waiting += 1
                    visitors.create_task(self._visit())
                await asyncio.sleep(0.05)

    async def _visit(self) -> None:
        cookies: dict[str, str] = {}
        try:
            is_admitted = await self._wait(cookies)
        finally:
            self.waiting -= 1
        if not is_admitted:
            return
        self.entered.append(time.monotonic())
        for number in range(self.rng.randint(REQUESTS // 2, REQUESTS * 3 // 2)):
            if number:
                await asyncio.sleep(self.rng.expovariate(1 / PAUSE_S))
            began_s = time.monotonic()
            try:
                status, _ = await self._get("/page", cookies)
            except (TimeoutError, aiohttp.ClientError):
                self.responses.append((time.monotonic(), time.monotonic() - began_s, True))
                return
            ended_s = time.monotonic()
            self.responses.append((ended_s, ended_s - began_s, status >= 500))

    async def _wait(self, cookies: dict[str, str]) -> bool:
        try:
            _, body = await self._get("/page", cookies)
            while True:
                await asyncio.sleep(_POLL_S * self.rng.uniform(0.9, 1.1))
                _, body = await self._get("/.gatekeeper/status", cookies)
                if json.loads(body)["state"] == "admitted":
                    return True
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            self.problems.append(f"in line: {type(error).__name__}")
            return False

    async def _get(self, path: str, cookies: dict[str, str]) -> tuple[int, bytes]:
        headers = {"Accept": "text/html"}
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        async with self.session.get(self.url + path, headers=headers) as response:
            body = await response.read()
            cookies.update((name, morsel.value) for name, morsel in response.cookies.items())
            return response.status, body


@dataclass(frozen=True)
class Room:
    """One gate, its origin and its crowd."""

    gate: GateProcess
    origin: LimitedOrigin
    crowd: Crowd
    rates: list[tuple[float, float]]  # when, and admissions per minute


@asynccontextmanager
async def running_room(admission: str, *, seed: int) -> AsyncIterator[Room]:
    origin = LimitedOrigin(seed)
    async with origin.running() as origin_url:
        with GateProcess(_toml(origin_url, admission)) as gate:
            await gate.wait_until_serving()
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
            ) as session:
                crowd = Crowd(gate.url, session, random.Random(seed))
                yield Room(gate, origin, crowd, [])


def _toml(origin_url: str, admission: str) -> str:
    return f"""
[server]
listen = "127.0.0.1:{free_port()}"
[origin]
url = "{origin_url}"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:{free_port()}"
[admission]
{admission}
"""


async def watch(room: Room) -> None:
    """Read the rate each second, until cancelled."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(TimeoutError, aiohttp.ClientError):
                async with session.get(f"{room.gate.admin_url}/admin/status") as response:
                    status = (await response.json())["rooms"][0]
                room.rates.append((time.monotonic(), status["rate_per_minute"]))
            await asyncio.sleep(1.0)
