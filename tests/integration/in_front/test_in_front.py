"""Each proxy in front of a gate with its configuration: TLS, HTTP/2, and what reaches the gate."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import trustme

from tests.builders import room_toml
from tests.gates import Gate
from tests.gates.gate import running_gate
from tests.gates.http_visitor import HTML, TIMEOUT, OneMachine
from tests.gates.origin import Origin
from tests.integration.forward_auth.proxies import CLAIMING_FIELDS, Proxy
from tests.integration.in_front.front_proxies import FRONTS, HOST, FrontServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(90)]

FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Real-IP": "203.0.113.9",
}


@dataclass(frozen=True)
class Front:
    """A running proxy, the gate and the origin behind it."""

    server: FrontServer
    gate: Gate
    origin: Origin
    authority: trustme.CA
    line: str  # a room that admits no visitor, at /line/

    def session(self) -> aiohttp.ClientSession:
        """A browser or app at 127.0.0.2, which is not trusted."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        connector = aiohttp.TCPConnector(
            ssl=context, resolver=OneMachine(), local_addr=("127.0.0.2", 0)
        )
        return aiohttp.ClientSession(self.server.tls_url, connector=connector, timeout=TIMEOUT)


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=FRONTS, ids=lambda proxy: proxy.name
)
async def front(request: pytest.FixtureRequest, store_url: str) -> AsyncIterator[Front]:
    proxy: Proxy = request.param
    key = secrets.token_hex(4)
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    toml += room_toml(f"open-{key}", rate="60000/min")
    toml += room_toml(f"line-{key}", path="/line/", rate="0", updates="stream")
    authority = trustme.CA()
    async with (
        Origin.running() as origin,
        running_gate(toml, store_url=store_url, origin_url=origin.url) as gate,
    ):
        server = FrontServer(proxy, authority, gate=gate.worker.port)
        try:
            await asyncio.to_thread(server.start)
            yield Front(server, gate, origin, authority, f"line-{key}")
        finally:
            server.close()


async def curl(front: Front, path: str, *options: str) -> str:
    """Head and body of a response over HTTP/2."""
    file = front.server.home / "authority.pem"
    front.authority.cert_pem.write_to_path(str(file))
    port = front.server.tls_port
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--include", "--http2", "--max-time", "15"),
        *("--cacert", str(file), "--resolve", f"{HOST}:{port}:127.0.0.1"),
        *("--interface", "127.0.0.2", *options, f"{front.server.tls_url}{path}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def test_visitor_is_served_over_http2(front: Front) -> None:
    forged = [word for each in FORGED.items() for word in ("-H", ": ".join(each))]
    response = await curl(front, "/cart?a=b", *forged)
    assert response.startswith("HTTP/2 200"), response
    assert "set-cookie: __Host-gatekeeper-open-" in response.lower().replace("__host", "__Host")
    assert "; Secure" in response
    received = front.origin.requests[-1].headers
    assert received["X-Forwarded-For"] == "127.0.0.2"
    assert received["X-Forwarded-Proto"] == "https"
    assert received["X-Forwarded-Host"] == f"{HOST}:{front.server.tls_port}"
    assert received["Host"] == f"{HOST}:{front.server.tls_port}"


@pytest.mark.parametrize("claims", CLAIMING_FIELDS, ids=lambda fields: next(iter(fields)))
async def test_claims_of_a_client_do_not_reach_the_site(
    front: Front, claims: Mapping[str, str]
) -> None:
    async with front.session() as session, session.get("/cart", headers=claims) as response:
        assert response.status == 200
    assert "/claim" not in front.origin.requests[-1].headers.values()


async def test_cookie_comes_back_and_is_the_same_visitor(front: Front) -> None:
    async with front.session() as session:
        visitors = set()
        for _ in range(3):
            async with session.get("/cart") as response:
                assert response.status == 200
                visitors.add((await response.json())["visitor"])
        assert len(visitors) == 1
        async with session.post("/pay", data=b"x" * 300_000) as response:
            assert (await response.json())["length"] == 300_000


async def test_response_of_the_site_streams_unbuffered(front: Front) -> None:
    front.origin.go.clear()
    async with front.session() as session, session.get("/stream") as response:
        async with asyncio.timeout(40):
            assert await response.content.readexactly(5) == b"begin"
        front.origin.go.set()
        assert await response.content.read() == b"end"


async def test_line_is_shown_and_streams_unbuffered(front: Front) -> None:
    """After requests with a body: the gate streams only on connections without earlier bodies, so
    polls have separate connections."""
    async with front.session() as session:
        async with session.get("/line/x", headers=HTML) as page:
            assert (page.status, page.headers["Cache-Control"]) == (503, "no-store")
            assert page.headers["Set-Cookie"].startswith(f"__Host-gatekeeper-{front.line}=")
        async with session.get("/cart") as response:
            assert response.status == 200
        for _ in range(5):
            async with session.post("/pay", data=b"x") as response:
                assert response.status == 200
        status = f"/.gatekeeper/status?room={front.line}"
        async with session.get(status) as polled:
            assert (await polled.json())["position"] is not None
        events = {"Accept": "text/event-stream"}
        async with session.get(status, headers=events) as stream, asyncio.timeout(40):
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert await stream.content.readline()  # the stream stays open


async def test_websocket_passes(front: Front) -> None:
    async with front.session() as session:
        async with session.get("/cart") as response:  # without a pass it is refused
            assert response.status == 200
        async with session.ws_connect("/ws") as socket_:
            await socket_.send_str("hello")
            assert await socket_.receive_str(timeout=10) == "echo hello"


async def test_http_is_redirected_before_a_place_is_taken(front: Front) -> None:
    before = len(front.origin.requests)
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.get(
            f"{front.server.url}/line/x?a=b", headers=HTML | {"Host": HOST}, allow_redirects=False
        ) as response,
    ):
        assert response.status in {301, 308}
        address = response.headers["Location"]
        assert address.startswith(f"https://{HOST}")
        assert address.endswith("/line/x?a=b")
        assert "Set-Cookie" not in response.headers
    assert len(front.origin.requests) == before


async def test_health_check_is_no_visitor(front: Front) -> None:
    before = len(front.origin.requests)
    async with front.session() as session, session.get("/.gatekeeper/health") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
        assert "Set-Cookie" not in response.headers
    assert len(front.origin.requests) == before


def checked_paths(text: str) -> set[str]:
    return {
        word.strip("{},()`;")
        for word in text.replace("Path(`", " ").split()
        if word.startswith("/.gatekeeper/")
    }


@pytest.mark.parametrize("proxy", FRONTS, ids=lambda proxy: proxy.name)
async def test_configured_health_checks_are_the_gates_own(proxy: Proxy) -> None:
    folder = Path(__file__).parents[3] / "deploy" / "in-front"
    texts = "".join((folder / name).read_text() for name in proxy.files)
    own: Any = checked_paths(texts)
    assert own == (
        {"/.gatekeeper/status"} | (set() if proxy.name == "nginx" else {"/.gatekeeper/health"})
    )
