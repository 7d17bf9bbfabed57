"""Clients that close after one known request: served without a transport, with the same result.

Rules: the first exchange of a test goes through a `ClientConnection`, and makes the request known
and a connection to the origin idle. What follows is a `SingleExchange`.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gatekeeper.proxy.fastpath import plain_listener
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.single_exchange import SingleExchange
from tests.conformance.gate_pair import Stage, running_stage, visitor_request
from tests.integration.proxy.forwarding import Origin, Script, Wire, responding, until

REQUEST = visitor_request(b"GET /", b"Connection: close")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
_SIZE = 1 << 24  # more than all buffers between origin and client
LARGE = (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _SIZE, b"x" * _SIZE)


class Steps:
    """The origin responds to its first request at once, and to others with `pieces`, each of them
    after a `step`."""

    def __init__(self, *pieces: bytes, closes: bool = False) -> None:
        self.pieces = pieces
        self.closes = closes
        self._step = asyncio.Semaphore(0)

    def step(self) -> None:
        self._step.release()

    def script_of(self, origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                await origin.request(wire)
                if len(origin.requests) == 1:
                    wire.send(OK)
                    continue
                for piece in self.pieces:
                    await self._step.acquire()
                    wire.send(piece)
                if self.closes:
                    await self._step.acquire()
                    return

        return script


@asynccontextmanager
async def known_request(origin: Steps, store_url: str) -> AsyncIterator[Stage]:
    """A gate that knows `REQUEST`, with one idle connection to the origin."""
    async with running_stage(origin.script_of, store_url=store_url, fast_path=True) as stage:
        first = await stage.connect()
        first.send(REQUEST)
        assert await first.rest() == RESPONSE
        await until(lambda: stage.fast_path_connections == 0)
        listener_of(stage).accept_itself()
        yield stage


async def send_request(stage: Stage) -> Wire:
    """A client of another exchange; its request has reached the origin."""
    before = len(stage.origin.requests)
    wire = await stage.connect()
    wire.send(REQUEST)
    await until(lambda: len(stage.origin.requests) == before + 1)
    return wire


async def begin(stage: Stage) -> tuple[Wire, SingleExchange]:
    """The same, with its `SingleExchange`, which lasts while the listener is `patient`."""
    wire = await send_request(stage)
    assert stage.worker._fast_path is not None
    [exchange] = stage.worker._fast_path.connections
    assert isinstance(exchange, SingleExchange)
    return wire, exchange


def listener_of(stage: Stage) -> plain_listener.PlainListener:
    [found] = stage.worker._listeners
    assert isinstance(found, plain_listener.PlainListener)
    return found


def accepts_itself(stage: Stage) -> bool:
    return listener_of(stage).accepts_itself


def connection_of(stage: Stage) -> object:
    """The one connection, once it has a transport."""
    assert stage.worker._fast_path is not None
    [connection] = stage.worker._fast_path.connections
    return connection


def has_ended(wire: Wire) -> bool:
    return wire.reader.at_eof() or wire.reader.exception() is not None


async def until_all_ended(stage: Stage) -> None:
    """Wait until the client's connection and the one to the origin have ended."""
    await until(lambda: stage.fast_path_connections == 0)
    await until(lambda: has_ended(stage.origin.wires[0]))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_listener, "PATIENCE_S", 60.0)


async def test_known_poll_of_a_client_that_closes_gets_its_response(store_url: str) -> None:
    """The gate responds itself: no `SingleExchange` begins, and the origin sees no request."""
    async with known_request(Steps(OK), store_url) as stage:
        poll = visitor_request(b"GET /.gatekeeper/status", b"Connection: close")
        for _ in range(2):  # at the second request its head is known
            wire = await stage.connect()
            wire.send(poll)
            response = await wire.rest()
            assert response.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b'"state": "admitted"' in response
        assert len(stage.origin.requests) == 1


@pytest.mark.parametrize(
    ("pieces", "response"),
    [
        ([OK], RESPONSE),
        ([OK[:9], OK[9:40], OK[40:]], RESPONSE),
        (
            [b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", OK],
            b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + RESPONSE,
        ),
        (
            [CHUNKED, b"0\r\n\r\n"],
            CHUNKED.replace(b"ked\r\n", b"ked\r\nConnection: close\r\n") + b"0\r\n\r\n",
        ),
        (
            [b"HTTP/1.1 204 No Content\r\n\r\n"],
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        ),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_response_comes_without_a_transport(
    pieces: list[bytes], response: bytes, store_url: str
) -> None:
    origin = Steps(*pieces)
    async with known_request(origin, store_url) as stage:
        for _ in range(2):  # at the second request its head may be known
            wire, exchange = await begin(stage)
            for _ in pieces:
                origin.step()
            assert await wire.rest() == response
            assert not exchange._has_transport
            assert stage.fast_path_connections == 0
        assert stage.origin.connections == 1


@pytest.mark.usefixtures("patient")
async def test_pieces_are_sent_as_they_arrive(store_url: str) -> None:
    origin = Steps(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", b"cd")
    async with known_request(origin, store_url) as stage:
        wire, exchange = await begin(stage)
        origin.step()
        assert (await wire.head()).status == 200
        assert await wire.exactly(2) == b"ab"
        origin.step()
        assert await wire.rest() == b"cd"
        assert not exchange._has_transport


async def test_slow_response_goes_on_with_a_transport(store_url: str) -> None:
    origin = Steps(OK)
    async with known_request(origin, store_url) as stage:
        wire = await send_request(stage)
        await until(lambda: isinstance(connection_of(stage), ClientConnection))
        origin.step()
        assert await wire.rest() == RESPONSE
        assert stage.origin.connections == 1


async def test_disconnect_is_noticed_after_a_moment(store_url: str) -> None:
    async with known_request(Steps(OK), store_url) as stage:
        wire = await send_request(stage)
        wire.reset()
        await until_all_ended(stage)


@pytest.mark.usefixtures("patient")
async def test_response_to_a_client_that_disconnected_leaves_nothing(store_url: str) -> None:
    origin = Steps(*LARGE)
    async with known_request(origin, store_url) as stage:
        wire = await send_request(stage)
        wire.reset()
        origin.step()
        origin.step()
        await until_all_ended(stage)


@pytest.mark.usefixtures("patient")
async def test_slow_client_receives_everything(store_url: str) -> None:
    origin = Steps(*LARGE)
    async with known_request(origin, store_url) as stage:
        wire, exchange = await begin(stage)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        origin.step()
        origin.step()
        await until(lambda: exchange._has_transport)
        await until(lambda: isinstance(connection_of(stage), ClientConnection))
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        assert head.endswith(b"\r\nConnection: close")
        assert body == LARGE[1]


@pytest.mark.usefixtures("patient")
async def test_idle_connection_that_ends_is_replaced(store_url: str) -> None:
    """Its idle timeout expires while the request is sent, so the request is repeated."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(OK)
            await origin.request(wire)
            if origin.connections > 1:
                wire.send(OK)

        return script

    async with running_stage(script_of, store_url=store_url, fast_path=True) as stage:
        listener_of(stage).accept_itself()
        for _ in range(3):
            wire = await stage.connect()
            wire.send(REQUEST)
            assert await wire.rest() == RESPONSE
        assert stage.origin.connections == 2


@pytest.mark.parametrize(
    ("pieces", "received"),
    [
        ([b"nonsense\r\n\r\n"], b"HTTP/1.1 502 "),
        ([b"HTTP/1.1 200 OK\r\nConte"], b"HTTP/1.1 502 "),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"], None),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_failure_of_the_origin_is_a_502_or_a_reset(
    pieces: list[bytes], received: bytes | None, store_url: str
) -> None:
    origin = Steps(*pieces, closes=True)
    async with known_request(origin, store_url) as stage:
        wire = await send_request(stage)
        origin.step()
        origin.step()
        if received is None:
            with pytest.raises(ConnectionResetError):
                await wire.rest()
        else:
            assert (await wire.rest()).startswith(received)


@pytest.mark.usefixtures("patient")
async def test_shutdown_waits_for_the_exchange(store_url: str) -> None:
    origin = Steps(OK)
    async with known_request(origin, store_url) as stage:
        wire = await send_request(stage)
        assert stage.worker._fast_path is not None
        closing = asyncio.create_task(stage.worker._fast_path.close(20.0))
        await asyncio.sleep(0)
        assert not closing.done()
        origin.step()
        assert await wire.rest() == RESPONSE
        await closing


@pytest.mark.usefixtures("patient")
async def test_shutdown_resets_the_exchange_at_its_limit(store_url: str) -> None:
    async with known_request(Steps(OK), store_url) as stage:
        wire = await send_request(stage)
        assert stage.worker._fast_path is not None
        await stage.worker._fast_path.close(0.0)
        with pytest.raises(ConnectionResetError):
            await wire.rest()
        assert stage.fast_path_connections == 0


def test_exchange_holds_on_asyncio_loop(store_url: str) -> None:
    async def slow_and_fast() -> None:
        origin = Steps(OK)
        async with known_request(origin, store_url) as stage:
            wire = await send_request(stage)
            origin.step()
            assert await wire.rest() == RESPONSE
            wire = await send_request(stage)
            await until(lambda: isinstance(connection_of(stage), ClientConnection))
            origin.step()
            assert await wire.rest() == RESPONSE

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(slow_and_fast())


async def test_listener_goes_on_after_no_file_was_left(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, refused = plain_listener._ListeningSocket.accept, 0

    def without_files(on: plain_listener._ListeningSocket) -> tuple[socket.socket, object]:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise OSError(errno.EMFILE, "no file is left")
        return accept(on)

    origin = Steps(OK)
    async with known_request(origin, store_url) as stage:
        monkeypatch.setattr(plain_listener._ListeningSocket, "accept", without_files)
        wire = await stage.connect()
        wire.send(REQUEST)
        origin.step()
        assert await wire.rest() == RESPONSE
        assert refused == 2


async def ask(stage: Stage, request: bytes, times: int) -> None:
    """Send the request `times` times, each on a new connection."""
    for _ in range(times):
        wire = await stage.connect()
        wire.send(request)
        assert (await wire.message()).body == b"ok"
        wire.close()


async def test_listener_accepts_itself_while_most_clients_close(store_url: str) -> None:
    """From three quarters of a sample on. The event loop accepts again at half of a sample."""
    sample = plain_listener._SAMPLE
    kept = visitor_request(b"GET /")
    async with running_stage(responding(OK), store_url=store_url, fast_path=True) as stage:
        await ask(stage, REQUEST, sample // 2)
        await ask(stage, kept, sample // 2)
        assert not accepts_itself(stage)
        await ask(stage, REQUEST, sample)
        await until(lambda: accepts_itself(stage))
        await ask(stage, REQUEST, sample // 2)
        await ask(stage, kept, sample - sample // 2)
        assert accepts_itself(stage)
        await ask(stage, kept, 2 * sample)
        await until(lambda: not accepts_itself(stage))
        await ask(stage, kept, 3)
        await ask(stage, REQUEST, 2 * sample)
        await until(lambda: accepts_itself(stage))
        await ask(stage, REQUEST, 3)


async def test_listener_goes_on_itself_without_a_file_for_the_loop(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(_: int) -> int:
        raise OSError(errno.EMFILE, "no file is left")

    kept = visitor_request(b"GET /")
    async with running_stage(responding(OK), store_url=store_url, fast_path=True) as stage:
        listener_of(stage).accept_itself()
        monkeypatch.setattr("gatekeeper.proxy.fastpath.plain_listener.os.dup", no_file)
        await ask(stage, kept, 2 * plain_listener._SAMPLE)
        assert accepts_itself(stage)
        await ask(stage, REQUEST, 3)
