"""Origin failures: an error before the response head, an aborted connection after it."""

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest

from gatekeeper.errors import OriginError, OriginProtocolError, OriginTimeout, OriginUnreachable
from gatekeeper.proxy.response import ResponseHead
from tests.integration.proxy.forwarding import (
    OK,
    Gate,
    Origin,
    Script,
    Wire,
    get,
    post,
    proxying,
    responding,
    responding_once,
    running_gate,
)
from tests.ports import closed_port


def failed_with(gate: Gate, kind: type[OriginError]) -> None:
    assert [type(error) for error in gate.errors if isinstance(error, kind)]
    assert gate.relayed == []


async def test_origin_that_does_not_listen_is_unreachable() -> None:
    async with running_gate(f"http://127.0.0.1:{closed_port()}") as gate:
        assert (await gate.ask(get())).status == 502
    failed_with(gate, OriginUnreachable)


async def test_origin_with_unknown_name_is_unreachable() -> None:
    url = "http://nowhere.invalid:80"
    async with running_gate(url, connect_timeout="60s") as gate:  # a resolver may not respond
        assert (await gate.ask(get())).status == 502
    failed_with(gate, OriginUnreachable)


async def test_connect_timeout_is_origin_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        queued = [socket.socket() for _ in range(4)]  # to fill the backlog
        for waiting in queued:
            waiting.setblocking(False)
            waiting.connect_ex(address)
        url = f"http://127.0.0.1:{address[1]}"
        async with running_gate(url, connect_timeout="100ms") as gate:
            assert (await gate.ask(get())).status == 504
        for waiting in queued:
            waiting.close()
    failed_with(gate, OriginTimeout)


def silent_after(*pieces: bytes) -> Callable[[Origin], Script]:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            for piece in pieces:
                wire.send(piece)
            await wire.gone()

        return script

    return script_of


@pytest.mark.simulated_time
@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 2", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_silence_before_head_is_origin_timeout(piece: bytes) -> None:
    async with proxying(silent_after(piece), read_timeout="100ms") as (_, gate):
        response = await gate.ask(get(version="1.0"))
        assert response.status == 504
    failed_with(gate, OriginTimeout)


@pytest.mark.simulated_time
async def test_silence_in_body_aborts_client_connection() -> None:
    piece = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    async with proxying(silent_after(piece), read_timeout="100ms") as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        assert await wire.exactly(3) == b"abc"
        with pytest.raises(ConnectionError):
            await wire.rest()
        wire.close()
    assert isinstance(gate.relayed[0].cut, OriginTimeout)


@pytest.mark.simulated_time
async def test_origin_that_keeps_sending_may_exceed_timeout() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
            for _ in range(8):
                await asyncio.sleep(0.05)
                wire.send(b"x")

        return script

    async with proxying(script_of, read_timeout="200ms") as (_, gate):
        assert (await gate.ask(get())).body == b"xxxxxxxx"


@pytest.mark.simulated_time
async def test_slow_upload_is_not_origin_silence() -> None:
    async with proxying(responding(OK), read_timeout="200ms") as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", "Content-Length: 8", method="POST"))
        for _ in range(8):
            await asyncio.sleep(0.05)
            wire.send(b"x")
        assert (await wire.message()).body == b"ok"
        wire.close()


@pytest.mark.simulated_time
async def test_stopped_upload_is_408() -> None:
    async with proxying(responding(OK), read_timeout="100ms") as (origin, gate):
        assert (await gate.ask(get("/", "Content-Length: 8", method="POST"))).status == 408
    assert origin.requests == []


async def test_origin_close_during_upload_is_reported_once(
    log_records: list[logging.LogRecord],
) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.exactly(1000)
            wire.abort()

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", "Content-Length: 100000", method="POST"))
        for _ in range(10):
            wire.send(b"x" * 1000)
            await asyncio.sleep(0)
        assert (await wire.message()).status == 502
        wire.close()
    assert len(gate.errors) == 1
    assert isinstance(gate.errors[0], OriginProtocolError)
    assert log_records == []


CUT = {
    "a short length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "a cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    "cut trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n",
}


@pytest.mark.parametrize("what", CUT)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_cut_response_never_looks_complete(what: str, version: str) -> None:
    async with proxying(responding_once(CUT[what])) as (_, gate):
        wire = await gate.connect()
        wire.send(get(version=version))
        with pytest.raises(ConnectionError):
            await wire.rest()
        wire.close()
    assert isinstance(gate.relayed[0].cut, OriginProtocolError)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_response_ended_by_reset_is_cut(version: str) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
            await relayed.wait()
            linger_not = b"\x01\0\0\0\0\0\0\0"
            sock = wire.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
            wire.abort()

        return script

    relayed = asyncio.Event()
    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get(version=version))
        await wire.head()
        await wire.exactly(3)
        relayed.set()
        with pytest.raises(ConnectionError):
            await wire.rest()
        wire.close()
    assert isinstance(gate.relayed[0].cut, OriginProtocolError)


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"\r\n",
        b"-1\r\n",
    ],
)
async def test_malformed_chunks_with_head_are_error(chunks: bytes) -> None:
    async with proxying(responding(CHUNKED_HEAD + chunks)) as (_, gate):
        assert (await gate.ask(get())).status == 502
    failed_with(gate, OriginProtocolError)


async def test_later_malformed_chunks_abort_client_connection() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(CHUNKED_HEAD)
            await head_is_read.wait()
            wire.send(b"3\r\nabc\n")
            await wire.gone()

        return script

    head_is_read = asyncio.Event()
    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        head_is_read.set()
        with pytest.raises(ConnectionError):
            await wire.rest()
        wire.close()
    assert isinstance(gate.relayed[0].cut, OriginProtocolError)


MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status beyond 599": b"HTTP/1.1 600 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "whitespace before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 0\r\n\r\n",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    "a length and a coding": CHUNKED_HEAD[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": CHUNKED_HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": CHUNKED_HEAD.replace(b"/1.1", b"/1.0") + b"0\r\n\r\n",
    "a switch nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: aaaaaaaaaaaaaa\r\n" * 4096,
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_malformed_response_is_error_and_closes_connection(what: str) -> None:
    async with proxying(responding(MALFORMED[what])) as (origin, gate):
        assert (await gate.ask(get())).status == 502
        assert (await gate.ask(get())).status == 502
    failed_with(gate, OriginProtocolError)
    assert origin.connections == 2


async def test_identity_coding_is_ignored() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nall"

    async with proxying(responding_once(head)) as (_, gate):
        assert (await gate.ask(get())).body == b"all"


async def test_head_of_maximum_size_is_forwarded() -> None:
    filling = b"".join(b"X-%04d: %b\r\n" % (turn, b"a" * 90) for turn in range(600))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + filling + b"\r\n"
    async with proxying(responding(head)) as (_, gate):
        assert (await gate.ask(get())).head == head


async def test_on_head_error_is_raised_before_response() -> None:
    class OtherError(OriginError):
        pass

    def on_head(_: ResponseHead) -> tuple[tuple[bytes, bytes], ...]:
        raise OtherError("odd")

    async with proxying(responding(OK)) as (_, gate):
        gate.on_head = on_head
        assert (await gate.ask(post(b"x"))).status == 502
    assert isinstance(gate.errors[0], OtherError)
