"""The edge: what visitors, the origin and other users of the machine see of it, and how it goes
through crashes, reloads, renewals and its end. The tests share one gate; the last one ends it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from yarl import URL

from tests.gates import GateProcess, is_alive
from tests.gates.http_visitor import HTML, TIMEOUT
from tests.gates.origin import Origin
from tests.integration.edge.acme_stage import (
    NEW,
    SHOP,
    WRONG,
    WWW,
    Stage,
    edge_pid,
    kill,
    running_authority,
    write_pair,
)
from tests.integration.edge.http3 import get_over_http3
from tests.ports import free_port
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


@dataclass
class Edge:
    """A gate with an edge that serves SHOP."""

    stage: Stage
    gate: GateProcess

    async def reload(self, **changes: Any) -> tuple[int, str]:
        """Change the stage, and let the gate read it; exit code and what the command says."""
        self.stage = replace(self.stage, **changes)
        self.gate.file.write_text(self.stage.toml())
        done = await self.gate.command("reload", "-c", str(self.gate.file))
        return done.returncode, done.stdout + done.stderr

    async def status(self, beginning: str) -> str:
        """The line of `gatekeeper status` that begins so; "" for none."""
        done = await self.gate.command("status", "-c", str(self.gate.file))
        lines = done.stdout.splitlines()
        return next((line for line in lines if line.startswith(beginning)), "")

    async def is_ready(self) -> bool:
        """Whether every worker and the edge serve."""
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(f"{self.gate.admin_url}/readyz") as response,
        ):
            return response.status == 200

    def events(self, name: str, domain: str = "") -> list[dict[str, Any]]:
        lines = [line for line in self.gate.logs() if line["event"] == name]
        return [line for line in lines if not domain or line.get("domain") == domain]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge() -> AsyncIterator[Edge]:
    async with running_authority() as (internet, authority), Origin.running() as origin:
        stage = Stage(internet, authority, origin)
        internet.ports |= {SHOP: stage.http_port, WWW: stage.http_port}
        with GateProcess(stage.toml()) as gate:
            await gate.wait_until_serving()
            await eventually(stage.serves)
            yield Edge(stage, gate)


@dataclass
class Load:
    """Admitted visitors that request without a pause."""

    done: int = 0
    failures: list[str] = field(default_factory=list)

    async def visit(self, stage: Stage) -> None:
        async with stage.session() as session:
            while True:
                try:
                    async with session.get("/cart") as response:
                        text = await response.text()
                        if response.status != 200:
                            self.failures.append(f"{response.status} {text[:200]}")
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                self.done += 1
                await asyncio.sleep(0.02)

    async def goes_on(self, requests: int = 20) -> None:
        before = self.done
        await eventually(lambda: self.done >= before + requests)


@asynccontextmanager
async def load(stage: Stage) -> AsyncIterator[Load]:
    visitors = Load()
    tasks = [asyncio.create_task(visitors.visit(stage)) for _ in range(3)]
    await visitors.goes_on()
    yield visitors
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# What it serves.


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
    """Full ones of HTTP/1.1, 2 and 3, and failed ones over TCP. The gate's own check adds some."""

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


# What happens to it.


async def test_killed_worker_costs_no_request(edge: Edge) -> None:
    async with load(edge.stage) as visitors:
        first = edge.gate.workers()[0]
        kill(first)
        await visitors.goes_on()
        await eventually(lambda: len(set(edge.gate.workers()) - {first}) == 2)
        await eventually(edge.is_ready)
        await visitors.goes_on()
    assert visitors.failures == []


async def test_unchanged_reload_is_not_noticed(edge: Edge) -> None:
    before = edge_pid(edge.gate)
    async with load(edge.stage) as visitors, edge.stage.session() as session:
        async with session.get("/cart"):
            pass
        async with session.ws_connect("/ws") as socket:
            reloaded = len(edge.events("reloaded"))
            edge.gate.process.send_signal(signal.SIGHUP)
            await eventually(lambda: len(edge.events("reloaded")) > reloaded)
            await visitors.goes_on()
            await socket.send_str("still")
            assert await socket.receive_str(timeout=10) == "echo still"
    assert visitors.failures == []
    assert edge_pid(edge.gate) == before


async def test_killed_edge_is_restarted_with_its_certificate(edge: Edge) -> None:
    pid, serial = edge_pid(edge.gate), await edge.stage.serial()
    kill(pid)
    await eventually(lambda: edge_pid(edge.gate) not in {0, pid})
    await eventually(edge.stage.serves)
    await eventually(edge.is_ready)
    assert await edge.stage.serial() == serial
    assert [line["code"] for line in edge.events("embedded_server_exited")] == [-signal.SIGKILL]


async def test_hanging_edge_is_replaced(edge: Edge) -> None:
    pid = edge_pid(edge.gate)
    os.kill(pid, signal.SIGSTOP)
    await eventually(lambda: edge_pid(edge.gate) not in {0, pid})
    await eventually(edge.stage.serves)
    await eventually(edge.is_ready)
    assert [line["server"] for line in edge.events("embedded_server_hangs")] == ["edge"]


async def test_reload_adds_domains_and_cuts_nothing(edge: Edge) -> None:
    origin = edge.stage.origin
    origin.go.clear()
    async with edge.stage.session() as session:
        async with session.get("/cart"):
            pass
        async with (
            load(edge.stage) as visitors,
            session.ws_connect("/ws") as socket,
            session.get("/stream") as stream,
        ):
            assert await stream.content.readexactly(5) == b"begin"
            code, text = await edge.reload(domains=[SHOP, WWW, WRONG])
            assert code == 0, text
            await eventually(lambda: edge.stage.serves(WWW))
            await visitors.goes_on()
            await socket.send_str("still")
            assert await socket.receive_str(timeout=10) == "echo still"
            origin.go.set()
            assert await stream.content.read() == b"end"
    assert visitors.failures == []
    # The domain that the CA refuses does not disturb the others.
    [line] = await eventually(lambda: edge.events("certificate_not_obtained", WRONG))
    assert "acme:error" in line["problem"]
    assert line["expected"] == "a domain for which this CA issues certificates"
    assert line["retry_in_s"] > 0
    assert await edge.stage.serial(WRONG) == 0
    assert await eventually(lambda: edge.status(f"{WRONG}: no certificate; "))
    await edge.reload(domains=[SHOP])


async def test_unreachable_authority_is_one_clear_line(edge: Edge) -> None:
    serial = await edge.stage.serial()
    authority = edge.stage.authority
    directory, authority.directory = authority.directory, f"https://127.0.0.1:{free_port()}/acme"
    code, _ = await edge.reload(domains=[SHOP, NEW])
    assert code == 0
    [line] = await eventually(lambda: edge.events("certificate_not_obtained", NEW))
    assert "connection refused" in line["problem"]
    assert line["expected"] == "the CA to be reachable from this machine"
    assert await edge.stage.serial() == serial
    authority.directory = directory
    code, _ = await edge.reload(domains=[SHOP])
    assert code == 0


async def test_own_certificate_serves_a_wildcard(edge: Edge) -> None:
    pair = write_pair(edge.gate.folder, edge.stage.own.issue_cert("*.own.example"))
    keys = 'tls_cert = "{}"\ntls_key = "{}"'.format(*pair)
    code, text = await edge.reload(domains=[SHOP, "*.own.example"], more=keys)
    assert code == 0, text
    for domain in ("a.own.example", SHOP):
        async with edge.stage.session(domain) as session, session.get("/cart") as response:
            assert response.status == 200
    # Another certificate in the same files.
    serial = await edge.stage.serial("a.own.example")
    write_pair(edge.gate.folder, edge.stage.own.issue_cert("*.own.example"))
    await edge.reload()
    assert await edge.stage.serial("a.own.example") not in {0, serial}


async def test_refused_reload_changes_nothing(edge: Edge) -> None:
    authority, serial = edge.stage.authority, await edge.stage.serial()
    good, bad = authority.root, edge.gate.folder / "no-certificate.pem"
    bad.write_text("nothing")
    authority.root = bad
    code, text = await edge.reload(domains=[SHOP, NEW], more="", rooms="")
    authority.root = good
    assert code == 2
    assert "edge: Caddy refused the configuration: " in text
    assert await edge.stage.serial() == serial
    async with edge.stage.session() as session, session.get("/line/x", headers=HTML) as response:
        assert response.status == 503  # the room that the refused file has not
    async with edge.stage.session(NEW) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get("/cart")


async def test_certificate_is_renewed_before_it_expires(edge: Edge) -> None:
    """The files of the edge get a certificate with a minute left. Its own one is gone meanwhile,
    which does not keep it from starting again."""
    now = datetime.now(UTC)
    ending = edge.stage.own.issue_cert(
        SHOP, not_before=now - timedelta(hours=12), not_after=now + timedelta(minutes=1)
    )
    [kept] = (edge.gate.state / "edge" / "certificates").rglob(f"{SHOP}.crt")
    chain, key = write_pair(edge.gate.folder, ending)
    chain.replace(kept)
    key.replace(kept.with_suffix(".key"))
    planted = x509.load_pem_x509_certificate(kept.read_bytes()).serial_number
    before = await edge.stage.serial()
    kill(edge_pid(edge.gate))
    [line] = await eventually(lambda: edge.events("certificate_renewed", SHOP))
    assert line["level"] == "info"

    async def serves_another() -> bool:  # a moment after the line
        return await edge.stage.serial() not in {0, before, planted}

    await eventually(serves_another)


async def is_refused(stage: Stage) -> bool:
    """Whether a new connection is. One that is accepted as the edge stops may be served, or not."""
    try:
        async with stage.session() as session, session.get("/cart"):
            return False
    except aiohttp.ClientConnectorError:
        return True
    except aiohttp.ClientConnectionError:
        return False


async def test_end_completes_open_requests_and_streams(edge: Edge) -> None:
    origin, started = edge.stage.origin, edge.gate.pids()
    origin.go.clear()
    async with edge.stage.session() as session:
        async with session.get("/cart"):
            pass
        async with session.get("/line/x", headers=HTML):
            pass
        status = "/.gatekeeper/status?room=line"
        async with session.get(status) as polled:
            assert (await polled.json())["position"] is not None
        async with session.get(status, headers={"Accept": "text/event-stream"}) as events:
            assert events.headers["Content-Type"] == "text/event-stream"
            before = len(origin.requests)
            slow = asyncio.create_task(session.post("/slow", data=b"paid"))
            await eventually(lambda: len(origin.requests) > before)
            edge.gate.process.send_signal(signal.SIGTERM)
            assert b"retry:" in await events.content.read()  # the stream ends well
        await eventually(partial(is_refused, edge.stage))
        assert not slow.done()
        origin.go.set()
        async with await slow as response:
            assert (response.status, (await response.json())["length"]) == (200, 4)
    assert await edge.gate.wait_until_exit() == 0
    assert [pid for pid in started if is_alive(pid)] == []
