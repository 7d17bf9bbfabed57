"""Clients of the admin listener cannot use up the files that the supervisor needs."""

import asyncio
import json
import os
import resource
import select
import signal
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gatekeeper.admin import admin_connections
from gatekeeper.admin.admin_connections import MAX_CONNECTIONS, AdminConnection
from gatekeeper.proxy import aiohttp_server
from tests.gates import GateProcess, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import eventually

_IDLE = 140
_FILES = 130  # fewer than the idle connections


async def test_dead_worker_is_replaced_despite_idle_connections() -> None:
    with GateProcess(settings()) as gate:
        await gate.wait_until_serving()
        [worker] = gate.workers()
        resource.prlimit(gate.process.pid, resource.RLIMIT_NOFILE, (_FILES, _FILES))
        address = ("127.0.0.1", int(gate.admin_url.rpartition(":")[2]))
        idle = []
        for _ in range(_IDLE):
            idle.append(socket.create_connection(address, timeout=5))
            await asyncio.sleep(0.005)
        try:
            os.kill(worker, signal.SIGKILL)
            await eventually(lambda: "worker_exited" in gate.errors())
            await eventually(lambda: len(gate.workers()) == 1 and worker not in gate.workers())
            async with Visitor(gate.admin_url) as operator:  # operators are still served
                async with asyncio.timeout(40):
                    while (await operator.request("GET", "/readyz")).status != 200:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
            assert "worker_not_started" not in gate.errors()
            assert len(os.listdir(f"/proc/{gate.process.pid}/fd")) < _FILES
            assert MAX_CONNECTIONS < _IDLE
        finally:
            for each in idle:
                each.close()


async def _little(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _much(_: web.Request) -> web.Response:
    """A response larger than all buffers between the two."""
    return web.Response(body=bytes(64 << 20))


@pytest.fixture
async def admin_port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """An application with the connections of the admin listener and short limits."""
    monkeypatch.setattr(aiohttp_server, "HEAD_TIMEOUT_S", 0.6)
    monkeypatch.setattr(admin_connections, "KEEP_ALIVE_S", 0.3)
    app = web.Application()
    app.router.add_get("/", _little)
    app.router.add_get("/much", _much)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    server = runner.server
    assert server is not None
    listener = await asyncio.get_running_loop().create_server(
        lambda: AdminConnection(server, limit=4), "127.0.0.1", 0
    )
    yield listener.sockets[0].getsockname()[1]
    listener.close()
    await runner.cleanup()


_HOST = b"Host: 127.0.0.1\r\n"
_FIELDS = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(70))


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\0b\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\n" + _HOST + _FIELDS + b"\r\n", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\n" + _HOST, b"HTTP/1.1 408 Request Timeout"),
    ],
)
async def test_admin_listener_refuses_in_its_own_words(
    request_: bytes, line: bytes, admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if b" 408 " not in line:
        monkeypatch.setattr(aiohttp_server, "HEAD_TIMEOUT_S", 90.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
    writer.write(request_)
    async with asyncio.timeout(40):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(line)
    assert b"aiohttp" not in head.lower()
    assert list(json.loads(body)) == ["error"]


async def test_idle_admin_connection_is_closed_soon(
    admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiohttp_server, "HEAD_TIMEOUT_S", 90.0)  # of the request
    reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
    writer.write(b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n")
    async with asyncio.timeout(40):
        assert b" 200 OK\r\n" in await reader.read()  # until it is closed
    writer.close()


async def test_newest_admin_connection_closes_the_oldest_idle_one(
    admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((aiohttp_server, "HEAD_TIMEOUT_S"), (admin_connections, "KEEP_ALIVE_S")):
        monkeypatch.setattr(module, name, 90.0)  # so that only the number of connections ends them
    clients = []
    for _ in range(7):
        clients.append(await asyncio.open_connection("127.0.0.1", admin_port))
        await asyncio.sleep(0.02)
    for reader, _ in clients[:3]:
        async with asyncio.timeout(40):
            assert await reader.read() == b""
    for reader, writer in clients[3:]:
        writer.write(b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n")
        async with asyncio.timeout(40):
            assert b" 200 OK\r\n" in await reader.read()
    for _, writer in clients:
        writer.close()


@pytest.mark.parametrize("status", [400, 408, 414, 431])
def test_refusal_is_json_of_the_api(status: int) -> None:
    head, _, body = admin_connections.refuse_as_json(b"", status, "why").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body) == {"error": "why"}


@pytest.mark.parametrize(
    "request_",
    [
        b"x\r\n\r\n",  # no parser accepts it
        b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 9\r\n\r\n",  # its body never arrives
    ],
)
async def test_connection_that_only_discards_yields_to_a_new_one(
    request_: bytes, admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise clients without a token could block every probe for seconds."""
    monkeypatch.setattr(aiohttp_server, "HEAD_TIMEOUT_S", 90.0)
    monkeypatch.setitem(aiohttp_server.SERVER_OPTIONS, "lingering_time", 90.0)
    writers = []
    for _ in range(4):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
        writers.append(writer)
        writer.write(request_)
        async with asyncio.timeout(40):
            assert b" 40" in await reader.readline()
    for _ in range(4):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
        writers.append(writer)
        writer.write(b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n")
        async with asyncio.timeout(40):  # discarding takes longer than that
            assert b" 200 OK\r\n" in await reader.read()
    for writer in writers:
        writer.close()


async def test_admin_client_that_reads_nothing_is_reset(
    admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_connections, "WRITE_TIMEOUT_S", 0.3)
    with socket.create_connection(("127.0.0.1", admin_port)) as client:
        client.send(b"GET /much HTTP/1.1\r\n" + _HOST + b"\r\n")
        poll = select.poll()
        poll.register(client, 0)  # reports only the end of the connection
        [(_, event)] = await asyncio.to_thread(poll.poll, 20_000)
    assert event & select.POLLHUP
