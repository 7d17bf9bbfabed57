"""`concurrent`: requests of one pass at the same time, on the fast path and on aiohttp's."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter, Response, Visitor
from tests.servers import eventually

LIMIT = 2
FAST, SLOW = "GET", "POST"  # the path that serves the method


def holder(gate: Gate) -> Visitor:
    """A visitor with a pass."""
    visitor = gate.visitor()
    visitor.set_cookie(gate.cookie_name, sign_token(gate.issue_pass()))
    return visitor


def in_flight(gate: Gate) -> int:
    uses = gate.worker.site.gates[gate.room_name].uses
    assert uses is not None
    return sum(each.in_flight for each in uses._uses.values())


def half_closed(gate: Gate) -> int:
    uses = gate.worker.site.gates[gate.room_name].uses
    assert uses is not None
    return sum(each.half_closed for each in uses._uses.values())


@asynccontextmanager
async def waiting_requests(
    gate: Gate, visitor: Visitor, *methods: str, path: str = "/slow"
) -> AsyncIterator[list[asyncio.Task[Response]]]:
    """Requests that wait for the origin until the block ends."""
    before, seen = in_flight(gate), len(gate.origin.requests)
    gate.origin.go.clear()
    tasks = [asyncio.create_task(visitor.request(method, path)) for method in methods]
    await eventually(lambda: len(gate.origin.requests) == seen + len(methods))
    assert in_flight(gate) == before + len(methods)
    try:
        yield tasks
    finally:
        gate.origin.go.set()
        await asyncio.gather(*tasks)


@pytest.fixture
async def gate(start_gate: GateStarter) -> Gate:
    return await start_gate(rate="0", concurrent=LIMIT)


async def test_requests_beyond_the_limit_are_429(gate: Gate) -> None:
    """On either path; another pass has its own limit."""
    ann, bob = holder(gate), holder(gate)
    for first, second in ((FAST, FAST), (FAST, SLOW), (SLOW, SLOW)):
        async with waiting_requests(gate, ann, first, second) as requests:
            seen = len(gate.origin.requests)
            for method in (FAST, SLOW, "HEAD", "PUT"):
                refused = await ann.request(method, "/")
                assert refused.status == 429
                assert int(refused.headers["Retry-After"]) > 0
                assert refused.headers["Cache-Control"] == "no-store"
                assert "Set-Cookie" not in refused.headers
            assert len(gate.origin.requests) == seen
            assert (await bob.request("GET", "/")).status == 200
        assert [each.result().status for each in requests] == [200, 200]
        await eventually(lambda: in_flight(gate) == 0)
        for method in (FAST, SLOW):
            assert (await ann.request(method, "/")).status == 200


async def test_429_is_a_page_or_json_as_accept_says(gate: Gate) -> None:
    ann = holder(gate)
    async with waiting_requests(gate, ann, FAST, FAST):
        page = await ann.request("GET", "/", headers=HTML)
        assert "from your visit at the same time" in page.text
        assert page.headers["Content-Type"].startswith("text/html")
        german = await ann.request("POST", "/", headers=HTML | {"Accept-Language": "de"})
        assert "Anfragen gleichzeitig" in german.text
        app = await ann.request("GET", "/")
        assert "at the same time" in app.json["error"]


async def test_several_connections_and_tokens_of_one_visitor_are_one(gate: Gate) -> None:
    """A renewed pass belongs to the same visitor."""
    pass_ = gate.issue_pass()
    ann, copy = gate.visitor(), gate.visitor()
    ann.set_cookie(gate.cookie_name, sign_token(pass_))
    copy.set_cookie(
        gate.cookie_name, sign_token(replace(pass_, expires_at_s=pass_.expires_at_s - 1))
    )
    async with waiting_requests(gate, ann, FAST, SLOW):
        assert (await copy.request("GET", "/")).status == 429
        assert (await copy.request("POST", "/")).status == 429


async def test_stream_counts_as_long_as_it_lasts(gate: Gate) -> None:
    ann = holder(gate)
    async with waiting_requests(gate, ann, FAST, SLOW, path="/stream"):
        assert (await ann.request("GET", "/")).status == 429
    await eventually(lambda: in_flight(gate) == 0)
    assert (await ann.request("GET", "/")).status == 200


async def test_websocket_counts_as_long_as_it_lasts(gate: Gate) -> None:
    ann = holder(gate)
    sockets = [await ann.session.ws_connect(f"{gate.url}/ws") for _ in range(LIMIT)]
    for each in sockets:
        await each.send_str("hello")
        assert (await each.receive_str(timeout=15)) == "echo hello"
    assert (await ann.request("GET", "/")).status == 429
    for each in sockets:
        await each.close()
    await eventually(lambda: in_flight(gate) == 0)
    assert (await ann.request("GET", "/")).status == 200


async def test_client_that_disconnects_frees_its_requests(gate: Gate) -> None:
    """On both paths, also before the response of the origin or in the middle of it."""
    ann = holder(gate)
    for path in ("/slow", "/stream"):
        gate.origin.go.clear()
        tasks = [asyncio.create_task(ann.request(method, path)) for method in (FAST, SLOW)]
        await eventually(lambda: in_flight(gate) == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: in_flight(gate) == 0)
        for method in (FAST, SLOW):
            assert (await ann.request(method, "/")).status == 200
        gate.origin.go.set()
        await eventually(lambda: half_closed(gate) == 0)


@pytest.mark.parametrize("method", [FAST, SLOW])
@pytest.mark.parametrize("is_reset", [False, True], ids=["FIN", "RST"])
async def test_end_of_the_client_is_noticed_before_the_response(
    gate: Gate, method: str, is_reset: bool
) -> None:
    """A reset ends the request. A half-close does not, but the request no longer counts."""
    pass_ = sign_token(gate.issue_pass())
    ann = gate.visitor()
    ann.set_cookie(gate.cookie_name, pass_)
    gate.origin.go.clear()
    head = (
        f"{method} /slow HTTP/1.1\r\nHost: {gate.url.removeprefix('http://')}\r\n"
        f"Cookie: {gate.cookie_name}={pass_}\r\n"
    )
    head += "\r\n" if method == FAST else "Content-Length: 0\r\n\r\n"
    clients = []
    known = len(gate.worker.site.lookup._known)
    for number in range(2 * LIMIT):
        client = socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])))
        clients.append(client)
        client.sendall(head.encode())
        await eventually(lambda: in_flight(gate) == 1)
        assert len(gate.worker.site.lookup._known) == known + (method == FAST)
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        else:
            client.shutdown(socket.SHUT_WR)
        await eventually(lambda: in_flight(gate) == 0)
        assert half_closed(gate) == (0 if is_reset else number + 1)
    status = (await ann.request("GET", "/")).status
    assert status == (200 if is_reset else 429), "as many again, and no more"
    gate.origin.go.set()
    await eventually(lambda: half_closed(gate) == 0)
    if not is_reset:
        for client in clients:
            client.settimeout(15)
            assert client.recv(100).startswith(b"HTTP/1.1 200"), "a half-closed client is served"
            client.close()
    assert (await ann.request("GET", "/")).status == 200


async def test_failing_origin_frees_its_requests(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0", concurrent=LIMIT)
    ann = holder(gate)
    await gate.origin.stop()
    for method in (FAST, SLOW) * (LIMIT + 1):
        assert (await ann.request(method, "/")).status == 502
    assert in_flight(gate) == 0


async def test_without_concurrent_nothing_is_counted(start_gate: GateStarter) -> None:
    gate = await start_gate(rate="0")
    ann = holder(gate)
    assert (await ann.request("GET", "/")).status == 200
    assert gate.worker.site.gates[gate.room_name].uses is None
    [plan] = gate.worker.site.lookup._known._blocks.values()
    assert plan.counted is None


async def test_only_requests_forwarded_with_a_pass_count(gate: Gate) -> None:
    ann = holder(gate)
    async with waiting_requests(gate, ann, FAST, FAST):
        assert (await ann.request("GET", "/.gatekeeper/status")).json["state"] == "admitted"
        assert (await ann.request("GET", "/robots.txt")).status == 200, "bypassed by a rule"
        assert (await gate.visitor().request("GET", "/")).status == 503
