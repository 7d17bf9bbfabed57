"""Bodies are streamed at the speed of the slower side, and never buffered completely."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.proxy.forwarding import (
    MIB,
    OK,
    PATIENCE_S,
    CountedSender,
    Gate,
    Origin,
    Script,
    Wire,
    get,
    proxying,
    responding,
    responding_once,
    running_gate,
    running_origin,
    stuck_at,
    until,
)

BIG_MIB = 100
# Limit of what client, gate and origin, all in this process, may buffer of a body.
MAX_HELD_MIB = 8
# More than all buffers between origin and client.
MORE_THAN_BUFFERS = 64 * MIB


@contextmanager
def little_held() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MAX_HELD_MIB * MIB
    finally:
        tracemalloc.stop()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LENGTH = b"Content-Length: %d\r\n\r\n" % (BIG_MIB * MIB)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def send_much(wire: Wire, framing: bytes) -> None:
    """A body of `BIG_MIB`, a MiB at a time."""
    piece = b"x" * MIB
    for _ in range(BIG_MIB):
        wire.send(chunk(piece) if framing is CHUNKED else piece)
        await wire.flush()
    if framing is CHUNKED:
        wire.send(b"0\r\n\r\n")


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_large_download_uses_constant_memory(framing: bytes) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\n" + framing)
            await send_much(wire, framing)

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        received = 0
        wanted = BIG_MIB * (MIB if framing is LENGTH else len(chunk(b"x" * MIB)))
        with little_held():
            while received < wanted:
                received += len(await wire.some())
        wire.close()


@pytest.mark.parametrize("framing", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_large_upload_uses_constant_memory(framing: bytes) -> None:
    received = 0

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            nonlocal received
            await wire.head()
            tail = b""
            while received < BIG_MIB * MIB or (framing is CHUNKED and tail != b"0\r\n\r\n"):
                data = await wire.some()
                received += len(data)
                tail = (tail + data)[-5:]
            wire.send(OK)

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(b"POST / HTTP/1.1\r\nHost: shop.example\r\n" + framing)
        with little_held():
            await send_much(wire, framing)
            assert (await wire.message()).body == b"ok"
        wire.close()
    assert received >= BIG_MIB * MIB


async def test_client_that_does_not_read_pauses_origin() -> None:
    sender = CountedSender(MORE_THAN_BUFFERS)

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MORE_THAN_BUFFERS)
            await sender.send(wire)

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        held = await stuck_at(lambda: sender.sent)
        assert held < MORE_THAN_BUFFERS
        assert len(await wire.exactly(MORE_THAN_BUFFERS)) == MORE_THAN_BUFFERS
        wire.close()


async def test_origin_that_does_not_read_pauses_client() -> None:
    goes_on = asyncio.Event()
    read = 0

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            nonlocal read
            await wire.head()
            await goes_on.wait()
            while read < MORE_THAN_BUFFERS:
                read += len(await wire.some())
            wire.send(OK)

        return script

    sender = CountedSender(MORE_THAN_BUFFERS)
    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", f"Content-Length: {MORE_THAN_BUFFERS}", method="PUT"))
        uploading = asyncio.create_task(sender.send(wire))
        assert await stuck_at(lambda: sender.sent) < MORE_THAN_BUFFERS
        goes_on.set()
        assert (await wire.message()).body == b"ok"
        await uploading
        wire.close()
    assert read == MORE_THAN_BUFFERS


async def test_client_that_pipelines_without_reading_is_paused() -> None:
    body = b"x" * (MIB // 4)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with proxying(responding(response)) as (origin, gate):
        wire = await gate.connect()
        wire.send(get() * 256)
        assert await stuck_at(lambda: len(origin.requests)) < 256
        for _ in range(256):
            assert (await wire.message()).body == body
        wire.close()


async def test_event_reaches_client_before_next_is_sent() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            for turn in range(5):
                wire.send(chunk(b"data: %d\n\n" % turn))
                await read[turn].wait()
            wire.send(b"0\r\n\r\n")

        return script

    read = [asyncio.Event() for _ in range(5)]
    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        for turn in range(5):
            event = chunk(b"data: %d\n\n" % turn)
            assert await wire.exactly(len(event)) == event
            read[turn].set()
        assert await wire.exactly(5) == b"0\r\n\r\n"
        wire.close()


async def test_response_may_precede_end_of_upload() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            await wire.gone()

        return script

    async with proxying(script_of) as (origin, gate):
        wire = await gate.connect()
        wire.send(get("/", "Content-Length: 1000000", method="POST") + b"beginning")
        response = await wire.message()
        assert (response.status, response.body) == (413, b"big")
        assert response.one("Connection") == b"close"
        await wire.gone()
        wire.close()
        await until(lambda: origin.wires[0].reader.at_eof())
    assert gate.relayed[0].cut is None


async def test_response_and_upload_may_overlap() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(10):
                wire.send(chunk(await wire.exactly(4)))
            wire.send(b"0\r\n\r\n")

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", "Content-Length: 40", method="POST"))
        await wire.head()
        for turn in range(10):
            wire.send(b"%04d" % turn)
            assert await wire.exactly(9) == b"4\r\n%04d\r\n" % turn
        assert await wire.exactly(5) == b"0\r\n\r\n"
        wire.close()


async def test_client_disconnect_ends_origin_request() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            if len(origin.requests) == 1:
                await wire.gone()
                origin_was_left.set()
            else:
                wire.send(OK)

        return script

    origin_was_left = asyncio.Event()
    async with proxying(script_of) as (origin, gate):
        await left_by_its_client(gate, origin)
        async with asyncio.timeout(PATIENCE_S):
            await origin_was_left.wait()
        assert (await gate.ask(get())).body == b"ok"
    assert gate.cancelled.is_set()
    assert gate.errors == []
    assert origin.connections == 2


async def left_by_its_client(gate: Gate, origin: Origin) -> None:
    wire = await gate.connect()
    wire.send(get())
    await until(lambda: len(origin.requests) == 1)
    wire.reset()  # a close looks like a half-close until data is sent


async def test_client_disconnect_in_response_ends_origin_request() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    wire.send(b"x" * 1000)
                    await wire.writer.drain()
                    await asyncio.sleep(0.001)

        return script

    async with proxying(script_of) as (origin, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        wire.reset()
        await until(lambda: origin.wires[0].writer.is_closing())
    assert gate.cancelled.is_set()
    assert gate.errors == []


@pytest.mark.simulated_time
async def test_client_that_stops_reading_is_aborted() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                wire.send(b"x" * MIB)
                await wire.writer.drain()

        return script

    async with proxying(script_of, read_timeout="200ms") as (_, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.head()
        await until(lambda: len(gate.relayed) == 1)
        assert isinstance(gate.relayed[0].cut, ConnectionError)
        with pytest.raises(ConnectionError):
            await wire.rest()
        wire.close()


async def test_response_cut_by_shutdown_looks_incomplete() -> None:
    async with running_origin(
        responding_once(b"HTTP/1.1 200 OK\r\n\r\nbeginning", stays=True)
    ) as origin:
        async with running_gate(origin.url) as gate:
            wire = await gate.connect()
            wire.send(get(version="1.0"))
            await wire.head()
            await wire.exactly(len(b"beginning"))
        with pytest.raises(ConnectionError):
            await wire.rest()
        wire.close()
