"""Ambiguous requests are rejected, and never reach the origin."""

import pytest

from tests.integration.proxy.forwarding import (
    Origin,
    Script,
    Wire,
    get,
    proxying,
    responding,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKED_POST = get("/", CHUNKED, method="POST")

REFUSED = {
    "Content-Length and Transfer-Encoding": get("/", "Content-Length: 5", CHUNKED, method="POST")
    + b"0\r\n\r\n",
    "Transfer-Encoding and Content-Length": get("/", CHUNKED, "Content-Length: 5", method="POST")
    + b"0\r\n\r\n",
    "Content-Length twice": get("/", "Content-Length: 1", "Content-Length: 1") + b"x",
    "a list of lengths": get("/", "Content-Length: 1, 1") + b"x",
    "a signed length": get("/", "Content-Length: +1") + b"x",
    "a spaced length": get("/", "Content-Length: 1 1") + b"x",
    "an empty length": get("/", "Content-Length:"),
    "a length beyond 64 bits": get("/", "Content-Length: 99999999999999999999"),
    "Transfer-Encoding twice": get("/", CHUNKED, CHUNKED) + b"0\r\n\r\n",
    "a coding before chunked": get("/", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "a coding after chunked": get("/", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "another coding": get("/", "Transfer-Encoding: identity"),
    "a coding that looks like chunked": get("/", "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "a coding with a vertical tab": get("/", "Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "a coding in HTTP/1.0": get("/", CHUNKED, version="1.0") + b"0\r\n\r\n",
    "a chunk with bare LF": CHUNKED_POST + b"1\nx\r\n0\r\n\r\n",
    "a chunk size in C notation": CHUNKED_POST + b"0x1\r\nx\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED_POST + b"1\r\nxx\r\n0\r\n\r\n",
    "bare LF in a chunk extension": CHUNKED_POST + b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "a length in the trailers": CHUNKED_POST + b"0\r\nContent-Length: 1\r\n\r\n",
    "Host twice": get("/", "Host: shop.example"),
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "an empty Host and another": b"GET / HTTP/1.1\r\nHost:\r\nHost: shop.example\r\n\r\n",
    "an empty Host twice": b"GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n",
    "an empty Host and a target elsewhere": b"GET http://a.example/ HTTP/1.1\r\nHost:\r\n\r\n",
    "no Host and a target with one": b"GET http://a.example/ HTTP/1.1\r\n\r\n",
    "Host that is a port alone": b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
    "two hosts in one": b"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n",
    "Host with a user": b"GET / HTTP/1.1\r\nHost: me@a.example\r\n\r\n",
    "Host that is no host in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: shop.example\n\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: shop.example\nX: 1\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: shop.example\r\n\n",
    "bare CR in a field": get("/", "X: a\rY: b"),
    "a folded field": get("/", "X: a\r\n b"),
    "a folded empty field": get("/", "X:\r\n b"),
    "a field before any": b"GET / HTTP/1.1\r\n X: 1\r\nHost: shop.example\r\n\r\n",
    "NUL in a value": get("/", "X: a\0b"),
    "NUL in a name": get("/", "X\0: a"),
    "a control character in a value": get("/", "X: a\x01b"),
    "DEL in a value": get("/", "X: a\x7fb"),
    "whitespace before a colon": get("/", "X : a"),
    "whitespace in a name": get("/", "X Y: a"),
    "a field without a name": get("/", ": a"),
    "a field without a colon": get("/", "X"),
    "a line that is too long": get("/" + "a" * 9000),
    "a field that is too long": get("/", "X: " + "a" * 17000),
    "too many fields": get("/", *["X: a"] * 200),
    "a target elsewhere": get("http://elsewhere.example/"),
    "a target at another port": get("http://shop.example:81/"),
    "a target with a user": get("http://me@shop.example/"),
    "a target of another scheme": get("ftp://shop.example/"),
    "a target without a host": get("http:///a"),
    "a target with a fragment": get("/a#b"),
    "a target with a space": get("/a b"),
    "a target with NUL": get("/a\0b"),
    "a byte beyond ASCII in a method": get(method="G\xffT"),
    "a byte beyond ASCII in a version": get(version="1.\xb9"),
    "a byte beyond ASCII before a method": b"\xa0" + get(),
    "a byte beyond ASCII and a space in a target": get("/\xff a"),
    "a byte beyond ASCII and a control character": get("/\xff\x01"),
    "a byte beyond ASCII in a host": get("http://sh\xf6p.example/"),
    "a relative target": get("a/b"),
    "an asterisk outside OPTIONS": get("*"),
    "CONNECT": get("shop.example:443", method="CONNECT"),
    "TRACE with a body": get("/", "Content-Length: 1", method="TRACE") + b"x",
    "a method that is no token": get(method="G(T)"),
    "a method that is far too long": get(method="G" * 9000),
    "CONNECT in small letters": get("shop.example:443", method="connect"),
    "a connection to a path": get("/", method="Connect"),
    "TRACE in small letters with a body": get("/", "Content-Length: 1", method="trace") + b"x",
    "HTTP/0.9": get(version="0.9"),
    "HTTP/0.9 without a version": b"GET /\r\n\r\n",
    "HTTP/2.0": get(version="2.0"),
    "HTTP/1.2": get(version="1.2"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a start of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
async def test_malformed_request_is_rejected_and_not_forwarded(what: str) -> None:
    async with proxying(responding(OK)) as (origin, gate):
        wire = await gate.connect()
        wire.send(REFUSED[what])
        response = await wire.message()
        assert response.status in {400, 414, 431}
        await wire.gone()
        wire.close()
    assert origin.requests == []


async def test_expectation_other_than_continue_is_417() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        assert (await gate.ask(get("/", "Expect: miracles"))).status == 417
    assert origin.requests == []


async def test_malformed_body_never_looks_complete_to_origin() -> None:
    """The upload stops at once, and the client receives the reason."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.head()
            assert await wire.exactly(10) == b"5\r\nhello\r\n"
            wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            assert await wire.rest() == b""

        return script

    async with proxying(script_of) as (origin, gate):
        wire = await gate.connect()
        wire.send(CHUNKED_POST + b"5\r\nhello\r\n")
        assert (await wire.head()).status == 102
        wire.send(b"nonsense\r\n")
        assert (await wire.message()).status == 400
        await wire.gone()
        await origin.wires[0].gone()
        wire.close()
