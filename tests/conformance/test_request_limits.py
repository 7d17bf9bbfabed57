"""Limits of a request head in bytes and time, and what a client may do with its half."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from gatekeeper.proxy import aiohttp_server
from gatekeeper.proxy.fastpath import deadlines
from gatekeeper.proxy.head_reader import MAX_HEAD_BYTES
from tests.conformance.gate_pair import COOKIE, Stage, received, running_stage, visitor_request
from tests.conformance.request_cases import GET, OK
from tests.integration.proxy.forwarding import Origin, Script, Wire, answering, until

POST = visitor_request(b"POST /", b"Content-Length: 3", body=b"abc")
STATUS = b"GET /.gatekeeper/health HTTP/1.1\r\nHost: shop.example\r\n\r\n"


def head_of_size(size: int, *, line: bytes = b"GET /") -> bytes:
    """A head of exactly this size, of fields that are each within their limits."""
    head = visitor_request(line)[:-2]
    number = 0
    while size - len(head) - 2 > 4000:
        head += b"X-%04d: %b\r\n" % (number, b"a" * 1990)
        number += 1
    return head + b"X-End: %b\r\n\r\n" % (b"a" * (size - len(head) - 11))


@pytest.mark.parametrize("line", [b"GET /", b"POST /"])
async def test_head_of_the_limit_passes_and_one_byte_more_is_431(
    line: bytes, fast_path: bool, store_url: str
) -> None:
    """In one piece, in many, and behind another request."""
    async with running_stage(answering(OK), store_url=store_url, fast_path=fast_path) as stage:
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


async def test_target_beyond_every_limit_is_414(fast_path: bool, store_url: str) -> None:
    async with running_stage(answering(OK), store_url=store_url, fast_path=fast_path) as stage:
        for size in (8200, MAX_HEAD_BYTES + 100):
            wire = await stage.connect()
            wire.send(visitor_request(b"GET /" + b"a" * size))
            assert (await wire.message()).status == 414
        assert stage.origin.requests == []


@pytest.fixture
def brief_heads(monkeypatch: pytest.MonkeyPatch) -> float:
    limit_s = 0.4
    for module in (aiohttp_server, deadlines):
        monkeypatch.setattr(module, "HEAD_TIMEOUT_S", limit_s)
    return limit_s


SLOW_HEADS = {
    "a plain head": GET,
    "a head of a POST": POST[:-3],
    "a head with a field that is not plain": visitor_request(b"GET /", b"TE: trailers"),
    "a request line": b"GET /" + b"a" * 200,
}


async def trickle(wire: Wire, data: bytes) -> None:
    """A byte in every twentieth of a second, for as long as the connection lasts."""
    for at in range(len(data)):
        if wire.writer.is_closing():
            return
        wire.send(data[at : at + 1])
        await asyncio.sleep(0.05)


async def refused_slow_head(stage: Stage, head: bytes, *, limit_s: float, after: bytes) -> None:
    wire = await stage.connect()
    if after:
        wire.send(after)
        assert await received(wire, len(OK)) == OK
    began_s = asyncio.get_running_loop().time()
    sending = asyncio.create_task(trickle(wire, head))
    response = await wire.message()
    took_s = asyncio.get_running_loop().time() - began_s
    await wire.gone()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert response.first_line == b"HTTP/1.1 408 Request Timeout"
    assert limit_s * 0.9 < took_s < limit_s + 2


@pytest.mark.parametrize("after", [b"", GET, POST], ids=["first", "after GET", "after POST"])
async def test_slow_head_is_cut_after_its_time_whatever_it_sends(
    after: bytes, fast_path: bool, store_url: str, brief_heads: float
) -> None:
    async with running_stage(answering(OK), store_url=store_url, fast_path=fast_path) as stage:
        await asyncio.gather(
            *(
                refused_slow_head(stage, head, limit_s=brief_heads, after=after)
                for head in SLOW_HEADS.values()
            )
        )
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)
        assert len(stage.origin.requests) == (len(SLOW_HEADS) if after else 0)


async def test_slow_body_and_idle_connection_are_not_cut_like_a_head(
    fast_path: bool, store_url: str, brief_heads: float
) -> None:
    async with running_stage(answering(OK), store_url=store_url, fast_path=fast_path) as stage:
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
    fast_path: bool, store_url: str, brief_heads: float
) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                await origin.request(wire)
                await asyncio.sleep(2 * brief_heads)
                wire.send(OK)

        return script

    async with running_stage(script_of, store_url=store_url, fast_path=fast_path) as stage:
        wire = await stage.connect()
        wire.send(GET)
        assert await received(wire, len(OK)) == OK


def certificate(folder: Path) -> tuple[str, ssl.SSLContext]:
    """The gate's [server] with a certificate, and the context of a client that trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return f'[server]\ntls_cert = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"\n', context


async def test_limits_hold_under_tls(
    fast_path: bool, store_url: str, brief_heads: float, tmp_path: Path
) -> None:
    toml, context = certificate(tmp_path)
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=fast_path, toml=toml, tls=context
    ) as stage:
        await refused_slow_head(stage, STATUS, limit_s=brief_heads, after=b"")
        wire = await stage.connect()
        wire.send(head_of_size(MAX_HEAD_BYTES + 1))
        assert (await wire.message()).status == 431


# A client that closes its half.


@pytest.mark.parametrize(
    "requests",
    [[GET], [POST], [GET, GET], [GET, POST], [POST, GET], [GET, GET[:30]], [POST, GET[:30]]],
)
async def test_half_closed_client_receives_every_forwarded_response(
    requests: list[bytes], fast_path: bool, store_url: str
) -> None:
    """To each complete request; then the connection closes. The origin takes its time, so that the
    end of the input arrives first."""

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
    async with running_stage(script_of, store_url=store_url, fast_path=fast_path) as stage:
        wire = await stage.connect()
        wire.send(b"".join(requests))
        wire.writer.write_eof()
        for _ in complete:
            assert len((await wire.message()).body) == 200_000
        assert await wire.rest() == b""
        assert len(stage.origin.requests) == len(complete)
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


@pytest.mark.parametrize("count", [1, 2, 40])
async def test_half_closed_client_receives_every_own_response(
    count: int, fast_path: bool, store_url: str
) -> None:
    async with running_stage(answering(OK), store_url=store_url, fast_path=fast_path) as stage:
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


async def test_half_closed_client_is_told_of_an_origin_failure(
    fast_path: bool, store_url: str
) -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            await asyncio.sleep(0.05)

        return script

    async with running_stage(script_of, store_url=store_url, fast_path=fast_path) as stage:
        wire = await stage.connect()
        wire.send(GET)
        wire.writer.write_eof()
        assert (await wire.message()).status == 502
        assert await wire.rest() == b""


@pytest.mark.parametrize("sent", [b"", b"GET", GET[:-2], POST[:-3], POST[:-1], GET[:-4] + b"\n"])
async def test_half_close_before_a_whole_request_ends_the_connection(
    sent: bytes, fast_path: bool, store_url: str
) -> None:
    """Nothing incomplete is forwarded as if it were complete."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            with pytest.raises(asyncio.IncompleteReadError):
                await wire.exactly(3)

        return script

    async with running_stage(script_of, store_url=store_url, fast_path=fast_path) as stage:
        wire = await stage.connect()
        wire.send(sent)
        await wire.flush()
        wire.writer.write_eof()
        await wire.gone()
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


async def test_client_that_closed_ends_the_exchange_with_the_next_bytes(
    fast_path: bool, store_url: str
) -> None:
    """A close looks like a half-close, until the client's system refuses what is sent."""
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

    async with running_stage(script_of, store_url=store_url, fast_path=fast_path) as stage:
        wire = await stage.connect()
        wire.send(GET)
        async with asyncio.timeout(5):
            await requested.wait()
            wire.close()
            await gone.wait()
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)


# Bytes beyond ASCII.


@pytest.mark.parametrize(
    "target",
    ["/schön".encode(), "/日本?größe=ü".encode(), b"/\xff\xe9", b"/%C3\xa9", b"/~\xc3\xa9~?~"],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_bytes_beyond_ascii_in_a_target_pass_unchanged(
    target: bytes, method: bytes, fast_path: bool, store_url: str
) -> None:
    """Whole, in single bytes, and in absolute-form."""
    async with running_stage(answering(OK), store_url=store_url, fast_path=fast_path) as stage:
        for line in (target, b"http://shop.example" + target):
            wire = await stage.connect()
            request = visitor_request(method + b" " + line)
            for cut in (len(request), 1):
                for at in range(0, len(request), cut):
                    wire.send(request[at : at + cut])
                    if cut == 1:
                        await asyncio.sleep(0)
                assert await received(wire, len(OK)) == OK
                wanted = method + b" " + target + b" HTTP/1.1"
                assert stage.origin.requests[-1].first_line == wanted
        assert len(stage.origin.requests) == 4
        assert COOKIE not in stage.origin.requests[-1].head


# Plain HTTP on a TLS port.


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"xx"]
)
async def test_plain_http_on_a_tls_port_gets_a_400_that_says_so(
    method: bytes, store_url: str, tmp_path: Path
) -> None:
    toml, context = certificate(tmp_path)
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=True, toml=toml
    ) as stage:
        request = method + b" / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        for cut in (len(request), 3):
            wire = await stage.connect()
            wire.send(request[:cut])
            await asyncio.sleep(0.02)
            wire.send(request[cut:])
            response = await wire.message(bodiless=method == b"HEAD")
            assert response.first_line == b"HTTP/1.1 400 Bad Request"
            assert response.one("Connection") == b"close"
            assert (b"HTTPS" in response.body) is (method != b"HEAD")
            assert await wire.rest() == b"", "it closes by itself, and HEAD has no body"
            wire.close()
        stage.tls = context
        wire = await stage.connect()
        wire.send(STATUS)
        assert (await wire.message()).status == 200
        assert stage.origin.requests == []


@pytest.mark.parametrize("damaged", [5, 9, 60])
async def test_damaged_handshake_gets_no_plain_response(
    damaged: int, store_url: str, tmp_path: Path
) -> None:
    """What began as TLS ends as TLS: no plain text is sent into it."""
    toml, context = certificate(tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = bytearray(outgoing.read())
    hello[damaged] ^= 0xFF
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=True, toml=toml
    ) as stage:
        wire = await stage.connect()
        wire.send(bytes(hello))
        wire.writer.write_eof()
        received_ = b""
        with suppress(ConnectionError):
            received_ = await wire.rest()
        assert b"HTTP/1.1" not in received_


async def test_second_flight_that_is_plain_http_gets_no_plain_response(
    store_url: str, tmp_path: Path
) -> None:
    toml, context = certificate(tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=True, toml=toml
    ) as stage:
        wire = await stage.connect()
        wire.send(outgoing.read())
        assert (await wire.some())[0] == 0x16  # the server's part of the handshake
        wire.send(STATUS)
        wire.writer.write_eof()
        received_ = b""
        with suppress(ConnectionError):
            received_ = await wire.rest()
        assert b"HTTP/1.1" not in received_


ROOM_AND_RULES = """path = ["/kasse/", "/k%C3%A4sse/"]
rate = "0"
[[rule]]
name = "free"
action = "bypass"
path = "/frei/**"
"""


@pytest.mark.parametrize(
    ("target", "waits"),
    [
        ("/kässe/".encode(), True),
        (b"/k%C3%A4sse/", True),
        (b"/k\xc3%a4sse/", True),
        (b"/k%C3\xa4sse/", True),
        ("/kasse/ä".encode(), True),
        ("/ä/../kasse/".encode(), True),
        ("/ä/%2e%2e/KASSE/".encode(), True),
        (b"/\xff/..;/kasse/", True),
        ("/frei/ä/../../kasse/".encode(), True),
        ("/kasser/ä".encode(), False),
        ("/kässer/".encode(), False),
        ("/frei/kässe/".encode(), False),
        (b"/k\xe4sse/", False),  # Latin-1: to an origin that reads UTF-8, another path
    ],
)
async def test_raw_utf_8_is_in_the_room_of_its_reading(
    target: bytes, waits: bool, fast_path: bool, store_url: str
) -> None:
    """However it is spelled, and only there."""
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=fast_path, room=ROOM_AND_RULES
    ) as stage:
        for method in (b"GET", b"POST"):
            wire = await stage.connect()
            wire.send(method + b" " + target + b" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
            assert (await wire.message()).status == (503 if waits else 200)
        assert len(stage.origin.requests) == (0 if waits else 2)
