"""A WebSocket is a tunnel: bytes both ways, until either side or the session ends."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from gatekeeper.errors import OriginProtocolError
from tests.integration.proxy.forwarding import (
    MIB,
    OK,
    PATIENCE_S,
    CountedSender,
    Origin,
    Script,
    Wire,
    get,
    proxying,
    responding,
    responding_once,
    running_gate,
    stuck_at,
    until,
)

MUCH = 64 * MIB  # more than all buffers between the two sides
ASK = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def echoing(origin: Origin) -> Script:
    async def script(wire: Wire) -> None:
        await origin.request(wire)
        wire.send(SWITCH)
        while data := await wire.some():
            wire.send(data)
            await wire.flush()

    return script


async def test_websocket_client_and_server_exchange_messages() -> None:
    async def serve(request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("chat",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{socket.ws_protocol}: {message.data}")
        return socket

    server = web.Server(serve)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with running_gate(f"http://127.0.0.1:{port}") as gate:
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            url = f"http://127.0.0.1:{gate.port}/socket"
            async with session.ws_connect(url, protocols=("other", "chat")) as socket:
                assert socket.protocol == "chat"
                for turn in range(3):
                    await socket.send_str(f"hello {turn}")
                    assert await socket.receive_str() == f"chat: hello {turn}"
            assert socket.close_code == 1000
        await until(lambda: gate.cancelled.is_set() or bool(gate.relayed))
    listener.close()
    await server.shutdown()


async def test_switch_is_reported_to_both_sides() -> None:
    async with proxying(echoing) as (origin, gate):
        gate.on_head = lambda _: ((b"Set-Cookie", b"gatekeeper=new"),)
        wire = await gate.connect()
        wire.send(get("/socket", *ASK))
        response = await wire.head()
        wire.close()
    request = origin.requests[0]
    assert request.one("Upgrade") == b"websocket"
    assert request.one("Connection") == b"Upgrade"
    assert request.one("Sec-WebSocket-Key") == b"dGhlIHNhbXBsZSBub25jZQ=="
    assert response.first_line == b"HTTP/1.1 101 Switching Protocols"
    assert response.one("Upgrade") == b"websocket"
    assert response.one("Connection") == b"Upgrade"
    assert response.one("Sec-WebSocket-Accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert response.one("Set-Cookie") == b"gatekeeper=new"


async def test_bytes_sent_with_switch_are_relayed() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            assert not wire.reader.at_eof()
            wire.send(SWITCH + b"early from the origin")
            assert await wire.exactly(21) == b"early from the client"
            wire.send(b".")
            await wire.gone()

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK) + b"early from the client")
        await wire.head()
        assert await wire.exactly(22) == b"early from the origin."
        wire.close()


async def test_tunnel_relays_both_ways_concurrently() -> None:
    async def pour(wire: Wire) -> None:
        for _ in range(16):
            wire.send(b"x" * MIB)
            await wire.flush()

    async with proxying(echoing) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        pouring = asyncio.create_task(pour(wire))
        assert await wire.exactly(16 * MIB) == b"x" * (16 * MIB)
        await pouring
        wire.close()


async def test_client_that_does_not_read_pauses_origin() -> None:
    sender = CountedSender(MUCH)

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(SWITCH)
            await sender.send(wire)
            await wire.gone()

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        assert await stuck_at(lambda: sender.sent) < MUCH
        assert len(await wire.exactly(MUCH)) == MUCH
        wire.close()


async def test_slow_origin_pauses_client_and_receives_all() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(SWITCH)
            await goes_on.wait()
            received_.set_result(len(await wire.rest()))

        return script

    sender = CountedSender(MUCH)

    async def pour(wire: Wire) -> None:
        await sender.send(wire)
        wire.close()

    goes_on = asyncio.Event()
    received_: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        pouring = asyncio.create_task(pour(wire))
        assert await stuck_at(lambda: sender.sent) < MUCH
        goes_on.set()
        await pouring
        async with asyncio.timeout(PATIENCE_S):
            assert await received_ == MUCH


async def test_origin_close_ends_client() -> None:
    async with proxying(responding_once(SWITCH + b"bye")) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        assert await wire.rest() == b"bye"
        wire.close()
    assert gate.relayed[0].status == 101


async def test_client_close_ends_origin_after_last_bytes() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(SWITCH)
            received_.set_result(await wire.rest())

        return script

    received_: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        wire.send(b"bye")
        wire.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await received_ == b"bye"


async def test_session_end_closes_tunnel() -> None:
    async with proxying(echoing) as (origin, gate):
        gate.session_end = asyncio.get_running_loop().create_future()
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        wire.send(b"ping")
        assert await wire.exactly(4) == b"ping"
        gate.session_end.set_result(None)
        assert await wire.rest() == b""
        await until(lambda: origin.wires[0].reader.at_eof())
        wire.close()


async def test_tunnel_of_ended_session_closes_at_once() -> None:
    async with proxying(echoing) as (_, gate):
        gate.session_end = asyncio.get_running_loop().create_future()
        gate.session_end.set_result(None)
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        assert await wire.rest() == b""
        wire.close()


async def test_tunnels_gauge_counts_open_tunnels() -> None:
    def open_tunnels() -> float | None:
        return REGISTRY.get_sample_value("gatekeeper_tunnels")

    before = open_tunnels()
    assert before is not None
    async with proxying(echoing) as (_, gate):
        wires = [await gate.connect() for _ in range(2)]
        for turn, wire in enumerate(wires, start=1):
            wire.send(get("/", *ASK))
            await wire.head()
            assert open_tunnels() == before + turn
        for wire in wires:
            wire.close()
        await until(lambda: open_tunnels() == before)


@pytest.mark.simulated_time
async def test_idle_tunnel_outlives_read_timeout() -> None:
    async with proxying(echoing, read_timeout="50ms") as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        await wire.head()
        await asyncio.sleep(0.2)
        wire.send(b"ping")
        assert await wire.exactly(4) == b"ping"
        wire.close()


@pytest.mark.parametrize("status", [b"200 OK", b"403 Forbidden", b"426 Upgrade Required"])
async def test_origin_that_does_not_switch_responds_normally(status: bytes) -> None:
    rejection = b"HTTP/1.1 %b\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno" % status
    async with proxying(responding(rejection, OK)) as (origin, gate):
        wire = await gate.connect()
        wire.send(get("/", *ASK))
        response = await wire.message()
        assert (response.status, response.body) == (int(status[:3]), b"no")
        assert response.one("Connection") is response.one("Upgrade") is None
        wire.send(get("/next"))
        assert (await wire.message()).body == b"ok"
        wire.close()
    assert origin.connections == 1


@pytest.mark.parametrize(
    "request_",
    [
        get("/", "Connection: Upgrade", "Upgrade: h2c"),
        get("/", "Upgrade: websocket"),
        get("/", *ASK, version="1.0"),
        get("/", *ASK, method="PUT"),
        get("/", *ASK, "Content-Length: 2") + b"ab",
    ],
    ids=["h2c", "no Connection", "HTTP/1.0", "PUT", "a body"],
)
async def test_other_upgrade_is_not_forwarded(request_: bytes) -> None:
    async with proxying(responding(OK)) as (origin, gate):
        assert (await gate.ask(request_)).body == b"ok"
    assert origin.requests[0].one("Upgrade") is origin.requests[0].one("Connection") is None


async def test_switch_to_other_protocol_is_error() -> None:
    async with proxying(responding(SWITCH.replace(b"websocket", b"h2c"))) as (_, gate):
        assert (await gate.ask(get("/", *ASK))).status == 502
    assert isinstance(gate.errors[0], OriginProtocolError)
