"""A gate of many replicas for benchmarks.

Each replica is a separate `gatekeeper serve`, on one real store and one real NATS, in front of an
origin with minimal cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from gatekeeper.process.embedded import EmbeddedServer, start_events, start_store
from tests.builders import SECRET
from tests.gates import GateProcess
from tests.integration.load.processes import memory_bytes, workers_of

_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nin\n"
_START_AT_ONCE = 2  # more at once would start too slowly
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Rig:
    """A running gate with its replicas."""

    gates: Sequence[GateProcess]
    store_url: str
    store_pid: int
    events_pid: int
    folder: Path  # of the store and NATS

    @property
    def urls(self) -> list[str]:
        return [gate.url for gate in self.gates]

    @property
    def admin_url(self) -> str:
        return self.gates[0].admin_url

    def workers(self) -> list[int]:
        return [pid for gate in self.gates for pid in workers_of(gate.process.pid)]

    def worker_memory_bytes(self) -> int:
        """The private memory of the largest worker."""
        return max(memory_bytes(pid) for pid in self.workers())

    async def admin(self, method: str, path: str) -> dict[str, Any]:
        """The JSON response of the admin listener of the first replica."""
        request = urllib.request.Request(self.admin_url + path, method=method)

        def call() -> Any:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)

        return cast(dict[str, Any], await asyncio.to_thread(call))

    async def room(self) -> dict[str, Any]:
        status = await self.admin("GET", "/admin/status")
        return cast(dict[str, Any], status["rooms"][0])


@asynccontextmanager
async def running_servers() -> AsyncIterator[tuple[Path, EmbeddedServer, EmbeddedServer]]:
    """A folder, and in it a real store and a real NATS."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gk-")))
        store = await start_store(folder)
        stack.push_async_callback(store.stop)
        events = await start_events(folder)
        stack.push_async_callback(events.stop)
        yield folder, store, events


@asynccontextmanager
async def running_rig(replicas: int, *, admission: str) -> AsyncIterator[Rig]:
    """`admission`: the lines of the configuration table `[admission]`."""
    async with AsyncExitStack() as stack:
        folder, store, events = await stack.enter_async_context(running_servers())
        loop = asyncio.get_running_loop()
        origin = await loop.create_server(_Origin, "127.0.0.1", 0)
        stack.callback(origin.close)
        origin_port = origin.sockets[0].getsockname()[1]
        toml = partial(
            _toml, origin_port, store_url=store.url, events_url=events.url, admission=admission
        )
        limiter = asyncio.Semaphore(_START_AT_ONCE)

        async def start() -> GateProcess:
            async with limiter:
                return await stack.enter_context(GateProcess(toml())).wait_until_serving()

        gates = await asyncio.gather(*(start() for _ in range(replicas)))
        yield Rig(gates, store.url, store.pid, events.pid, folder)


def cpu_s(*pids: int) -> float:
    """The CPU time of these processes so far, seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def peak_memory_bytes(pid: int) -> int:
    """The peak resident memory of the process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class _Origin(asyncio.Protocol):
    """The same response to every request; the gate sends no bodies and does not pipeline."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._last + data
        self._last = data[-3:]
        self._transport.write(_RESPONSE * data.count(b"\r\n\r\n"))


def _toml(origin_port: int, *, store_url: str, events_url: str, admission: str) -> str:
    return f"""
[server]
listen = "127.0.0.1:{free_port()}"
workers = 1
[origin]
url = "http://127.0.0.1:{origin_port}"
[store]
url = "{store_url}"
[events]
url = "{events_url}"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:{free_port()}"
[admission]
{admission}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
