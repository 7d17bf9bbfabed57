"""The edge during crashes, reloads, renewals and shutdown.

The tests share one gate; the last one ends it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from functools import partial

import aiohttp
import pytest
from cryptography import x509

from tests.gates import is_alive
from tests.gates.http_visitor import HTML
from tests.integration.edge.acme_stage import (
    NEW,
    SHOP,
    WRONG,
    WWW,
    Stage,
    edge_pid,
    kill,
    write_pair,
)
from tests.integration.edge.edge_stage import Edge, load
from tests.ports import free_port
from tests.servers import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(150)]


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
    # The domain that the CA refuses has no effect on the others.
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
        assert response.status == 503  # the refused file does not have this room
    async with edge.stage.session(NEW) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get("/cart")


async def test_certificate_is_renewed_before_it_expires(edge: Edge) -> None:
    """The files of the edge get a certificate that expires in a minute. Its own certificate is
    deleted meanwhile, and it starts again nevertheless."""
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
    """Whether a new connection is refused. A connection accepted while the edge stops may be served
    or not."""
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
            assert b"retry:" in await events.content.read()  # the stream ends with its last event
        await eventually(partial(is_refused, edge.stage))
        assert not slow.done()
        origin.go.set()
        async with await slow as response:
            assert (response.status, (await response.json())["length"]) == (200, 4)
    assert await edge.gate.wait_until_exit() == 0
    assert [pid for pid in started if is_alive(pid)] == []
