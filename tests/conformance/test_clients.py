"""Clients that are slow, leave, upload, pipeline, or change the protocol."""

import asyncio

import pytest

from gatekeeper.proxy import SERVER_OPTIONS
from tests.conformance.cases import GET, OK, SEEN
from tests.conformance.gate_pair import asked, received, running_stage
from tests.conformance.playing import assert_cut
from tests.integration.proxy.forwarding import Origin, Script, Wire, answering, until

SLOW = {
    "nothing at all": b"",
    "half a request line": b"GET /slow",
    "half a head": GET[:-2],
    "half a head that is not plain": b"POST / HTTP/1.1\r\nHost: shop.example\r\n",
    "more of a head than is plain": GET[:-2] + b"X: " + b"a" * 9000,
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_head_that_does_not_come_to_its_end_ends_the_connection(
    name: str, express: bool, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.2)
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(SLOW[name])
        assert await wire.rest() == b""
        assert stage.origin.requests == []


async def test_a_client_that_drips_its_head_gains_no_time(
    express: bool, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.3)
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        closed = asyncio.create_task(wire.gone())
        for byte in GET[:-1]:
            wire.send(bytes([byte]))
            done, _ = await asyncio.wait({closed}, timeout=0.01)
            if done:
                break
        assert closed.done()
        assert stage.origin.requests == []


async def test_a_connection_that_idles_too_long_is_closed(
    express: bool, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.2)
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await wire.rest() == OK


async def test_an_answer_may_take_longer_than_an_idle_connection_lives(
    express: bool, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVER_OPTIONS, "keepalive_timeout", 0.1)

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            await asyncio.sleep(0.3)  # the point: longer than the time-out
            wire.send(OK)
            await wire.gone()

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(OK)) == OK


async def test_a_body_that_does_not_come_is_a_408(express: bool, store_url: str) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.gone()

        return script

    async with running_stage(
        script_of, store_url=store_url, express=express, origin_toml='read_timeout = "100ms"'
    ) as stage:
        wire = await stage.connect()
        wire.send(asked(b"POST /", b"Content-Length: 10", body=b"half"))
        assert (await wire.message()).status == 408
        await wire.gone()


@pytest.mark.parametrize("half", [True, False], ids=["its half", "all"])
async def test_a_client_that_closes_ends_the_exchange(
    half: bool, express: bool, store_url: str
) -> None:
    """Whoever closes their half has left, as for nginx, Envoy and Go: the origin is spared."""
    gone = asyncio.Event()

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            asked_.set()
            await wire.gone()
            gone.set()

        return script

    asked_ = asyncio.Event()
    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        async with asyncio.timeout(5):
            await asked_.wait()
            if half:
                wire.writer.write_eof()
            else:
                wire.close()
            await gone.wait()
        await until(lambda: stage.in_the_lane + stage.on_the_long_way == 0)


async def test_an_origin_that_falls_silent_in_the_body_breaks_the_clients_connection(
    express: bool, store_url: str
) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await wire.gone()

        return script

    async with running_stage(
        script_of, store_url=store_url, express=express, origin_toml='read_timeout = "100ms"'
    ) as stage:
        wire = await stage.connect()
        wire.send(GET)
        await wire.head()
        await assert_cut(wire)
        assert len(stage.origin.requests) == 1


async def test_interim_answers_without_end_are_no_stack(express: bool, store_url: str) -> None:
    """However many come in one read."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000
    async with running_stage(answering(hints + OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(hints + OK)) == hints + OK


async def test_a_client_that_leaves_in_the_body_ends_the_exchange(
    express: bool, store_url: str
) -> None:
    gone = asyncio.Event()

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await wire.gone()
            gone.set()

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET)
        await wire.head()
        wire.abort()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_an_early_answer_ends_an_upload_and_its_connections(
    express: bool, store_url: str
) -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.exactly(5)
            wire.send(refusal)
            await wire.gone()

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(asked(b"POST /", b"Content-Length: 1000000", body=b"begun"))
        answer = await wire.message()
        assert (answer.status, answer.body) == (413, b"big")
        assert answer.one("Connection") == b"close"
        await until(stage.origin.wires[0].reader.at_eof)


async def test_an_upload_that_the_origin_breaks_off_is_a_502(express: bool, store_url: str) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.exactly(5)

        return script

    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(asked(b"POST /", b"Content-Length: 1000000", body=b"begun"))
        assert (await wire.message()).status == 502
        await wire.gone()


async def test_a_request_whose_end_comes_after_the_answer_to_the_one_before_it(
    express: bool, store_url: str
) -> None:
    """A slow request behind a fast one: the hand-over finds half of it."""
    part = asked(b"POST /slow", b"Content-Length: 6", body=b"abc")
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
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


async def test_more_pipelined_requests_than_a_connection_holds_are_all_answered(
    express: bool, store_url: str
) -> None:
    count = 500
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        sending = asyncio.create_task(asyncio.wait_for(_drained(wire, GET * count), 10))
        assert await received(wire, len(OK) * count) == OK * count
        await sending
        assert stage.origin.connections == 1


async def _drained(wire: Wire, data: bytes) -> None:
    wire.send(data)
    await wire.flush()


@pytest.mark.parametrize("known", [False, True], ids=["new fields", "fields said before"])
async def test_heads_beyond_the_limits_are_refused(
    known: bool, express: bool, store_url: str
) -> None:
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        for request in (
            asked(b"GET /" + b"a" * 9000),
            asked(b"GET /", b"X: " + b"a" * 17000),
            asked(b"GET /", *[b"X: a"] * 200),
        ):
            wire = await stage.connect()
            if known:
                wire.send(GET)
                assert await received(wire, len(OK)) == OK
            wire.send(request)
            answer = await wire.message()
            assert answer.status in {400, 431}
            await wire.gone()
        assert len(stage.origin.requests) == (3 if known else 0)


async def test_a_head_longer_than_a_plain_one_is_forwarded_the_long_way(
    express: bool, store_url: str
) -> None:
    fields = [b"X-%d: " % number + b"a" * 1000 for number in range(12)]
    async with running_stage(answering(OK), store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(asked(b"GET /", *fields))
        assert await received(wire, len(OK)) == OK
        assert stage.on_the_long_way == 1
        assert [len(stage.origin.requests[0].all(f"X-{n}")[0]) for n in range(12)] == [1000] * 12


async def test_a_websocket_is_tunnelled_also_behind_plain_requests(
    express: bool, store_url: str
) -> None:
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

    upgrade = asked(b"GET /ws", b"Connection: Upgrade", b"Upgrade: websocket")
    async with running_stage(script_of, store_url=store_url, express=express) as stage:
        wire = await stage.connect()
        wire.send(GET + upgrade)
        assert await received(wire, len(OK)) == OK
        assert (await wire.head()).status == 101
        assert await wire.exactly(5) == b"hello"
        wire.send(b"world")
        assert await wire.exactly(5) == b"world"
