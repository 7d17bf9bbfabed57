"""`gatekeeper serve --domain … --origin …` suffices for an edge."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from tests.gates import GateProcess, is_alive
from tests.gates.http_visitor import TIMEOUT, OneMachine
from tests.gates.origin import Origin
from tests.integration.edge.acme_stage import edge_pid
from tests.ports import free_port
from tests.servers import eventually

pytestmark = pytest.mark.timeout(120)

SHOP, WWW = "shop.localhost", "www.localhost"  # Caddy itself certifies names below `localhost`


class Command:
    """The command with its own ports, since tests run in parallel."""

    def __init__(self, origin: Origin) -> None:
        self.http, self.https = free_port(), free_port()
        self._origin = origin

    def gate(self, *, toml: str = "", state: Path | None = None) -> GateProcess:
        return GateProcess(
            toml,
            *("--domain", SHOP, "--domain", WWW, "--origin", self._origin.url),
            state=state,
            GATEKEEPER_EDGE__HTTP_PORT=str(self.http),
            GATEKEEPER_EDGE__HTTPS_PORT=str(self.https),
            GATEKEEPER_ADMIN__LISTEN="127.0.0.1:0",
        )

    def session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=False, resolver=OneMachine())
        return aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)

    async def enters(self, session: aiohttp.ClientSession, domain: str) -> bool:
        """Whether the site responds, with a pass of the gate. The certificate is issued after the
        start."""
        with suppress(aiohttp.ClientConnectionError):
            async with session.get(f"https://{domain}:{self.https}/cart") as response:
                return response.status == 200
        return False


async def test_domain_and_origin_are_all_that_an_edge_needs() -> None:
    async with Origin.running() as origin:
        command = Command(origin)
        with command.gate() as gate:
            await gate.wait_until_serving()
            assert gate.url == f"https://{SHOP}:{command.https}"
            async with command.session() as session:
                for domain in (SHOP, WWW):
                    await eventually(partial(command.enters, session, domain))
                    assert origin.requests[-1].headers["Host"] == f"{domain}:{command.https}"
                    [cookie] = session.cookie_jar.filter_cookies(URL(f"https://{domain}"))
                    assert cookie == "__Host-gatekeeper"
                plain = f"http://{SHOP}:{command.http}/cart"
                async with session.get(plain, allow_redirects=False) as response:
                    assert response.status == 308
                    assert response.headers["Location"] == f"{gate.url}/cart"
            assert await gate.stop() == 0


async def test_edge_of_a_killed_gate_makes_room_for_the_next(tmp_path: Path) -> None:
    """Also while a response is in progress, which a client can delay without limit."""
    async with Origin.running() as origin:
        origin.go.clear()
        command = Command(origin)
        toml = '[server]\nshutdown_timeout = "60s"\n'
        with command.gate(toml=toml, state=tmp_path) as killed:
            await killed.wait_until_serving()
            async with command.session() as session:
                await eventually(partial(command.enters, session, SHOP))
                async with session.get(f"{killed.url}/stream") as response:
                    assert await response.content.readexactly(5) == b"begin"
                    edge = edge_pid(killed)
                    assert is_alive(edge)
                    killed.process.kill()
                    await eventually(lambda: not is_alive(edge))
            with command.gate(toml=toml, state=tmp_path) as following:
                await following.wait_until_serving()
                async with command.session() as session:
                    await eventually(partial(command.enters, session, SHOP))
                origin.go.set()
                assert await following.stop() == 0
