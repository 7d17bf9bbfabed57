"""One gate and one origin behind all proxies, with separate rooms for each proxy.

Rules: the host of a request selects the room. `open.<proxy>.localhost` admits every visitor;
`line.<proxy>.localhost` admits only by grants; so does `stream.<proxy>.localhost`, which sends
updates as a stream. 127.0.0.1 is trusted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.builders import room_toml
from tests.gates import Gate
from tests.gates.gate import running_gate
from tests.gates.origin import Origin
from tests.integration.forward_auth.proxies import PROXIES, Proxy, ProxyServer, Replacement
from tests.servers import StoreServer

KINDS = ("open", "line", "stream")  # of rooms
_TOML = """
[server]
trusted_proxies = ["127.0.0.1"]
[store]
timeout = "10s"
[[rule]]
name = "free"
action = "bypass"
path = "/free/**"
[[rule]]
name = "partner"
action = "bypass"
client = ["203.0.113.9", "127.0.0.9"]
[[rule]]
name = "banned"
action = "block"
path = "/banned"
"""


@dataclass(frozen=True)
class Stage:
    """The gate and the origin behind all proxies."""

    gate: Gate
    origin: Origin
    store: StoreServer
    key: str

    def room(self, proxy: Proxy, kind: str) -> str:
        return f"{proxy.name}-{kind}-{self.key}"

    def cookies(self, proxy: Proxy) -> tuple[str, ...]:
        return tuple(f"gatekeeper-{self.room(proxy, kind)}" for kind in KINDS)

    @property
    def gate_port(self) -> int:
        return self.gate.worker.port

    @property
    def origin_port(self) -> int:
        return int(self.origin.url.rpartition(":")[2])

    @asynccontextmanager
    async def running(
        self,
        proxy: Proxy,
        *,
        gate_port: int | None = None,
        fail_open: bool = False,
        also: Replacement | None = None,
    ) -> AsyncIterator[RunningProxy]:
        """Run the proxy in front of them. `gate_port`: of another gate; `also`: another change of
        its files."""
        server = ProxyServer(
            proxy,
            gate=self.gate_port if gate_port is None else gate_port,
            origin=self.origin_port,
            cookies=self.cookies(proxy),
            fail_open=fail_open,
            also=also,
        )
        try:
            await asyncio.to_thread(server.start)  # it calls the gate in this process
            yield RunningProxy(proxy, server.url, self)
        finally:
            server.close()


@dataclass(frozen=True)
class RunningProxy:
    """One running proxy."""

    proxy: Proxy
    url: str
    stage: Stage


@asynccontextmanager
async def running_stage(store: StoreServer) -> AsyncIterator[Stage]:
    key = secrets.token_hex(4)
    rooms = "".join(
        room_toml(f"{each.name}-open-{key}", host=f"open.{each.name}.localhost", rate="60000/min")
        + room_toml(f"{each.name}-line-{key}", host=f"line.{each.name}.localhost", rate="0")
        + room_toml(
            f"{each.name}-stream-{key}",
            host=f"stream.{each.name}.localhost",
            rate="0",
            updates="stream",
        )
        for each in PROXIES
    )
    headers = {"Cache-Control": "public, max-age=60", "Set-Cookie": "shop=1; Path=/"}
    async with (
        Origin.running(headers=headers) as origin,
        running_gate(_TOML + rooms, store_url=store.url, origin_url="none") as gate,
    ):
        yield Stage(gate, origin, store, key)


@asynccontextmanager
async def hanging_gate() -> AsyncIterator[int]:
    """The port of a gate that responds only to health checks."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if b"/health" in await reader.readline():
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
