"""The rate follows a real origin: what is measured on both paths, and what happens to the rate.

Rules: an origin is slow as long as the test holds its responses back, and a period ends when it has
passed on the store's clock. No test measures a time of its own.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.config.settings import parse_changes
from gatekeeper.errors import ConfigError
from gatekeeper.policy.event_changes import NewStart
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from gatekeeper.room.origin_tally import GroupTally, OriginTally
from gatekeeper.room.period import PeriodEnd
from tests.builders import sign_token
from tests.gates import HTML, Gate, GateStarter, Visitor, closed_port
from tests.patient_store import PatientStore
from tests.servers import eventually

_MANY = 20  # visitors, of all groups but by a strange chance
Counted = Callable[[Gate], tuple[int, int, int]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Requests without a response, failed responses and all responses, none handed to the store."""
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


@pytest.fixture
def short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which a pause of the machine drops few."""
    monkeypatch.setattr("gatekeeper.room.queue.PERIOD_S", 1.0)
    monkeypatch.setattr("gatekeeper.room.rate_steering._LATE_S", 60.0)


async def tuned(
    start_gate: GateStarter,
    *,
    rate: str = "6000/min",
    is_on: bool = True,
    latency: str = "800ms",
    origin_url: str | None = None,
) -> Gate:
    return await start_gate(
        rate=rate,
        burst=1000,
        autotune=is_on,
        autotune_max="9000/min",
        autotune_latency=latency,
        origin_url=origin_url,
    )


async def admitted(gate: Gate) -> Visitor:
    visitor = gate.visitor()
    assert (await visitor.get())[0] == 200
    return visitor


async def test_responses_count_on_both_paths(start_gate: GateStarter, counted: Counted) -> None:
    gate = await tuned(start_gate)
    visitor = await admitted(gate)
    counted(gate)
    for _ in range(3):
        assert (await visitor.get())[0] == 200  # the fast path, from the second on by its memory
    assert counted(gate) == (0, 0, 3)
    assert (await visitor.request("POST", "/a", data=b"x" * 2**20)).status == 200
    assert counted(gate) == (0, 0, 1)


async def test_kept_request_counts_from_when_autotune_is_on(
    store_url: str, start_gate: GateStarter, counted: Counted
) -> None:
    """The fast path remembers the requests of a visitor; what it remembers is of before."""
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
    """Visitors reload a page that does not come; those that leave early say nothing."""
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
    """Responds to the head of a request and closes, whatever of the body has arrived."""

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
    """An origin's timeout for an upload that a client holds up is no sign of the origin's load."""
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


@asynccontextmanager
async def operator_of(gate: Gate, store_url: str) -> AsyncIterator[Operator]:
    store = PatientStore(store_url)
    file = gate.worker.room_set.settings[gate.room_name].file
    operator = Operator(store, NoEvents(), file)
    try:
        yield operator
    finally:
        await operator.close()
        await store.close()


def rate_of(gate: Gate) -> float:
    state = gate.room().view.state
    assert state is not None
    return state.current_rate_per_minute


async def respond_slowly(gate: Gate, visitors: Sequence[Visitor]) -> None:
    """Two requests of each; they take longer than the target of the tests below."""
    gate.origin.go.clear()
    before, requests = len(gate.origin.requests), 2 * len(visitors)
    sent = [
        asyncio.create_task(visitor.request("GET", "/slow")) for visitor in visitors for _ in "12"
    ]
    await eventually(lambda: len(gate.origin.requests) >= before + requests)
    await asyncio.sleep(0.02)
    gate.origin.go.set()
    assert {each.status for each in await asyncio.gather(*sent)} == {200}


@pytest.mark.usefixtures("short_periods")
async def test_rate_falls_with_a_slow_origin_and_freezes(
    store_url: str, start_gate: GateStarter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every replica, and as an operator would have set it; `autotune=false` keeps it there."""
    gates = [await tuned(start_gate, latency="10ms") for _ in range(2)]
    visitors = [await admitted(gates[0]) for _ in range(_MANY)]

    async def has_fallen() -> bool:  # a machine that pauses for several periods drops a burst
        await respond_slowly(gates[0], visitors)
        return all(rate_of(gate) < 6000 for gate in gates)

    await eventually(has_fallen)
    # No other period ends before the rate is frozen: it would rise again.
    monkeypatch.setattr("gatekeeper.room.queue.PERIOD_S", 600.0)
    async with operator_of(gates[0], store_url) as operator:
        record = await operator.steering()
        assert record is not None
        [first, *_] = record.changes
        assert (first.before, first.reason) == (6000, "too_slow")
        assert first.latency_s is not None
        assert first.latency_s > 0.01
        with monkeypatch.context() as patched:
            patched.setattr("gatekeeper.room.steering_record._NEW_US", -60_000_000)
            old = await operator.steering()
            assert old is not None
            assert old.changes
            assert old.last is None
        await operator.change_settings(parse_changes({"autotune": False}))
        await eventually(lambda: all(gate.room().rules.autotune is None for gate in gates))
        frozen = (await operator.status()).rate_per_minute
        assert frozen < 6000
        last = await operator.steering()
        assert last is not None
        assert last.changes[-1].after == frozen
        await respond_slowly(gates[0], visitors)
        await asyncio.gather(*(gate.room().queue.advance() for gate in gates))
        assert (await operator.status()).rate_per_minute == frozen


@pytest.mark.usefixtures("short_periods")
async def test_one_visitor_lowers_no_rate(start_gate: GateStarter, store_url: str) -> None:
    """With slow requests or failed ones, as many as it likes."""
    gate = await tuned(start_gate, origin_url=closed_port())
    visitor = gate.visitor()
    async with operator_of(gate, store_url) as operator:
        seen = 0

        async def has_measured() -> bool:
            nonlocal seen
            for _ in range(30):
                assert (await visitor.request("GET", "/a", headers=HTML)).status == 502
            record = await operator.steering()
            assert record is not None
            assert record.changes == ()
            seen += record.last is not None and record.last.failed > 0
            return seen >= 3

        await eventually(has_measured)
    assert rate_of(gate) == 6000


@pytest.mark.usefixtures("short_periods")
async def test_failing_origin_lowers_the_rate(start_gate: GateStarter) -> None:
    gate = await tuned(start_gate, origin_url=closed_port())
    visitors = [gate.visitor() for _ in range(_MANY)]

    async def has_fallen() -> bool:
        for visitor in visitors:
            assert (await visitor.request("GET", "/a", headers=HTML)).status == 502
        return rate_of(gate) < 6000

    await eventually(has_fallen)


async def test_rate_outside_of_the_bounds_is_refused_live(
    store_url: str, start_gate: GateStarter
) -> None:
    gate = await tuned(start_gate)
    async with operator_of(gate, store_url) as operator:
        with pytest.raises(ConfigError, match="autotune_max"):
            await operator.set_rate(99_999)
        with pytest.raises(ConfigError, match="autotune_max"):
            await operator.change_settings(parse_changes({"rate": "99999/min"}))
        assert (await operator.set_rate(0)).rate_per_minute == 0
        assert (await operator.set_rate(300)).rate_per_minute == 300


async def test_rate_is_within_the_bounds_of_the_event_that_runs(
    store_url: str, start_gate: GateStarter
) -> None:
    """Set by itself, or as one of the settings."""
    gate = await tuned(start_gate)
    async with operator_of(gate, store_url) as operator:
        table = {
            "name": "sale",
            "room": gate.room_name,
            "start": spell_time((await operator.status()).now_us + 600_000_000),
            "order": "arrival",
            "settings": {"autotune_max": "20000/min"},
        }
        await operator.add_event(EventConfig.model_validate(table))
        await operator.move_event("sale", NewStart())
        await operator.status()
        assert (await operator.set_rate(15_000)).rate_per_minute == 15_000
        change = parse_changes({"rate": "16000/min"})
        assert (await operator.change_settings(change)).rate_per_minute == 16_000
        with pytest.raises(ConfigError, match="autotune_max"):
            await operator.change_settings(parse_changes({"rate": "20001/min"}))


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
