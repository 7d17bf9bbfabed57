"""The edge as visitors, the origin and other users of the machine see it."""

from __future__ import annotations

import asyncio
import json
import secrets
import stat

import aiohttp
import pytest
from yarl import URL

from tests.gates.http_visitor import HTML, TIMEOUT
from tests.integration.edge.acme_stage import (
    SHOP,
)
from tests.integration.edge.edge_stage import Edge
from tests.integration.edge.http3 import get_over_http3
from tests.servers import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(150)]

FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "X-Original-URL": "/admin",
}


async def test_certificate_is_obtained_and_logged_once(edge: Edge) -> None:
    assert edge.gate.url == edge.stage.url()
    obtained = [line for line in edge.gate.logs() if line["event"] == "certificate_obtained"]
    assert [line["domain"] for line in obtained] == [SHOP]


async def test_status_and_metrics_have_the_certificate(edge: Edge) -> None:
    status = await eventually(lambda: edge.status(f"{SHOP}: certificate valid until "))
    assert "Caddy Local Authority" in status
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        async with session.get(f"{edge.gate.admin_url}/metrics") as response:
            assert "gatekeeper_edge_up 1.0" in await response.text()
        async with session.get(f"{edge.gate.admin_url}/admin/overview") as response:
            overview = await response.json()
    [certificate] = overview["edge"]["certificates"]
    assert (certificate["domain"], certificate["state"]) == (SHOP, "valid")


async def test_handshakes_are_counted(edge: Edge) -> None:
    """Full handshakes of HTTP/1.1, 2 and 3, and failed ones over TCP. The gate's own check adds
    some."""

    async def counted() -> tuple[int, int]:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(f"{edge.gate.admin_url}/admin/overview") as response,
        ):
            found = (await response.json())["edge"]["handshakes"]
            return found["full"], found["failed"]

    async def have_risen(full: int, failed: int) -> bool:
        now = await counted()
        return now[0] >= before[0] + full and now[1] >= before[1] + failed

    stage = edge.stage
    before = await counted()
    for _ in range(20):
        assert await stage.serves()
    await eventually(lambda: have_risen(20, 0))
    before = await counted()
    for _ in range(20):
        await get_over_http3(SHOP, stage.https_port, "/cart", root=str(stage.authority.root))
    await eventually(lambda: have_risen(20, 0))
    before = await counted()
    for _ in range(20):
        assert await stage.serial("evil.example") == 0
    await eventually(lambda: have_risen(20, 20))
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as admin,
        admin.get(f"{edge.gate.admin_url}/metrics") as response,
    ):
        assert "gatekeeper_edge_failed_handshakes_total" in await response.text()
    assert await edge.status("TLS handshakes in the last minute: ")


async def test_returning_visitor_resumes_the_session(edge: Edge) -> None:
    context = edge.stage.trusting
    session = await asyncio.to_thread(edge.stage.session_after, context, None)
    assert session is not None
    assert await asyncio.to_thread(edge.stage.session_after, context, session) is not session


async def test_http2_visitor_is_served_and_not_believed(edge: Edge) -> None:
    stage = edge.stage
    forged = [word for each in FORGED.items() for word in ("-H", ": ".join(each))]
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--include", "--http2", "--max-time", "15"),
        *("--cacert", str(stage.authority.root), "--interface", "127.0.0.2"),
        *("--resolve", f"{SHOP}:{stage.https_port}:127.0.0.1"),
        *(*forged, f"{stage.url()}/cart?a=b"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    response = out.decode()
    assert response.startswith("HTTP/2 200"), response
    assert "set-cookie: __Host-gatekeeper-open=" in response
    assert f'alt-svc: h3=":{stage.https_port}"' in response
    received = stage.origin.requests[-1].headers
    assert received["X-Forwarded-For"] == "127.0.0.2"
    assert received["X-Forwarded-Proto"] == "https"
    assert received["X-Forwarded-Host"] == received["Host"] == f"{SHOP}:{stage.https_port}"
    assert not {"Forwarded", "X-Real-IP", "X-Original-URL", "Accept-Encoding"} & set(received)


async def test_http3_visitor_is_served(edge: Edge) -> None:
    stage = edge.stage
    root = str(stage.authority.root)
    response = await get_over_http3(SHOP, stage.https_port, "/cart?a=%20", root=root)
    assert response.status == 200
    assert json.loads(response.body)["path"] == "/cart?a=%20"
    assert response.fields["set-cookie"].startswith("__Host-gatekeeper-open=")


async def test_uploads_streams_and_websockets_pass(edge: Edge) -> None:
    origin = edge.stage.origin
    origin.go.clear()
    async with edge.stage.session() as session:
        async with session.get("/cart") as response:
            assert response.status == 200
        async with session.post("/pay", data=b"x" * 300_000) as response:
            assert (await response.json())["length"] == 300_000
        async with session.get("/stream") as stream:
            async with asyncio.timeout(40):
                assert await stream.content.readexactly(5) == b"begin"
            origin.go.set()
            assert await stream.content.read() == b"end"
        async with session.ws_connect("/ws") as socket_:
            await socket_.send_str("hello")
            assert await socket_.receive_str(timeout=10) == "echo hello"


async def test_line_streams_unbuffered(edge: Edge) -> None:
    async with edge.stage.session() as session:
        async with session.get("/line/x", headers=HTML) as page:
            assert (page.status, page.headers["Cache-Control"]) == (503, "no-store")
            assert page.headers["Set-Cookie"].startswith("__Host-gatekeeper-line=")
        status = "/.gatekeeper/status?room=line"
        async with session.get(status) as polled:
            assert (await polled.json())["position"] is not None
        events = {"Accept": "text/event-stream"}
        async with session.get(status, headers=events) as stream, asyncio.timeout(40):
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert await stream.content.readline()  # the stream itself does not end


@pytest.mark.parametrize("named", [True, False], ids=["port", "no port"])
async def test_http_is_redirected_before_a_place_is_taken(edge: Edge, named: bool) -> None:
    stage = edge.stage
    host = f"{SHOP}:{stage.http_port}" if named else SHOP
    target = f"/line/{secrets.token_hex(4)}?a=%2e"
    before = len(stage.origin.requests)
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.post(
            URL(f"http://127.0.0.1:{stage.http_port}{target}", encoded=True),
            headers=HTML | {"Host": host},
            allow_redirects=False,
        ) as response,
    ):
        assert response.status == 308
        at = f"{SHOP}:{stage.https_port}" if named else SHOP
        assert response.headers["Location"] == f"https://{at}{target}"
        assert "Set-Cookie" not in response.headers
    assert len(stage.origin.requests) == before


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_other_host_reaches_no_worker(edge: Edge, scheme: str) -> None:
    stage = edge.stage
    port = stage.https_port if scheme == "https" else stage.http_port
    before = len(stage.origin.requests)
    async with (
        stage.session() as session,
        session.get(
            f"{scheme}://{SHOP}:{port}/line/x",
            headers=HTML | {"Host": "evil.example"},
            allow_redirects=False,
        ) as response,
    ):
        assert response.status == 421
        assert {"Set-Cookie", "Location"}.isdisjoint(response.headers)
    assert len(stage.origin.requests) == before


async def test_other_name_has_no_certificate(edge: Edge) -> None:
    assert await edge.stage.serial("evil.example") == 0


async def test_files_are_closed_to_other_users(edge: Edge) -> None:
    folder = edge.gate.state / "edge"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    assert {"admin.sock", "worker-1.sock", "worker-2.sock"} <= {path.name for path in files}
    sockets = [path for path in files if path.is_socket()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
    assert [path for path in files if path.stat().st_mode & 0o077] == []
