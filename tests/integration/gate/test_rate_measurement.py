"""Which responses of a real origin count for autotune, on both paths."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gatekeeper.config.settings import parse_changes
from gatekeeper.room.origin_tally import GroupTally, OriginTally
from gatekeeper.room.period import PeriodEnd
from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter, closed_port
from tests.integration.gate.test_rate_steering import admitted, operator_of, tuned
from tests.servers import eventually

Counted = Callable[[Gate], tuple[int, int, int]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The counts of requests without response, failed responses and all responses; none was sent to
    the store yet."""
    take = OriginTally.take
    monkeypatch.setattr(OriginTally, "take", lambda _tally, **_: "")

    def read(gate: Gate) -> tuple[int, int, int]:
        end = PeriodEnd.parse(
            [b"1", b"1", take(gate.room().autotune.tally).encode(), b"0", *[b""] * 3]
        )
        assert end is not None
        groups = end.period.groups
        return (
            sum(group.without_response for group in groups),
            sum(group.failed for group in groups),
            sum(sum(group.counts) for group in groups),
        )

    return read


async def test_responses_count_on_both_paths(start_gate: GateStarter, counted: Counted) -> None:
    gate = await tuned(start_gate)
    visitor = await admitted(gate)
    counted(gate)
    for _ in range(3):
        assert (await visitor.get())[0] == 200  # the fast path; from its cache after the first
    assert counted(gate) == (0, 0, 3)
    assert (await visitor.request("POST", "/a", data=b"x" * 2**20)).status == 200
    assert counted(gate) == (0, 0, 1)


async def test_kept_request_counts_from_when_autotune_is_on(
    store_url: str, start_gate: GateStarter, counted: Counted
) -> None:
    """The fast path caches the requests of a visitor, also from before the change."""
    gate = await tuned(start_gate, is_on=False)
    visitor = await admitted(gate)
    for _ in range(3):
        assert (await visitor.get())[0] == 200
    assert counted(gate) == (0, 0, 0)
    async with operator_of(gate, store_url) as operator:
        await operator.change_settings(parse_changes({"autotune": True}))
    await eventually(lambda: gate.room().autotune.tally.is_on)
    assert (await visitor.get())[0] == 200
    assert counted(gate) == (0, 0, 1)


async def test_stream_counts_by_its_head(start_gate: GateStarter, counted: Counted) -> None:
    gate = await tuned(start_gate)
    visitor = await admitted(gate)
    counted(gate)
    response = await visitor.session.post(f"{gate.url}/stream")
    assert counted(gate) == (0, 0, 1)
    gate.origin.go.set()
    await response.read()
    assert counted(gate) == (0, 0, 0)


async def test_websocket_counts_by_its_head(start_gate: GateStarter, counted: Counted) -> None:
    gate = await tuned(start_gate)
    visitor = await admitted(gate)
    counted(gate)
    async with visitor.session.ws_connect(f"{gate.url}/ws") as socket:
        assert counted(gate) == (0, 0, 1)
        await socket.send_str("x")
        assert (await socket.receive()).data == "echo x"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_origin_that_refuses_counts_as_failed(
    method: str, start_gate: GateStarter, counted: Counted
) -> None:
    gate = await tuned(start_gate, origin_url=closed_port())
    visitor = gate.visitor()
    await visitor.request("GET", "/a", headers=HTML)
    counted(gate)
    assert (await visitor.request(method, "/a")).status == 502
    assert counted(gate) == (1, 0, 0)


def connections_of(gate: Gate) -> int:
    worker = gate.worker
    assert worker._server is not None
    assert worker._fast_path is not None
    return len(worker._server.connections) + len(worker._fast_path.connections)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("latency", "expected"), [("1h", (0, 0, 0)), ("1ms", (0, 0, 1))])
async def test_connection_reset_counts_above_the_target(
    method: str,
    latency: str,
    expected: tuple[int, int, int],
    start_gate: GateStarter,
    counted: Counted,
) -> None:
    """Visitors reload a page that does not arrive. A client that leaves early does not count."""
    gate = await tuned(start_gate, latency=latency)
    visitor = await admitted(gate)
    await visitor.session.close()
    await eventually(lambda: connections_of(gate) == 0)
    counted(gate)
    requests = len(gate.origin.requests)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.worker.port)
    cookie = f"{gate.cookie_name}={sign_token(gate.issue_pass())}"
    head = f"{method} /slow HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nContent-Length: 0\r\n\r\n"
    writer.write(head.encode())
    await eventually(lambda: len(gate.origin.requests) > requests)
    await asyncio.sleep(0.01)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    await eventually(lambda: connections_of(gate) == 0)
    gate.origin.go.set()
    del reader
    assert counted(gate) == expected


@asynccontextmanager
async def hasty_origin(response: bytes) -> AsyncIterator[str]:
    """Responds to the head of a request and closes, without waiting for the body."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("body", "response", "expected"),
    [
        (b"", b"HTTP/1.1 408 Too slow\r\nContent-Length: 0\r\n\r\n", (0, 0, 0)),
        (b"", b"HTTP/1.1 503 Too slow\r\nContent-Length: 0\r\n\r\n", (0, 0, 0)),
        (b"", b"", (0, 0, 0)),
        (b"xxxx", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", (0, 1, 1)),
        (b"xxxx", b"", (1, 0, 0)),
        (b"xxxx", b"HTTP/1.1 101 Other\r\nUpgrade: other\r\n\r\n", (1, 0, 0)),
    ],
)
async def test_request_counts_once_and_when_it_is_complete(
    body: bytes,
    response: bytes,
    expected: tuple[int, int, int],
    start_gate: GateStarter,
    counted: Counted,
) -> None:
    """If a client delays an upload, a timeout of the origin does not show that the origin is
    overloaded."""
    async with hasty_origin(response) as origin_url:
        gate = await tuned(start_gate, origin_url=origin_url)
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.worker.port)
        cookie = f"{gate.cookie_name}={sign_token(gate.issue_pass())}"
        head = f"POST / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nContent-Length: 4\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 ")
        assert counted(gate) == expected
        writer.close()


async def test_bypassed_and_waiting_requests_count_nothing(
    start_gate: GateStarter, counted: Counted
) -> None:
    gate = await tuned(start_gate, rate="0")
    visitor = gate.visitor()
    assert (await visitor.get())[0] == 503
    assert (await visitor.request("GET", "/robots.txt")).status == 200  # a default rule
    assert counted(gate) == (0, 0, 0)


async def test_room_without_autotune_counts_nothing(
    start_gate: GateStarter, counted: Counted
) -> None:
    gate = await tuned(start_gate, is_on=False)
    visitor = await admitted(gate)
    assert (await visitor.request("POST", "/a", data=b"x")).status == 200
    assert counted(gate) == (0, 0, 0)


async def test_slow_upload_is_no_slow_origin(
    start_gate: GateStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time begins when the origin has the whole request."""
    taken: list[float] = []
    monkeypatch.setattr(
        GroupTally, "count", lambda _group, _status, /, *, seconds: taken.append(seconds)
    )
    gate = await tuned(start_gate)
    visitor = await admitted(gate)
    taken.clear()
    began_s = time.perf_counter()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 1000
            await asyncio.sleep(0.1)

    assert (await visitor.request("POST", "/a", data=body())).status == 200
    [seconds] = taken
    assert seconds < time.perf_counter() - began_s - 0.3
