"""Clients that are slow, disconnect, upload, pipeline, or switch the protocol."""

import asyncio

import pytest

from gatekeeper.proxy import SERVER_OPTIONS, aiohttp_server
from gatekeeper.proxy.fastpath import deadlines
from tests.conformance.case_runner import assert_aborted
from tests.conformance.gate_pair import Stage, StageOpener, received, visitor_request
from tests.conformance.request_cases import GET, OK, SEEN
from tests.integration.proxy.forwarding import (
    PATIENCE_S,
    Origin,
    Script,
    Wire,
    responding,
    responding_once,
    until,
)

SLOW = {
    "nothing at all": b"",
    "half a request line": b"GET /slow",
    "half a head": GET[:-2],
    "half a head that is not plain": b"POST / HTTP/1.1\r\nHost: shop.example\r\n",
    "more of a head than is plain": GET[:-2] + b"X: " + b"a" * 9000,
}


@pytest.mark.parametrize("name", SLOW)
async def test_incomplete_head_times_out(
    name: str, monkeypatch: pytest.MonkeyPatch, open_stage: StageOpener
) -> None:
    """An incomplete head is refused; a connection without any byte is closed without a response."""
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.2)
    for module in (aiohttp_server, deadlines):
        monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.3)  # the longer of the two
    async with open_stage(responding(OK)) as stage:
        wire = await stage.connect()
        wire.send(SLOW[name])
        status_line = b"HTTP/1.1 408 Request Timeout" if SLOW[name] else b""
        assert (await wire.rest()).partition(b"\r\n")[0] == status_line
        assert stage.origin.requests == []


async def test_idle_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch, open_stage: StageOpener
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.2)
    async with open_stage(responding(OK)) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await wire.rest() == OK


async def test_response_may_take_longer_than_idle_timeout(
    monkeypatch: pytest.MonkeyPatch, open_stage: StageOpener
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.1)

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            await asyncio.sleep(0.3)  # longer than the timeout
            wire.send(OK)
            await wire.gone()

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(OK)) == OK


async def test_missing_request_body_is_408(open_stage: StageOpener) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.gone()

        return script

    async with open_stage(script_of, origin_toml='read_timeout = "100ms"') as stage:
        wire = await stage.connect()
        wire.send(visitor_request(b"POST /", b"Content-Length: 10", body=b"half"))
        assert (await wire.message()).status == 408
        await wire.gone()


async def test_client_disconnect_ends_exchange(open_stage: StageOpener) -> None:
    """A reset, because after a close the client may have closed only one half and still wait."""
    gone = asyncio.Event()

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            requested.set()
            await wire.gone()
            gone.set()

        return script

    requested = asyncio.Event()
    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        async with asyncio.timeout(PATIENCE_S):
            await requested.wait()
            wire.reset()
            await gone.wait()
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


async def test_silent_origin_in_body_aborts_client_connection(open_stage: StageOpener) -> None:
    async with open_stage(
        responding_once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", stays=True),
        origin_toml='read_timeout = "100ms"',
    ) as stage:
        wire = await stage.connect()
        wire.send(GET)
        await wire.head()
        await assert_aborted(wire)
        assert len(stage.origin.requests) == 1


async def test_many_interim_responses_use_no_recursion(open_stage: StageOpener) -> None:
    """For any number of them in one read."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000
    async with open_stage(
        responding(hints + OK),
    ) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(hints + OK)) == hints + OK


async def test_client_disconnect_in_body_ends_exchange(open_stage: StageOpener) -> None:
    gone = asyncio.Event()

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await wire.gone()
            gone.set()

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        await wire.head()
        wire.reset()
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()


async def test_early_response_ends_upload_and_connections(open_stage: StageOpener) -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.exactly(5)
            wire.send(refusal)
            await wire.gone()

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(visitor_request(b"POST /", b"Content-Length: 1000000", body=b"begun"))
        response = await wire.message()
        assert (response.status, response.body) == (413, b"big")
        assert response.one("Connection") == b"close"
        await until(stage.origin.wires[0].reader.at_eof)


async def test_upload_aborted_by_origin_is_502(open_stage: StageOpener) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.exactly(5)

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(visitor_request(b"POST /", b"Content-Length: 1000000", body=b"begun"))
        assert (await wire.message()).status == 502
        await wire.gone()


async def test_request_begun_before_previous_response_is_served(open_stage: StageOpener) -> None:
    """A plain request and half of a request that is not plain: that half is handed over."""
    part = visitor_request(b"POST /slow", b"Content-Length: 6", body=b"abc")
    async with open_stage(responding(OK)) as stage:
        wire = await stage.connect()
        for half in (GET[:20], part[:25], part):
            rest = {GET[:20]: GET[20:], part[:25]: part[25:] + b"def", part: b"def"}[half]
            wire.send(GET + half)
            assert await received(wire, len(OK)) == OK
            wire.send(rest)
            assert await received(wire, len(OK)) == OK
        assert [message.first_line for message in stage.origin.requests[::2]] == [
            SEEN.partition(b"\r\n")[0]
        ] * 3
        assert stage.origin.requests[-1].body == b"abcdef"


async def test_many_pipelined_requests_are_all_served(open_stage: StageOpener) -> None:
    count = 500
    async with open_stage(responding(OK)) as stage:
        wire = await stage.connect()
        sending = asyncio.create_task(asyncio.wait_for(_drained(wire, GET * count), PATIENCE_S))
        assert await received(wire, len(OK) * count) == OK * count
        await sending
        assert stage.origin.connections == 1


async def _drained(wire: Wire, data: bytes) -> None:
    wire.send(data)
    await wire.flush()


@pytest.mark.parametrize("known", [False, True], ids=["new fields", "known fields"])
async def test_head_beyond_limits_is_rejected(known: bool, stage: Stage) -> None:
    for request in (
        visitor_request(b"GET /" + b"a" * 9000),
        visitor_request(b"GET /", b"X: " + b"a" * 17000),
        visitor_request(b"GET /", *[b"X: a"] * 200),
    ):
        wire = await stage.connect()
        if known:
            wire.send(GET)
            assert await received(wire, len(OK)) == OK
        wire.send(request)
        response = await wire.message()
        assert response.status in {400, 414, 431}
        await wire.gone()
    assert len(stage.origin.requests) == (3 if known else 0)


async def test_head_beyond_plain_limit_is_forwarded_by_aiohttp(open_stage: StageOpener) -> None:
    fields = [b"X-%d: " % number + b"a" * 1000 for number in range(12)]
    async with open_stage(responding(OK)) as stage:
        wire = await stage.connect()
        wire.send(visitor_request(b"GET /", *fields))
        assert await received(wire, len(OK)) == OK
        assert stage.aiohttp_connections == 1
        assert [len(stage.origin.requests[0].all(f"X-{n}")[0]) for n in range(12)] == [1000] * 12


async def test_websocket_after_plain_request_is_tunnelled(open_stage: StageOpener) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                request = await origin.request(wire)
                if b"/ws " not in request.first_line:
                    wire.send(OK)
                    continue
                wire.send(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                    b"Upgrade: websocket\r\n\r\nhello"
                )
                wire.send(await wire.exactly(5))
                await wire.gone()

        return script

    upgrade = visitor_request(b"GET /ws", b"Connection: Upgrade", b"Upgrade: websocket")
    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET + upgrade)
        assert await received(wire, len(OK)) == OK
        assert (await wire.head()).status == 101
        assert await wire.exactly(5) == b"hello"
        wire.send(b"world")
        assert await wire.exactly(5) == b"world"
