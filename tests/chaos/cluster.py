"""The processes of a chaos run: a store, NATS, an origin and gates.

Every process here is started here and ended here. The deadlines of the room are shorter by the
factor `speedup`. The clocks of the gates are minutes apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.builders import SECRET
from tests.chaos.faults import Fault, environment
from tests.gates import GateProcess
from tests.servers import EventsServer, StoreServer

RATE_PER_S, BURST = 20, 10
_CLOCK_ERRORS_S = (7 * 60.0, -9 * 60.0, 0.0)  # one for each gate, in turn
_ADMIN_TIMEOUT_S = 10.0
_MAX_LOG_LINES, _MAX_LOG_CHARS = 20, 2000
_ORIGIN_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nin\n"


@dataclass(slots=True)
class Cluster:
    """Servers and gates. The first gate is never killed as a whole: its admin listener is used."""

    store: StoreServer
    events: EventsServer
    gates: list[GateProcess]
    toml: str
    environments: list[dict[str, str]]  # one for each gate
    logs: list[str] = field(default_factory=list)  # of killed gates

    @property
    def admin_url(self) -> str:
        return self.gates[0].admin_url

    async def restart(self, index: int) -> None:
        """Start a killed gate again, at the same addresses."""
        gate = self.gates[index]
        self.logs.append(gate.errors())
        gate.__exit__(None, None, None)
        toml = _listening_as(gate, self.toml)
        self.gates[index] = gate = GateProcess(toml, state=None, **self.environments[index])
        await gate.wait_until_serving()

    async def post(self, path: str, *, json: Mapping[str, str] | None = None) -> bool:
        """Call the admin listener. False without a 2xx: the change may still have been made."""
        timeout = aiohttp.ClientTimeout(total=_ADMIN_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.admin_url + path, json=json) as response,
            ):
                return response.ok
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def room(self) -> dict[str, Any] | None:
        """The room as reported by the admin listener; None without a complete response."""
        timeout = aiohttp.ClientTimeout(total=_ADMIN_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.admin_url + "/admin/status") as response,
            ):
                room: dict[str, Any] = (await response.json())["rooms"][0]
                return room if "released_total" in room else None
        except (aiohttp.ClientError, TimeoutError, KeyError):
            return None

    def logged_exceptions(self) -> list[str]:
        """The first unexpected errors in the logs of all gates, also of the killed ones."""
        logs = [*self.logs, *(gate.errors() for gate in self.gates)]
        lines = [line for log in logs for line in log.splitlines()]
        found = [line for line in lines if '"exception"' in line or "Traceback" in line]
        return [line[:_MAX_LOG_CHARS] for line in found[:_MAX_LOG_LINES]]

    def close(self) -> None:
        for gate in self.gates:
            gate.__exit__(None, None, None)


@asynccontextmanager
async def running_cluster(
    fault: Fault | None, *, gates: int, workers: int, speedup: float, max_active: int
) -> AsyncIterator[Cluster]:
    """A cluster whose gates serve, with `workers` each."""
    async with AsyncExitStack() as stack:
        environments = [
            stack.enter_context(environment(fault, clock_error_s=_CLOCK_ERRORS_S[index % 3]))
            for index in range(gates)
        ]
        store = stack.enter_context(StoreServer())
        events = stack.enter_context(EventsServer())
        origin = await asyncio.start_server(_respond, "127.0.0.1", 0)
        stack.callback(origin.close)
        toml = _toml(
            origin.sockets[0].getsockname()[1],
            store,
            events,
            workers=workers,
            speedup=speedup,
            max_active=max_active,
        )
        processes = [GateProcess(toml, state=None, **each) for each in environments]
        cluster = Cluster(store, events, processes, toml, environments)
        stack.callback(cluster.close)
        await asyncio.gather(*(gate.wait_until_serving() for gate in cluster.gates))
        yield cluster


def claim_timeout_s(speedup: float) -> float:
    """Of the room: a minute of the sale, but long enough for a visitor that polls late."""
    return max(60 / speedup, 8)


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The origin; requests of the crowd have no bodies."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(_ORIGIN_RESPONSE)
    writer.close()


def _toml(
    origin_port: int,
    store: StoreServer,
    events: EventsServer,
    *,
    workers: int,
    speedup: float,
    max_active: int,
) -> str:
    durations = {
        "confirm_timeout": max(20 / speedup, 5),
        "heartbeat_timeout": max(90 / speedup, 9),
        "claim_timeout": claim_timeout_s(speedup),
        "place_ttl": max(600 / speedup, 60),
        "session_idle_timeout": max(1800 / speedup, 60),
        "session_absolute_timeout": max(14400 / speedup, 240),
    }
    admission = "\n".join(f'{key} = "{seconds:.1f}s"' for key, seconds in durations.items())
    return f"""
[server]
listen = "127.0.0.1:0"
workers = {workers}
shutdown_timeout = "2s"
[origin]
url = "http://127.0.0.1:{origin_port}"
[admission]
rate = "{RATE_PER_S}/s"
burst = {BURST}
max_active = {max_active}
{admission}
[store]
url = "{store.url}"
timeout = "400ms"
[events]
url = "{events.url}"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:0"
"""


def _listening_as(gate: GateProcess, toml: str) -> str:
    """The same configuration at the addresses of `gate`."""
    public, admin = (url.removeprefix("http://") for url in (gate.url, gate.admin_url))
    first, _, rest = toml.partition('listen = "127.0.0.1:0"')
    return f'{first}listen = "{public}"' + rest.replace("127.0.0.1:0", admin)
