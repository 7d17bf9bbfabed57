"""Cases: what a client sends, what the origin receives and sends, and what the client receives.

Rules: every case runs on both paths, with the same result, byte for byte.
"""

from dataclasses import dataclass

from tests.conformance.gate_pair import COOKIE, seen, visitor_request


@dataclass(frozen=True)
class OriginStep:
    """What the origin sends in response to one request, and what it does next."""

    data: bytes
    then: str = "stay"  # or "close", "reset"


@dataclass(frozen=True)
class Case:
    """One client connection.

    `back` is what the client receives, or the status of the gate's own response; `then` is what
    the client receives after that response. `end` is what happens to the connection: it serves
    another request ("stay"), it is closed ("close"), or neither is checked ("unchecked").
    """

    sent: bytes
    seen: bytes
    origin_steps: tuple[OriginStep, ...]
    back: bytes | int
    end: str = "stay"
    then: bytes = b""


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = visitor_request(b"POST /", b"Content-Length: 3", body=b"abc")
STATUS = b"GET /.gatekeeper/health HTTP/1.1\r\nHost: shop.example\r\n\r\n"
GET, SEEN = visitor_request(b"GET /"), seen(b"GET /")
CHUNKED = b"Transfer-Encoding: chunked"


def forwarded_case(
    line: bytes, *fields: bytes, body: bytes = b"", forwarded_fields: tuple[bytes, ...]
) -> Case:
    """A request that the origin receives with `forwarded_fields`; the response is simple."""
    bodiless = line.startswith(b"HEAD")
    origin_steps = OriginStep(OK[:-2] if bodiless else OK)
    seen_ = seen(line, *forwarded_fields, body=body)
    return Case(
        visitor_request(line, *fields, body=body), seen_, (origin_steps,), origin_steps.data
    )


def response_case(
    said: bytes, back: bytes | None = None, *, end: str = "stay", then: str = "stay"
) -> Case:
    """A plain request with this response; `back` is what the client receives, if different."""
    return Case(GET, SEEN, (OriginStep(said, then),), said if back is None else back, end)


def failure_case(said: bytes, *, status: int = 502, then: str = "stay", end: str = "stay") -> Case:
    """A plain request with an invalid response, which the gate replaces by its own."""
    return Case(GET, SEEN, (OriginStep(said, then),), status, end)


def at_host(host: bytes) -> tuple[bytes, bytes]:
    """A request for another host, as the client sends it and as the origin receives it."""
    return GET.replace(b"shop.example", host), SEEN.replace(b"shop.example", host)


def head(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


REQUESTS = {
    "a GET": forwarded_case(b"GET /", forwarded_fields=()),
    "a HEAD": forwarded_case(b"HEAD /", forwarded_fields=()),
    "a target of odd bytes": forwarded_case(
        b"GET //a/../%2e%zz;x='\"<>{}|\\^`[]?a=?&/", forwarded_fields=()
    ),
    "fields as they are written": forwarded_case(
        b"GET /",
        b"x-ODD: a  \xff\xc3\xa9 b",
        b"X-odd: 2",
        forwarded_fields=(b"x-ODD: a  \xff\xc3\xa9 b", b"X-odd: 2"),
    ),
    "a field with a tab inside": forwarded_case(
        b"GET /", b"X: a\tb", forwarded_fields=(b"X: a\tb",)
    ),
    "space around a value": forwarded_case(b"GET /", b"X:  a\t ", forwarded_fields=(b"X: a",)),
    "an empty value": forwarded_case(b"GET /", b"X:", forwarded_fields=(b"X: ",)),
    "no space after the colon": forwarded_case(b"GET /", b"X:a", forwarded_fields=(b"X: a",)),
    "every character of a token": forwarded_case(
        b"GET /", b"!#$%&'*+-.^`|~09AZaz: x", forwarded_fields=(b"!#$%&'*+-.^`|~09AZaz: x",)
    ),
    "an underscore in a name": forwarded_case(b"GET /", b"X_Y: x", forwarded_fields=(b"X_Y: x",)),
    "what says who the client is": forwarded_case(
        b"GET /",
        b"X-Forwarded-For: 1.2.3.4",
        b"x-forwarded-proto: https",
        b"X-Forwarded-Host: evil.example",
        b"Forwarded: for=1.2.3.4",
        b"X-Gatekeeper-Visitor: BBBBBBBBBBBBBBBBBBBBBB",
        b"X-Gatekeeper-Room: other",
        forwarded_fields=(),
    ),
    "the same with underscores": forwarded_case(
        b"GET /", b"X_Forwarded_For: 1.2.3.4", b"x-gatekeeper_room: other", forwarded_fields=()
    ),
    "other cookies": Case(
        b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: 1\r\ncOOKIE: a=1; %b;b=2\r\nY: 2\r\n\r\n"
        % COOKIE.partition(b": ")[2],
        seen(b"GET /", b"X: 1", b"cOOKIE: a=1;b=2", b"Y: 2"),
        (OriginStep(OK),),
        OK,
    ),
    "Connection: keep-alive": forwarded_case(
        b"GET /", b"Connection: Keep-Alive", forwarded_fields=()
    ),
    "Connection naming fields": forwarded_case(
        b"GET /",
        b"Connection: X-A, x-b",
        b"X-A: 1",
        b"X-B: 2",
        b"X-C: 3",
        forwarded_fields=(b"X-C: 3",),
    ),
    "Keep-Alive and Proxy-Connection": forwarded_case(
        b"GET /", b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", forwarded_fields=()
    ),
    "TE: trailers": forwarded_case(
        b"GET /",
        b"TE: trailers",
        b"Connection: TE",
        forwarded_fields=(b"Connection: TE\r\nTE: trailers",),
    ),
    "an upgrade to HTTP/2, which is left out": Case(
        visitor_request(
            b"GET /", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: A"
        ),
        SEEN,
        (OriginStep(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "an upgrade that Connection does not name": forwarded_case(
        b"GET /", b"Upgrade: websocket", forwarded_fields=()
    ),
    "a GET with an empty body": forwarded_case(
        b"GET /", b"Content-Length: 0", forwarded_fields=(b"Content-Length: 0",)
    ),
    "a GET with a body": forwarded_case(
        b"GET /", b"Content-Length: 3", body=b"abc", forwarded_fields=(b"Content-Length: 3",)
    ),
    "a POST": forwarded_case(
        b"POST /", b"Content-Length: 3", body=b"abc", forwarded_fields=(b"Content-Length: 3",)
    ),
    "a chunked POST with extensions and trailers": Case(
        visitor_request(b"POST /", CHUNKED, body=b'3;a="b"\r\nabc\r\n0;x\r\nT: 1\r\n\r\n'),
        seen(b"POST /", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"),
        (OriginStep(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "absolute-form": Case(
        visitor_request(b"GET http://SHOP.example/a?b"), seen(b"GET /a?b"), (OriginStep(OK),), OK
    ),
    "absolute-form with the default port": Case(
        visitor_request(b"GET http://shop.example:80/a"), seen(b"GET /a"), (OriginStep(OK),), OK
    ),
    "OPTIONS of the whole server": forwarded_case(b"OPTIONS *", forwarded_fields=()),
    "a method nobody knows": forwarded_case(b"PURGE /", forwarded_fields=()),
    "a host that is an address": Case(*at_host(b"[2001:db8::1]:8080"), (OriginStep(OK),), OK),
    "a host in capitals with a port": Case(*at_host(b"SHOP.example:80"), (OriginStep(OK),), OK),
    "two cookie fields": Case(
        visitor_request(b"GET /", b"Cookie: a=1"),
        seen(b"GET /", b"Cookie: a=1"),
        (OriginStep(OK),),
        OK,
    ),
    "an expectation, which is the origin's to meet": Case(
        visitor_request(b"POST /", b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
        seen(b"POST /", b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
        (OriginStep(b"HTTP/1.1 100 Continue\r\n\r\n" + OK),),
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ),
    "HEAD and Connection: close": Case(
        visitor_request(b"HEAD /", b"Connection: close"),
        seen(b"HEAD /"),
        (OriginStep(OK[:-2]),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        "close",
    ),
    "an empty line before the request": Case(b"\r\n" + GET, SEEN, (OriginStep(OK),), OK),
    "Connection: close": Case(
        visitor_request(b"GET /", b"Connection: close"),
        SEEN,
        (OriginStep(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "HTTP/1.0": Case(
        visitor_request(b"GET / HTTP/1.0"),
        SEEN,
        (OriginStep(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "HTTP/1.0 with keep-alive": Case(
        visitor_request(b"GET / HTTP/1.0", b"Connection: keep-alive"),
        SEEN,
        (OriginStep(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    ),
}

_TWO = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
POST = visitor_request(b"POST /p", b"Content-Length: 3", body=b"abc")
SEEN_POST = seen(b"POST /p", b"Content-Length: 3", body=b"abc")

PIPELINES = {
    "two plain requests": Case(
        GET + visitor_request(b"GET /2"),
        SEEN + seen(b"GET /2"),
        (OriginStep(OK), OriginStep(_TWO)),
        OK + _TWO,
    ),
    "twenty plain requests": Case(GET * 20, SEEN * 20, (OriginStep(OK),) * 20, OK * 20),
    "HEAD before GET": Case(
        visitor_request(b"HEAD /") + GET,
        seen(b"HEAD /") + SEEN,
        (OriginStep(OK[:-2]), OriginStep(OK)),
        OK[:-2] + OK,
    ),
    "a plain request behind another": Case(
        POST + GET, SEEN_POST + SEEN, (OriginStep(_TWO), OriginStep(OK)), _TWO + OK
    ),
    "another behind a plain request": Case(
        GET + POST, SEEN + SEEN_POST, (OriginStep(OK), OriginStep(_TWO)), OK + _TWO
    ),
    "plain and others in turn": Case(
        (GET + POST) * 5,
        (SEEN + SEEN_POST) * 5,
        (OriginStep(OK), OriginStep(_TWO)) * 5,
        (OK + _TWO) * 5,
    ),
    "a plain request behind one whose origin fails": Case(
        GET + visitor_request(b"GET /2"),
        SEEN + seen(b"GET /2"),
        (OriginStep(b"nonsense\r\n\r\n", "close"), OriginStep(OK)),
        502,
        then=OK,
    ),
}

# In these cases the bytes after the first request are not a request. The connection ends, and the
# first request may fail with it: aiohttp's parser rejects the whole read that contains an error.
LAST = {
    "behind one that closes": visitor_request(b"GET /", b"Connection: close")
    + visitor_request(b"GET /2"),
    "behind a chunked one": visitor_request(b"POST /", CHUNKED, body=b"0\r\nT: 1\r\n\r\n")
    + visitor_request(b"GET /2"),
    "malformed, behind a plain one": GET + b"GET /2 HTTP/1.1\r\nno field\r\n\r\n",
    "malformed, behind another": POST + b"GET /2 HTTP/1.1\r\nno field\r\n\r\n",
    "behind an upgrade to HTTP/2": visitor_request(
        b"GET /", b"Connection: Upgrade", b"Upgrade: h2c"
    )
    + visitor_request(b"GET /2"),
    "behind HTTP/1.0": visitor_request(b"GET / HTTP/1.0") + visitor_request(b"GET /2"),
}
