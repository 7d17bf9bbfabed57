"""Cases of responses: valid, invalid, and cut."""

from tests.conformance.gate_pair import seen, visitor_request
from tests.conformance.request_cases import (
    CHUNKED,
    GET,
    OK,
    SEEN,
    Case,
    OriginStep,
    failure_case,
    head,
    response_case,
)

CHUNKS = b"2;ext=1\r\nok\r\n001\r\n!\r\n0\r\n\r\n"
WITH_TRAILERS = b"3\r\nabc\r\n0\r\nT: 1\r\nt-2:\xff\r\n\r\n"
HINTS = head(b"Link: </a.css>; rel=preload", line=b"HTTP/1.1 103 Early Hints")
NO_BODY = head(line=b"HTTP/1.1 204 No Content")


def head_case(said: bytes, back: bytes | None = None) -> Case:
    back = said if back is None else back
    return Case(visitor_request(b"HEAD /"), seen(b"HEAD /"), (OriginStep(said),), back)


GOOD = {
    "a length": response_case(OK),
    "no bytes": response_case(head(b"Content-Length: 0")),
    "a length and space around it": response_case(head(b"content-LENGTH:  2\t") + b"ok"),
    "a megabyte": response_case(head(b"Content-Length: 1048576") + b"0123456789abcdef" * 65536),
    "chunks": response_case(head(CHUNKED, b"X: 1") + CHUNKS, head(b"X: 1", CHUNKED) + CHUNKS),
    "chunks and trailers": response_case(
        head(b"Trailer: T", CHUNKED) + WITH_TRAILERS, head(CHUNKED, b"Trailer: T") + WITH_TRAILERS
    ),
    "a body until the end": response_case(
        head(b"X: 1") + b"body", head(b"X: 1", CHUNKED) + b"4\r\nbody\r\n0\r\n\r\n", then="close"
    ),
    "an empty body until the end": response_case(
        head(b"X: 1"), head(b"X: 1", CHUNKED) + b"0\r\n\r\n", then="close"
    ),
    "HTTP/1.0 and a length": response_case(
        head(b"Content-Length: 2", line=b"HTTP/1.0 200 OK") + b"ok", OK, then="close"
    ),
    "HTTP/1.0 until the end": response_case(
        head(line=b"HTTP/1.0 200 OK") + b"ok", head(CHUNKED) + b"2\r\nok\r\n0\r\n\r\n", then="close"
    ),
    "204": response_case(NO_BODY),
    "204 with a length": response_case(
        head(b"Content-Length: 0", line=b"HTTP/1.1 204 No Content"), NO_BODY
    ),
    "304 with the length of what is not sent": response_case(
        head(b"Content-Length: 10", b'ETag: "x"', line=b"HTTP/1.1 304 Not Modified")
    ),
    "304 that says chunked": response_case(
        head(CHUNKED, line=b"HTTP/1.1 304 Not Modified"), head(line=b"HTTP/1.1 304 Not Modified")
    ),
    "HEAD with a length": head_case(head(b"Content-Length: 10")),
    "HEAD that says chunked": head_case(head(CHUNKED), head()),
    "HEAD without either": head_case(head(b"X: 1")),
    "hints, twice": response_case(HINTS + HINTS + OK),
    "102 and 103": response_case(head(line=b"HTTP/1.1 102 Processing") + HINTS + OK),
    "an unasked 100": response_case(head(line=b"HTTP/1.1 100 Continue") + OK),
    "no reason": response_case(head(b"Content-Length: 2", line=b"HTTP/1.1 200 ") + b"ok"),
    "a reason of odd bytes": response_case(
        head(b"Content-Length: 2", line=b"HTTP/1.1 299 \xfc \t!") + b"ok"
    ),
    "a status nobody knows": response_case(
        head(b"Content-Length: 2", line=b"HTTP/1.1 599 Odd") + b"ok"
    ),
    "several cookies, odd spelling": response_case(
        head(b"set-COOKIE:a=1", b"Set-Cookie: b=2", b"X:\t\xff ", b"Content-Length: 2") + b"ok"
    ),
    "what concerns the connection": response_case(
        head(
            b"Connection: x-hop, Keep-Alive",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Content-Length: 2",
        )
        + b"ok",
        OK,
    ),
    "a hundred cookies and more": response_case(
        head(*[b"Set-Cookie: c%d=%0100d" % (n, n) for n in range(150)], b"Content-Length: 2")
        + b"ok"
    ),
    "a redirect": response_case(
        head(b"Location: /there", b"Content-Length: 0", line=b"HTTP/1.1 302 Found")
    ),
    "205": response_case(head(b"Content-Length: 0", line=b"HTTP/1.1 205 Reset Content")),
    "chunks in capitals and with zeros": response_case(
        head(CHUNKED) + b"000A\r\n0123456789\r\n00\r\n\r\n"
    ),
    "a coding in capitals": response_case(
        head(b"TRANSFER-ENCODING: CHUNKED") + CHUNKS, head(CHUNKED) + CHUNKS
    ),
    "fields named like those of the connection": response_case(
        head(b"X-Connection: close", b"Te-X: 1", b"Upgrades: a", b"Content-Length: 2") + b"ok"
    ),
    "Connection naming the length": response_case(
        head(b"Connection: Content-Length", b"Content-Length: 2") + b"ok", OK
    ),
    "hints about the connection": response_case(
        head(b"Connection: X", b"X: 1", b"Link: <a>", line=b"HTTP/1.1 103 Early Hints") + OK,
        head(b"Link: <a>", line=b"HTTP/1.1 103 Early Hints") + OK,
    ),
    "Connection: close": response_case(
        head(b"Connection: close", b"Content-Length: 2") + b"ok", OK, then="close"
    ),
    "more than its length": response_case(
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", OK
    ),
    "more than its chunks": response_case(head(CHUNKED) + CHUNKS + b"evil", head(CHUNKED) + CHUNKS),
    "a body for a 204": response_case(NO_BODY + b"evil", NO_BODY),
    "a body for a HEAD": head_case(OK, head(b"Content-Length: 2")),
}

BAD = {
    "nothing": failure_case(b"", then="close"),
    "a reset": failure_case(b"", then="reset"),
    "half a head": failure_case(b"HTTP/1.1 200 OK\r\nContent-", then="close"),
    "no HTTP": failure_case(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "HTTP/2": failure_case(head(b"Content-Length: 2", line=b"HTTP/2.0 200 OK") + b"ok"),
    "a status of two digits": failure_case(
        head(b"Content-Length: 2", line=b"HTTP/1.1 20 OK") + b"ok"
    ),
    "a status below 100": failure_case(head(b"Content-Length: 2", line=b"HTTP/1.1 099 OK") + b"ok"),
    "bare LF": failure_case(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", then="close"),
    "bare LF in a field": failure_case(head(b"X: a\nContent-Length: 2") + b"ok"),
    "bare CR in a field": failure_case(head(b"X: a\rb", b"Content-Length: 2") + b"ok"),
    "a folded field": failure_case(head(b"X: a", b" b", b"Content-Length: 2") + b"ok"),
    "space before a colon": failure_case(head(b"Content-Length : 2") + b"ok"),
    "no colon": failure_case(head(b"X", b"Content-Length: 2") + b"ok"),
    "NUL": failure_case(head(b"X: a\0b", b"Content-Length: 2") + b"ok"),
    "a length and chunks": failure_case(head(b"Content-Length: 2", CHUNKED) + CHUNKS),
    "two lengths": failure_case(head(b"Content-Length: 2", b"Content-Length: 2") + b"ok"),
    "a list of lengths": failure_case(head(b"Content-Length: 2, 2") + b"ok"),
    "a signed length": failure_case(head(b"Content-Length: +2") + b"ok"),
    "a hexadecimal length": failure_case(head(b"Content-Length: 0x2") + b"ok"),
    "an empty length": failure_case(head(b"Content-Length:") + b"ok"),
    "another coding": failure_case(head(b"Transfer-Encoding: gzip, chunked") + CHUNKS),
    "chunked twice": failure_case(head(CHUNKED, CHUNKED) + CHUNKS),
    "chunks in HTTP/1.0": failure_case(head(CHUNKED, line=b"HTTP/1.0 200 OK") + CHUNKS),
    "a switch that nobody asked for": failure_case(
        head(b"Upgrade: websocket", b"Connection: Upgrade", line=b"HTTP/1.1 101 Switching")
    ),
    "a head of 64 KiB": failure_case(head(*[b"X: " + b"a" * 1000] * 66)),
    "a length with a sign, for HEAD": Case(
        visitor_request(b"HEAD /"), seen(b"HEAD /"), (OriginStep(head(b"Content-Length: +2")),), 502
    ),
    "a thousand fields about the connection": failure_case(head(*[b"TE: x"] * 1000)),
    "hints and then nothing": Case(
        GET,
        SEEN,
        (OriginStep(HINTS, "close"),),
        HINTS + b"HTTP/1.1 502 Bad Gateway\r\n",
        "unchecked",
    ),
}

CHUNKED_HEAD = head(CHUNKED)
# Errors after the head was sent: what arrived is relayed, and the client connection is aborted.
CUT = {
    "less than its length": (head(b"Content-Length: 5"), b"123", "close"),
    "less than its length, and a reset": (head(b"Content-Length: 5"), b"123", "reset"),
    "no last chunk": (CHUNKED_HEAD, b"2\r\nok\r\n", "close"),
    "half a chunk": (CHUNKED_HEAD, b"5\r\nok", "close"),
    "half the trailers": (CHUNKED_HEAD, b"0\r\nT: 1\r\n", "close"),
    "a body until the end that is reset": (head(b"X: 1"), b"body", "reset"),
    "a chunk size that is no number": (CHUNKED_HEAD, b"2\r\nok\r\nzz\r\n", "stay"),
    "a chunk size with a sign": (CHUNKED_HEAD, b"2\r\nok\r\n-1\r\n", "stay"),
    "a chunk size beyond 64 bits": (CHUNKED_HEAD, b"2\r\nok\r\n10000000000000001\r\n", "stay"),
    "a chunk longer than its size": (CHUNKED_HEAD, b"2\r\nok!\r\n", "stay"),
    "bare LF after a chunk size": (CHUNKED_HEAD, b"2\r\nok\r\n1\n!\r\n", "stay"),
    "a folded trailer": (CHUNKED_HEAD, b"0\r\nT: 1\r\n 2\r\n\r\n", "stay"),
}
