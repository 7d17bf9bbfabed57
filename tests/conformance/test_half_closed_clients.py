"""A client that closes its half, or everything, while its requests are served."""

import asyncio

import pytest

from tests.conformance.gate_pair import Stage, StageOpener
from tests.conformance.request_cases import GET, OK, POST, STATUS
from tests.integration.proxy.forwarding import PATIENCE_S, Origin, Script, Wire, until


@pytest.mark.parametrize(
    "requests",
    [[GET], [POST], [GET, GET], [GET, POST], [POST, GET], [GET, GET[:30]], [POST, GET[:30]]],
)
async def test_half_closed_client_receives_every_forwarded_response(
    requests: list[bytes], open_stage: StageOpener
) -> None:
    """The responses to all complete requests; then the connection closes. The origin responds late,
    so that the end of the input arrives first."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                await origin.request(wire)
                await asyncio.sleep(0.05)
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
                await asyncio.sleep(0.05)
                wire.send(b"x" * 200_000)

        return script

    complete = [request for request in requests if len(request) > 30]
    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(b"".join(requests))
        wire.writer.write_eof()
        for _ in complete:
            assert len((await wire.message()).body) == 200_000
        assert await wire.rest() == b""
        assert len(stage.origin.requests) == len(complete)
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


@pytest.mark.parametrize("count", [1, 2, 40])
async def test_half_closed_client_receives_every_own_response(count: int, stage: Stage) -> None:
    newcomer = b"GET / HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n\r\n"
    for request, status in ((STATUS, 200), (STATUS.replace(b"GET", b"PUT"), 405)):
        wire = await stage.connect()
        wire.send(request * count)
        wire.writer.write_eof()
        for _ in range(count):
            assert (await wire.message()).status == status
        assert await wire.rest() == b""
    wire = await stage.connect()
    wire.send(newcomer)
    wire.writer.write_eof()
    assert (await wire.message()).status in {200, 503}
    assert await wire.rest() == b""


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize(
    ("malformed", "status"),
    [
        (b"GET /\x01 HTTP/1.1\r\nHost: shop.example\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", 414),
        (GET[:-2] + b"A: a\r\n" * 20_000, 431),
        (POST.partition(b"\r\n\r\n")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
    ids=["byte", "line", "fields", "framing"],
)
async def test_half_closed_client_receives_the_error_of_its_request(
    before: int, malformed: bytes, status: int, open_stage: StageOpener
) -> None:
    """After the responses to the earlier requests."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                await origin.request(wire)
                await asyncio.sleep(0.05)
                wire.send(OK)

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET * before + malformed)
        wire.writer.write_eof()
        for _ in range(before):
            assert (await wire.message()).status == 200
        refusal = await wire.message()
        assert refusal.status == status
        assert await wire.rest() == b""
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


async def test_half_closed_client_receives_an_origin_failure(open_stage: StageOpener) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            await asyncio.sleep(0.05)

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        wire.writer.write_eof()
        assert (await wire.message()).status == 502
        assert await wire.rest() == b""


@pytest.mark.parametrize("sent", [b"", b"GET", GET[:-2], POST[:-3], POST[:-1], GET[:-4] + b"\n"])
async def test_half_close_before_a_whole_request_ends_the_connection(
    sent: bytes, open_stage: StageOpener
) -> None:
    """An incomplete request is not forwarded as a complete one."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            with pytest.raises(asyncio.IncompleteReadError):
                await wire.exactly(3)

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(sent)
        await wire.flush()
        wire.writer.write_eof()
        await wire.gone()
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


async def test_disconnect_ends_the_exchange_at_the_next_bytes(
    open_stage: StageOpener,
) -> None:
    """A close looks like a half-close until the client's system refuses the data."""
    requested, gone = asyncio.Event(), asyncio.Event()

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            requested.set()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            while not wire.reader.at_eof() and not wire.writer.is_closing():
                wire.send(b"x" * 10_000)
                await asyncio.sleep(0.01)
            gone.set()

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        async with asyncio.timeout(PATIENCE_S):
            await requested.wait()
            wire.close()
            await gone.wait()
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)
