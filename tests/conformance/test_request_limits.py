"""Limits of a request head in bytes and time."""

import asyncio

import pytest

from gatekeeper.proxy import aiohttp_server
from gatekeeper.proxy.fastpath import deadlines
from gatekeeper.proxy.head_reader import MAX_HEAD_BYTES
from tests.conformance.gate_pair import Stage, StageOpener, received, visitor_request
from tests.conformance.request_cases import GET, OK, POST, STATUS
from tests.conformance.tls_stage import Tls
from tests.integration.proxy.forwarding import Origin, Script, Wire, responding, until


def head_of_size(size: int, *, line: bytes = b"GET /") -> bytes:
    """A head of exactly this size, with each field within its own limit."""
    head = visitor_request(line)[:-2]
    number = 0
    while size - len(head) - 2 > 4000:
        head += b"X-%04d: %b\r\n" % (number, b"a" * 1990)
        number += 1
    return head + b"X-End: %b\r\n\r\n" % (b"a" * (size - len(head) - 11))


@pytest.mark.parametrize("line", [b"GET /", b"POST /"])
async def test_head_of_the_limit_passes_and_one_byte_more_is_431(line: bytes, stage: Stage) -> None:
    """In one piece, in many, and behind another request."""
    whole = head_of_size(MAX_HEAD_BYTES, line=line)
    assert len(whole) == MAX_HEAD_BYTES
    for before in (b"", GET, POST):
        wire = await stage.connect()
        wire.send(before + whole)
        expected = OK * (2 if before else 1)
        assert await received(wire, len(expected)) == expected
    forwarded = len(stage.origin.requests)
    larger = head_of_size(MAX_HEAD_BYTES + 1, line=line)
    for before, step in ((b"", len(larger)), (b"", 5000), (GET, len(larger)), (POST, 7000)):
        wire = await stage.connect()
        wire.send(before)
        for at in range(0, len(larger), step):
            wire.send(larger[at : at + step])
            await wire.flush()
            await asyncio.sleep(0)
        if before:
            assert await received(wire, len(OK)) == OK
            forwarded += 1
        refused = await wire.message()
        assert refused.first_line == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert refused.one("Connection") == b"close"
        await wire.gone()
    assert len(stage.origin.requests) == forwarded


async def test_target_beyond_every_limit_is_414(stage: Stage) -> None:
    for size in (8200, MAX_HEAD_BYTES + 100):
        wire = await stage.connect()
        wire.send(visitor_request(b"GET /" + b"a" * size))
        assert (await wire.message()).status == 414
    assert stage.origin.requests == []


def limit_heads(monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
    for module in (aiohttp_server, deadlines):
        monkeypatch.setattr(module, "HEAD_TIMEOUT_S", limit_s)


@pytest.fixture
def brief_heads(monkeypatch: pytest.MonkeyPatch) -> float:
    limit_s = 0.4
    limit_heads(monkeypatch, limit_s)
    return limit_s


SLOW_HEADS = {
    "a plain head": GET,
    "a head of a POST": POST[:-3],
    "a head with a field that is not plain": visitor_request(b"GET /", b"TE: trailers"),
    "a request line": b"GET /" + b"a" * 200,
}


async def trickle(wire: Wire, data: bytes) -> None:
    """Send one byte every 50 ms, as long as the connection is open."""
    for at in range(len(data)):
        if wire.writer.is_closing():
            return
        wire.send(data[at : at + 1])
        await asyncio.sleep(0.05)


async def refused_slow_head(stage: Stage, head: bytes, *, limit_s: float, after: bytes) -> None:
    began_s = asyncio.get_running_loop().time()
    wire = await stage.connect()
    if after:
        wire.send(after)
        assert await received(wire, len(OK)) == OK
    sending = asyncio.create_task(trickle(wire, head))
    response = await wire.message()
    took_s = asyncio.get_running_loop().time() - began_s
    await wire.gone()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert response.first_line == b"HTTP/1.1 408 Request Timeout"
    assert took_s > limit_s * 0.9


@pytest.mark.parametrize("after", [b"", GET, POST], ids=["first", "after GET", "after POST"])
async def test_slow_head_is_cut_after_its_time_whatever_it_sends(
    after: bytes, brief_heads: float, stage: Stage
) -> None:
    await asyncio.gather(
        *(
            refused_slow_head(stage, head, limit_s=brief_heads, after=after)
            for head in SLOW_HEADS.values()
        )
    )
    await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)
    assert len(stage.origin.requests) == (len(SLOW_HEADS) if after else 0)


async def test_slow_body_and_idle_connection_are_not_cut_like_a_head(
    brief_heads: float, stage: Stage
) -> None:
    idle, odd, upload = [await stage.connect() for _ in range(3)]
    idle.send(GET)
    odd.send(POST + b"\r\n")  # some clients send a line break after a body
    upload.send(POST[:-3])
    assert await received(idle, len(OK)) == OK
    assert await received(odd, len(OK)) == OK
    for byte in b"abc":
        await asyncio.sleep(brief_heads / 2)
        upload.send(bytes([byte]))
    assert await received(upload, len(OK)) == OK
    for wire in (idle, odd):
        wire.send(GET)
        assert await received(wire, len(OK)) == OK


async def test_slow_response_does_not_count_as_slow_head(
    brief_heads: float, open_stage: StageOpener
) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                await origin.request(wire)
                await asyncio.sleep(2 * brief_heads)
                wire.send(OK)

        return script

    async with open_stage(script_of) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(OK)) == OK


async def test_limits_hold_under_tls(
    brief_heads: float, tls: Tls, monkeypatch: pytest.MonkeyPatch, open_stage: StageOpener
) -> None:
    async with open_stage(responding(OK), toml=tls.toml, tls=tls.client) as stage:
        await refused_slow_head(stage, STATUS, limit_s=brief_heads, after=b"")
        limit_heads(monkeypatch, 15)  # the next head is long, but not late
        wire = await stage.connect()
        wire.send(head_of_size(MAX_HEAD_BYTES + 1))
        assert (await wire.message()).status == 431
