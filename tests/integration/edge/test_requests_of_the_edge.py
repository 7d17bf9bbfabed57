"""What a worker trusts on the socket of the edge, on the fast path and with aiohttp only."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gatekeeper.process.commands import WorkerPlan
from gatekeeper.process.worker import Worker
from tests.builders import SECRET, parse_config, room_toml
from tests.gates.http_visitor import HTML, TIMEOUT
from tests.gates.origin import Origin

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(60)]

VISITOR = "203.0.113.7"
CDN = "198.51.100.1"
CLAIMS = ("X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Original-URL", "X_Real_IP")


@dataclass(frozen=True)
class Side:
    """A worker with the edge's socket and a port, and its origin."""

    worker: Worker
    origin: Origin
    socket: str
    line: str  # a room that admits no visitor, at /line/

    def edge(self) -> aiohttp.ClientSession:
        """A request of the edge on its socket."""
        connector = aiohttp.UnixConnector(self.socket)
        return aiohttp.ClientSession(
            "http://shop.example.com", connector=connector, timeout=TIMEOUT
        )

    def direct(self) -> aiohttp.ClientSession:
        """A request of a client to the port."""
        url = f"http://127.0.0.1:{self.worker.port}"
        headers = {"Host": "shop.example.com"}
        return aiohttp.ClientSession(url, headers=headers, timeout=TIMEOUT)


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=[True, False], ids=["fast path", "aiohttp"]
)
async def side(request: pytest.FixtureRequest, store_url: str) -> AsyncIterator[Side]:
    key = secrets.token_hex(4)
    async with Origin.running() as origin:
        with TemporaryDirectory() as folder:  # of mode 0700
            toml = f'[server]\ntrusted_proxies = ["{CDN}"]\n[origin]\nurl = "{origin.url}"\n'
            toml += room_toml(f"open-{key}", rate="60000/min")
            toml += room_toml(f"line-{key}", path="/line/", rate="0", updates="stream")
            config = parse_config(toml, folder=Path(folder))
            plan = WorkerPlan(config, store_url, "off", (SECRET,), "127.0.0.1", 0)
            path = f"{folder}/worker.sock"
            worker = Worker(replace(plan, edge_socket=path), fast_path=request.param)
            await worker.start()
            try:
                yield Side(worker, origin, path, f"line-{key}")
            finally:
                await worker.close()


def through(*addresses: str, **fields: str) -> dict[str, str]:
    """The fields that the edge sets for a client at the last of `addresses`."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {
        "X-Forwarded-For": ", ".join(addresses),
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example.com",
    } | named


async def received(side: Side, session: aiohttp.ClientSession, **options: Any) -> dict[str, str]:
    """The fields of a request of an admitted visitor, as the origin received them."""
    for _ in range(2):  # the second one has the pass
        async with session.get("/cart", **options) as response:
            assert response.status == 200
    return dict(side.origin.requests[-1].headers)


async def test_address_and_scheme_of_the_visitor_reach_the_origin(side: Side) -> None:
    async with side.edge() as session:
        fields = await received(side, session, headers=through(VISITOR))
    assert fields["X-Forwarded-For"] == VISITOR
    assert fields["X-Forwarded-Proto"] == "https"
    assert fields["X-Forwarded-Host"] == "shop.example.com"


async def test_two_visitors_on_one_connection_keep_their_addresses(side: Side) -> None:
    async with side.edge() as session:
        for visitor in (VISITOR, "2001:db8::9", VISITOR):
            fields = await received(side, session, headers=through(visitor))
            assert fields["X-Forwarded-For"] == visitor


@pytest.mark.parametrize("claim", CLAIMS)
async def test_claims_of_a_visitor_are_removed(side: Side, claim: str) -> None:
    async with side.edge() as session:
        headers = through(VISITOR) | {claim: "/admin"}
        assert claim not in await received(side, session, headers=headers)


async def test_trusted_proxy_in_front_of_the_edge_is_believed(side: Side) -> None:
    async with side.edge() as session:
        headers = through(VISITOR, CDN) | {"X-Real-IP": VISITOR}
        fields = await received(side, session, headers=headers)
    assert (fields["X-Forwarded-For"], fields["X-Real-IP"]) == (VISITOR, VISITOR)


async def test_port_believes_no_field_of_the_edge(side: Side) -> None:
    async with side.direct() as session:
        fields = await received(side, session, headers=through(VISITOR) | {"X-Real-IP": VISITOR})
    assert (fields["X-Forwarded-For"], fields["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert "X-Real-IP" not in fields


async def test_visitor_may_not_ask_as_a_proxy(side: Side) -> None:
    async with side.edge() as session:
        asked = through(VISITOR, X_Forwarded_Uri="/cart", X_Forwarded_Method="GET")
        async with session.get("/.gatekeeper/auth", headers=asked) as response:
            assert response.status == 403


async def test_cookie_depends_on_the_socket_not_on_the_fields(side: Side) -> None:
    """The same bytes on the port and on the socket, in both orders."""
    async with side.edge() as edge, side.direct() as direct:
        for round_ in range(2):
            for session, prefix in ((direct, "gatekeeper-"), (edge, "__Host-gatekeeper-")):
                headers = through(VISITOR) | HTML | {"X-Round": str(round_)}
                for _ in range(2):
                    session.cookie_jar.clear()
                    async with session.get("/line/x", headers=headers) as response:
                        assert response.status == 503
                        assert response.headers["Set-Cookie"].startswith(prefix + side.line)


async def test_events_stream_on_the_socket(side: Side) -> None:
    async with side.edge() as session:
        headers = through(VISITOR)
        async with session.get("/line/x", headers=headers | HTML) as page:
            cookie = page.headers["Set-Cookie"].partition(";")[0]
        status = f"/.gatekeeper/status?room={side.line}"
        headers |= {"Cookie": cookie}
        async with session.get(status, headers=headers) as polled:
            assert (await polled.json())["position"] is not None
        headers |= {"Accept": "text/event-stream"}
        async with session.get(status, headers=headers) as stream:
            is_stream = stream.headers["Content-Type"] == "text/event-stream"
            assert is_stream == side.worker._with_fast_path
            assert await stream.content.readline()
