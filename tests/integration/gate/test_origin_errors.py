"""When the origin fails, admitted visitors keep their session and get an error page."""

import asyncio
import base64
import os
import socket

import pytest

from gatekeeper.config.types import RoomName
from tests.builders import room_toml, sign_token
from tests.gates import HTML, GateStarter, Origin, Visitor, closed_port, running_gate, silent_origin
from tests.ports import free_port
from tests.servers import eventually

TIMEOUT_S = 30


async def test_origin_error_is_page_for_browsers_and_json_for_apps(start_gate: GateStarter) -> None:
    gate = await start_gate(origin_url=closed_port())
    visitor = gate.visitor()
    page = await visitor.request("GET", "/a", headers=HTML)
    assert page.status == 502
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Your place is kept" in page.text
    app = await visitor.request("GET", "/a", headers={"Accept": "application/json"})
    assert app.status == 502
    assert set(app.json) == {"error"}
    post = await visitor.request("POST", "/a", data=b"x" * 2**20)
    assert post.status == 502
    for response in (page, app, post):
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Cache-Control"] == "no-store"


async def test_newcomer_keeps_pass_when_origin_refuses(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="60/min", burst=1, origin_url=closed_port())
    visitor = gate.visitor()
    app = gate.visitor()
    assert (await visitor.get())[0] == 502
    assert list(visitor.cookies()) == [gate.cookie_name]
    assert (await visitor.status())["state"] == "admitted"
    raw = sign_token(gate.issue_pass(ago_s=100))
    response = await app.request("GET", headers={"X-Queue-Token": raw})
    assert response.status == 502
    assert response.headers["X-Queue-Token"] != raw


async def test_silent_origin_is_504(store_url: str, room_name: RoomName) -> None:
    async with silent_origin() as origin_url:
        toml = 'read_timeout = "200ms"\n' + room_toml(room_name)
        async with (
            running_gate(toml, store_url=store_url, origin_url=origin_url) as gate,
            Visitor(gate) as visitor,
        ):
            for _ in range(2):  # as a newcomer, and with a pass
                page = await visitor.request("GET", "/a", headers=HTML)
                assert page.status == 504
                assert "Your place is kept" in page.text
                assert "Retry-After" in page.headers
            assert (await visitor.status())["state"] == "admitted"


async def test_origin_error_outside_rooms_mentions_no_place(start_gate: GateStarter) -> None:
    gate = await start_gate(path="/checkout/", origin_url=closed_port())
    visitor = gate.visitor()
    page = await visitor.request("GET", "/free", headers=HTML)
    assert page.status == 502
    words = page.text.partition("<main>")[2].partition("</main>")[0]
    assert "is not responding" in words
    assert "place" not in words


async def test_waiting_visitors_are_unaffected_by_origin_errors(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", origin_url=closed_port())
    visitor = gate.visitor()
    assert (await visitor.get())[0] == 503
    assert (await visitor.status())["position"] == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_visitor_continues_when_origin_recovers(
    store_url: str, room_name: RoomName, method: str
) -> None:
    port = free_port()
    async with (
        Origin.running(port=port) as origin,
        running_gate(room_toml(room_name), store_url=store_url, origin_url=origin.url) as gate,
        Visitor(gate) as visitor,
    ):
        first = (await visitor.request(method)).json["visitor"]
        await origin.stop()
        assert (await visitor.request(method)).status == 502
        async with Origin.running(port=port):
            assert (await visitor.request(method)).json["visitor"] == first


async def test_unread_websocket_is_closed_without_http_bytes(
    start_gate: GateStarter,
) -> None:
    """No bytes of HTTP may follow the first byte of another protocol."""
    frame = b"\x82\x7e\xff\xff" + b"\x00" * 0xFFFF

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        try:
            while True:
                writer.write(frame)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    origin_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    )
    received = b""
    gate = await start_gate('read_timeout = "300ms"\n', origin_url=origin_url)
    request += f"Cookie: {gate.cookie_name}={sign_token(gate.issue_pass(ago_s=1))}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gate.worker.port)) as client:
        client.sendall(request.encode())
        listening = gate.worker._server
        assert listening is not None
        await eventually(lambda: len(listening.connections) == 1)
        await eventually(lambda: not listening.connections)
        client.settimeout(TIMEOUT_S)
        try:
            while data := client.recv(2**20):
                received += data
        except ConnectionResetError:
            pass
    server.close()
    assert received.startswith(b"HTTP/1.1 101 ")
    assert b"HTTP/1.1 500" not in received
    assert b"Something went wrong" not in received
