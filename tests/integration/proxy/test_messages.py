"""Requests and responses are forwarded unchanged."""

from time import perf_counter

import pytest

from gatekeeper.proxy.response import ResponseHead
from tests.integration.proxy.forwarding import (
    OK,
    Origin,
    Script,
    Wire,
    get,
    post,
    proxying,
    responding,
    responding_once,
)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
EXTENSION_METHODS = ["PROPFIND", "REPORT", "PURGE", "QUERY", "M-SEARCH", "MKCALENDAR"]
# Any token is a method (RFC 9110 section 9.1), in its letter case.
EXTENSION_METHODS += ["FOO", "get", "Post", "BAN", "x", "!#$%&'*+.^_`|~-", "G" * 255, "GETS", "GE"]

CHUNKED_POST = get("/", "Transfer-Encoding: chunked", method="POST")


@pytest.mark.parametrize("method", METHODS + EXTENSION_METHODS)
async def test_every_method_is_forwarded(method: str) -> None:
    async with proxying(responding(OK)) as (origin, gate):
        response = await gate.ask(get("/x", method=method), bodiless=method == "HEAD")
    assert response.status == 200
    assert origin.requests[0].first_line == f"{method} /x HTTP/1.1".encode()


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("1", b"0"),
        ("10", b"9"),
        ("007", b"6"),
        ("999999999", b"999999998"),
        ("1000000000", b"999999998"),  # the gate's own limit, minus one
        ("9" * 5000, b"999999998"),
        ("-1", b"-1"),
        ("x", b"x"),
        ("1, 1", b"1, 1"),
        ("\u0663".encode().decode("latin-1"), "\u0663".encode()),
    ],
)
async def test_max_forwards_is_decremented(method: str, value: str, seen: bytes) -> None:
    """RFC 9110 section 7.6.2. A value that is not a number stays unchanged."""
    request = get("/x", "Max-Forwards: MARK", method=method)
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(request.replace(b"MARK", value.encode("latin-1")))
    assert origin.requests[0].one("Max-Forwards") == seen


@pytest.mark.parametrize("method", ["GET", "POST", "options", "TRACK"])
async def test_max_forwards_of_another_method_is_kept(method: str) -> None:
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(get("/x", "Max-Forwards: 5", method=method))
    assert origin.requests[0].one("Max-Forwards") == b"5"


@pytest.mark.parametrize(
    "target",
    [
        "//a",
        "/%2F",
        "/%zz",
        "/a/../b/./c",
        "/?",
        "/a?",
        "/a?b=%00&c=%C3%A9",
        "/;a=b",
        "/'\"<>{}|\\^`[]",
    ],
)
async def test_target_is_forwarded_byte_for_byte(target: str) -> None:
    request = get().replace(b"GET /", b"GET " + target.encode())
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(request)
    assert origin.requests[0].first_line == b"GET %b HTTP/1.1" % target.encode()


@pytest.mark.parametrize(
    ("target", "method", "seen"),
    [
        ("http://shop.example/a?b", "GET", "/a?b"),
        ("HTTP://SHOP.example/a", "GET", "/a"),
        ("https://shop.example", "GET", "/"),
        ("http://shop.example?q", "GET", "/?q"),
        ("http://shop.example", "OPTIONS", "*"),
        ("*", "OPTIONS", "*"),
    ],
)
async def test_absolute_target_is_forwarded_in_origin_form(
    target: str, method: str, seen: str
) -> None:
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(get(target, method=method))
    assert origin.requests[0].first_line == f"{method} {seen} HTTP/1.1".encode()


async def test_body_of_known_length_is_forwarded() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        response = await gate.ask(post(b"a=1&b=2"))
    assert response.body == b"ok"
    assert origin.requests[0].one("Content-Length") == b"7"
    assert origin.requests[0].body == b"a=1&b=2"


async def test_compressed_body_is_forwarded_unchanged() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(post(b"\x1f\x8bnot gzip at all", "Content-Encoding: gzip"))
    assert origin.requests[0].body == b"\x1f\x8bnot gzip at all"
    assert origin.requests[0].one("Content-Encoding") == b"gzip"


@pytest.mark.parametrize(
    "body", [b"0\r\n\r\n", b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-T: 1\r\n\r\n"]
)
async def test_chunked_body_is_forwarded_chunked(body: bytes) -> None:
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(CHUNKED_POST + body)
    assert origin.requests[0].one("Transfer-Encoding") == b"chunked"
    assert origin.requests[0].one("Content-Length") is None
    assert origin.requests[0].body == (b"abcdefg" if len(body) > 5 else b"")


async def test_body_in_pieces_is_forwarded_in_pieces() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            for piece in (b"one", b"two"):
                assert await wire.exactly(3) == piece
                wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")  # confirms that this piece arrived
            wire.send(OK)

        return script

    async with proxying(script_of) as (_, gate):
        wire = await gate.connect()
        wire.send(get("/", "Content-Length: 6", method="PUT"))
        for piece in (b"one", b"two"):
            wire.send(piece)
            assert (await wire.head()).status == 102
        assert (await wire.message()).body == b"ok"
        wire.close()


async def test_response_keeps_exactly_its_own_fields() -> None:
    head = (
        b"HTTP/1.1 418 I'm a teapot\r\nServer: kettle\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"content-TYPE:text/plain\r\nX-Odd:  spaced \xff \r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    async with proxying(responding(head)) as (_, gate):
        response = await gate.ask(get())
    assert response.head == head


async def test_response_without_reason_is_forwarded() -> None:
    origin_response = b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"
    async with proxying(responding(origin_response)) as (_, gate):
        response = await gate.ask(get())
    assert response.first_line == b"HTTP/1.1 200 "


@pytest.mark.parametrize("framing", ["Content-Length: 1234", "Transfer-Encoding: chunked"])
async def test_head_response_never_has_body(framing: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode()
    async with proxying(responding(head, OK)) as (origin, gate):
        wire = await gate.connect()
        wire.send(get(method="HEAD"))
        response = await wire.message(bodiless=True)
        wire.send(get())
        assert (await wire.message()).body == b"ok"
        wire.close()
    if framing.startswith("Content-Length"):
        assert response.one("Content-Length") == b"1234"
    assert origin.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 99\r\n\r\n",
    ],
)
async def test_204_and_304_never_have_body(head: bytes) -> None:
    async with proxying(responding(head, OK)) as (origin, gate):
        wire = await gate.connect()
        wire.send(get())
        assert (await wire.message()).head == head
        wire.send(get())
        assert (await wire.message()).body == b"ok"
        wire.close()
    assert origin.connections == 1


async def test_204_loses_content_length() -> None:
    head = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
    async with proxying(responding(head)) as (_, gate):
        assert (await gate.ask(get())).head == b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_range_is_forwarded_both_ways() -> None:
    part = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\n"
        b"Content-Length: 3\r\n\r\ncde"
    )
    async with proxying(responding(part)) as (origin, gate):
        response = await gate.ask(get("/", "Range: bytes=2-4"))
    assert origin.requests[0].one("Range") == b"bytes=2-4"
    assert (response.status, response.body) == (206, b"cde")
    assert response.one("Content-Range") == b"bytes 2-4/10"


async def test_chunks_and_trailers_are_relayed_unchanged() -> None:
    chunks = b'3;a="b"\r\nabc\r\n00A\r\n0123456789\r\n0;last\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n'
    origin_response = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum, X-More\r\n\r\n" + chunks
    )
    async with proxying(responding(origin_response)) as (origin, gate):
        wire = await gate.connect()
        for _ in range(2):
            wire.send(get("/", "TE: trailers, deflate;q=0.5", "Connection: TE"))
            response = await wire.message()
            assert response.raw_body == chunks
            assert response.one("Trailer") == b"X-Sum, X-More"
        wire.close()
    assert origin.requests[0].one("TE") == b"trailers"
    assert origin.requests[0].one("Connection") == b"TE"
    assert origin.connections == 1


async def test_close_delimited_response_is_sent_chunked() -> None:
    async with proxying(responding_once(b"HTTP/1.1 200 OK\r\n\r\nall there is")) as (origin, gate):
        wire = await gate.connect()
        for _ in range(2):
            wire.send(get())
            response = await wire.message()
            assert response.one("Transfer-Encoding") == b"chunked"
            assert response.body == b"all there is"
        wire.close()
    assert origin.connections == 2


async def test_http10_client_receives_decoded_chunks() -> None:
    origin_response = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n"
    )
    async with proxying(responding(origin_response)) as (origin, gate):
        response = await gate.ask(get("/", "Connection: keep-alive", "TE: trailers", version="1.0"))
    assert response.body == b"abcde"
    assert response.one("Connection") == b"close"
    assert response.one("Transfer-Encoding") is response.one("Trailer") is None
    assert origin.requests[0].first_line == b"GET / HTTP/1.1"
    assert origin.requests[0].one("TE") is None


async def test_http10_client_with_keep_alive_keeps_connection() -> None:
    async with proxying(responding(OK)) as (_, gate):
        wire = await gate.connect()
        for _ in range(2):
            wire.send(get("/", "Connection: keep-alive", version="1.0"))
            response = await wire.message()
            assert response.one("Connection") == b"keep-alive"
        wire.send(get(version="1.0"))
        response = await wire.message()
        assert response.one("Connection") == b"close"
        assert await wire.rest() == b""
        wire.close()


async def test_http10_client_without_host_is_forwarded() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        await gate.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert origin.requests[0].one("Host") == f"127.0.0.1:{origin.port}".encode()
    assert origin.requests[0].one("X-Forwarded-Host") is None


async def test_client_that_requests_close_is_closed() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        wire = await gate.connect()
        wire.send(get("/", "Connection: close"))
        response = await wire.message()
        assert response.one("Connection") == b"close"
        assert await wire.rest() == b""
        wire.close()
    assert origin.requests[0].one("Connection") is None


async def test_pipelined_requests_receive_responses_in_order() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                path = (await origin.request(wire)).first_line.split(b" ")[1]
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

        return script

    async with proxying(script_of) as (origin, gate):
        wire = await gate.connect()
        wire.send(b"".join(get(f"/{turn}") for turn in range(40)))
        for turn in range(40):
            assert (await wire.message()).body == f"/{turn}".encode()
        wire.close()
    assert origin.connections == 1


async def test_gate_fields_are_added_and_command_removed() -> None:
    received_: list[tuple[int, str | None]] = []

    def on_head(response: ResponseHead) -> tuple[tuple[bytes, bytes], ...]:
        received_.append((response.status, response.command))
        return ((b"Set-Cookie", b"gatekeeper=new"), (b"X-Late", b"2"))

    origin_response = (
        b"HTTP/1.1 103 Early Hints\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nGatekeeper-Command: revoke\r\nContent-Length: 0\r\n\r\n"
    )
    began_s = perf_counter()
    async with proxying(responding(origin_response)) as (_, gate):
        gate.on_head = on_head
        wire = await gate.connect()
        wire.send(get())
        assert (await wire.head()).head == b"HTTP/1.1 103 Early Hints\r\n\r\n"
        response = await wire.message()
        wire.close()
    assert received_ == [(201, "revoke")]
    assert response.one("Set-Cookie") == b"gatekeeper=new"
    assert response.one("X-Late") == b"2"
    assert response.one("Gatekeeper-Command") is None
    assert gate.relayed[0].command == "revoke"
    assert gate.relayed[0].status == 201
    assert 0 < gate.relayed[0].origin_seconds < perf_counter() - began_s
