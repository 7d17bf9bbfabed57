"""The table: what a client sends, what the origin is to see of it, what it says, what comes back.

Rules: every case runs on both paths, and means the same on both, byte for byte.
"""

from dataclasses import dataclass

from tests.conformance.gate_pair import COOKIE, asked, seen


@dataclass(frozen=True)
class Says:
    """What the origin answers to one request, and what it does then."""

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
    says: tuple[Says, ...]
    back: bytes | int
    end: str = "stay"
    then: bytes = b""


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET, SEEN = asked(b"GET /"), seen(b"GET /")
CHUNKED = b"Transfer-Encoding: chunked"


def passes(line: bytes, *fields: bytes, body: bytes = b"", goes_on: tuple[bytes, ...]) -> Case:
    """A request of which the origin sees these fields, and which it answers plainly."""
    bodiless = line.startswith(b"HEAD")
    says = Says(OK[:-2] if bodiless else OK)
    seen_ = seen(line, *goes_on, body=body)
    return Case(asked(line, *fields, body=body), seen_, (says,), says.data)


def answers(
    said: bytes, back: bytes | None = None, *, end: str = "stay", then: str = "stay"
) -> Case:
    """A plain request that the origin answers so; `back` is what the client gets, if not that."""
    return Case(GET, SEEN, (Says(said, then),), said if back is None else back, end)


def fails(said: bytes, *, status: int = 502, then: str = "stay", end: str = "stay") -> Case:
    """A plain request whose answer is not usable; the gate answers in its place."""
    return Case(GET, SEEN, (Says(said, then),), status, end)


def at_host(host: bytes) -> tuple[bytes, bytes]:
    """A request for another host, as the client sends it and as the origin sees it."""
    return GET.replace(b"shop.example", host), SEEN.replace(b"shop.example", host)


def head(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


REQUESTS = {
    "a GET": passes(b"GET /", goes_on=()),
    "a HEAD": passes(b"HEAD /", goes_on=()),
    "a target of odd bytes": passes(b"GET //a/../%2e%zz;x='\"<>{}|\\^`[]?a=?&/", goes_on=()),
    "fields as they are written": passes(
        b"GET /",
        b"x-ODD: a  \xff\xc3\xa9 b",
        b"X-odd: 2",
        goes_on=(b"x-ODD: a  \xff\xc3\xa9 b", b"X-odd: 2"),
    ),
    "a field with a tab inside": passes(b"GET /", b"X: a\tb", goes_on=(b"X: a\tb",)),
    "space around a value": passes(b"GET /", b"X:  a\t ", goes_on=(b"X: a",)),
    "an empty value": passes(b"GET /", b"X:", goes_on=(b"X: ",)),
    "no space after the colon": passes(b"GET /", b"X:a", goes_on=(b"X: a",)),
    "every character of a token": passes(
        b"GET /", b"!#$%&'*+-.^`|~09AZaz: x", goes_on=(b"!#$%&'*+-.^`|~09AZaz: x",)
    ),
    "an underscore in a name": passes(b"GET /", b"X_Y: x", goes_on=(b"X_Y: x",)),
    "what says who the client is": passes(
        b"GET /",
        b"X-Forwarded-For: 1.2.3.4",
        b"x-forwarded-proto: https",
        b"X-Forwarded-Host: evil.example",
        b"Forwarded: for=1.2.3.4",
        b"X-Gatekeeper-Visitor: BBBBBBBBBBBBBBBBBBBBBB",
        b"X-Gatekeeper-Room: other",
        goes_on=(),
    ),
    "the same with underscores": passes(
        b"GET /", b"X_Forwarded_For: 1.2.3.4", b"x-gatekeeper_room: other", goes_on=()
    ),
    "other cookies": Case(
        b"GET / HTTP/1.1\r\nHost: shop.example\r\nX: 1\r\ncOOKIE: a=1; %b;b=2\r\nY: 2\r\n\r\n"
        % COOKIE.partition(b": ")[2],
        seen(b"GET /", b"X: 1", b"cOOKIE: a=1;b=2", b"Y: 2"),
        (Says(OK),),
        OK,
    ),
    "Connection: keep-alive": passes(b"GET /", b"Connection: Keep-Alive", goes_on=()),
    "Connection naming fields": passes(
        b"GET /", b"Connection: X-A, x-b", b"X-A: 1", b"X-B: 2", b"X-C: 3", goes_on=(b"X-C: 3",)
    ),
    "Keep-Alive and Proxy-Connection": passes(
        b"GET /", b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", goes_on=()
    ),
    "TE: trailers": passes(
        b"GET /", b"TE: trailers", b"Connection: TE", goes_on=(b"Connection: TE\r\nTE: trailers",)
    ),
    "an upgrade to HTTP/2, which is left out": Case(
        asked(
            b"GET /", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: A"
        ),
        SEEN,
        (Says(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "an upgrade that Connection does not name": passes(b"GET /", b"Upgrade: websocket", goes_on=()),
    "a GET with an empty body": passes(
        b"GET /", b"Content-Length: 0", goes_on=(b"Content-Length: 0",)
    ),
    "a GET with a body": passes(
        b"GET /", b"Content-Length: 3", body=b"abc", goes_on=(b"Content-Length: 3",)
    ),
    "a POST": passes(b"POST /", b"Content-Length: 3", body=b"abc", goes_on=(b"Content-Length: 3",)),
    "a chunked POST with extensions and trailers": Case(
        asked(b"POST /", CHUNKED, body=b'3;a="b"\r\nabc\r\n0;x\r\nT: 1\r\n\r\n'),
        seen(b"POST /", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"),
        (Says(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "absolute-form": Case(
        asked(b"GET http://SHOP.example/a?b"), seen(b"GET /a?b"), (Says(OK),), OK
    ),
    "OPTIONS of the whole server": passes(b"OPTIONS *", goes_on=()),
    "a method nobody knows": passes(b"PURGE /", goes_on=()),
    "a host that is an address": Case(*at_host(b"[2001:db8::1]:8080"), (Says(OK),), OK),
    "a host in capitals with a port": Case(*at_host(b"SHOP.example:80"), (Says(OK),), OK),
    "two cookie fields": Case(
        asked(b"GET /", b"Cookie: a=1"), seen(b"GET /", b"Cookie: a=1"), (Says(OK),), OK
    ),
    "an expectation, which is the origin's to meet": Case(
        asked(b"POST /", b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
        seen(b"POST /", b"Expect: 100-continue", b"Content-Length: 3", body=b"abc"),
        (Says(b"HTTP/1.1 100 Continue\r\n\r\n" + OK),),
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ),
    "HEAD and Connection: close": Case(
        asked(b"HEAD /", b"Connection: close"),
        seen(b"HEAD /"),
        (Says(OK[:-2]),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        "close",
    ),
    "an empty line before the request": Case(b"\r\n" + GET, SEEN, (Says(OK),), OK),
    "Connection: close": Case(
        asked(b"GET /", b"Connection: close"),
        SEEN,
        (Says(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "HTTP/1.0": Case(
        asked(b"GET / HTTP/1.0"),
        SEEN,
        (Says(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "close",
    ),
    "HTTP/1.0 with keep-alive": Case(
        asked(b"GET / HTTP/1.0", b"Connection: keep-alive"),
        SEEN,
        (Says(OK),),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    ),
}

_TWO = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
POST = asked(b"POST /p", b"Content-Length: 3", body=b"abc")
SEEN_POST = seen(b"POST /p", b"Content-Length: 3", body=b"abc")

PIPELINES = {
    "two plain requests": Case(
        GET + asked(b"GET /2"), SEEN + seen(b"GET /2"), (Says(OK), Says(_TWO)), OK + _TWO
    ),
    "twenty plain requests": Case(GET * 20, SEEN * 20, (Says(OK),) * 20, OK * 20),
    "HEAD before GET": Case(
        asked(b"HEAD /") + GET, seen(b"HEAD /") + SEEN, (Says(OK[:-2]), Says(OK)), OK[:-2] + OK
    ),
    "a plain request behind another": Case(
        POST + GET, SEEN_POST + SEEN, (Says(_TWO), Says(OK)), _TWO + OK
    ),
    "another behind a plain request": Case(
        GET + POST, SEEN + SEEN_POST, (Says(OK), Says(_TWO)), OK + _TWO
    ),
    "plain and others in turn": Case(
        (GET + POST) * 5, (SEEN + SEEN_POST) * 5, (Says(OK), Says(_TWO)) * 5, (OK + _TWO) * 5
    ),
    "a plain request behind one whose origin fails": Case(
        GET + asked(b"GET /2"),
        SEEN + seen(b"GET /2"),
        (Says(b"nonsense\r\n\r\n", "close"), Says(OK)),
        502,
        then=OK,
    ),
}

# What follows the first request of these is no request; the connection ends, and the first may
# end with it: aiohttp's parser refuses the whole read in which something is wrong.
LAST = {
    "behind one that closes": asked(b"GET /", b"Connection: close") + asked(b"GET /2"),
    "behind a chunked one": asked(b"POST /", CHUNKED, body=b"0\r\nT: 1\r\n\r\n") + asked(b"GET /2"),
    "malformed, behind a plain one": GET + b"GET /2 HTTP/1.1\r\nno field\r\n\r\n",
    "malformed, behind another": POST + b"GET /2 HTTP/1.1\r\nno field\r\n\r\n",
    "behind an upgrade to HTTP/2": asked(b"GET /", b"Connection: Upgrade", b"Upgrade: h2c")
    + asked(b"GET /2"),
    "behind HTTP/1.0": asked(b"GET / HTTP/1.0") + asked(b"GET /2"),
}
