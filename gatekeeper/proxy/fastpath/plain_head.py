"""The plain request: a head on which no two parsers can disagree.

Rules: pure. A request is plain when it is a GET or HEAD in origin-form over HTTP/1.1, has one
Host, nothing that announces a body, and nothing of the connection but `close` or `keep-alive`;
names are tokens without underscores, one space follows the colon and none the value, values hold
no control characters, nothing is folded, and it is short. Everything else is for aiohttp's
parser. A test holds that whatever is plain is taken by aiohttp too, and means the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatekeeper.proxy.request_check import HOST

MAX_PLAIN_BYTES = 8190  # aiohttp's limit of one line; a browser's whole head has about 1 KB

# Linear, and right on every Python 3.11, as in `proxy.response`. A request target has no "#".
METHOD, TARGET = rb"(GET|HEAD)", rb"(/[!\x22\x24-\x7e]*+)"
_HEAD = re.compile(
    rb"%b %b HTTP/1\.1\r\n" % (METHOD, TARGET)
    + rb"((?>(?:[!#$%&'*+.^`|~0-9A-Za-z-]++: (?![\t ])[\t\x20-\x7e\x80-\xff]*+(?<![\t ])\r\n)+))"
    + rb"\r\n"
)
# The same of a head whose end has not come: lines end in CRLF, the first as the first must.
_BEGUN = re.compile(
    rb"(?:GET|HEAD) /[^\r\n]*+"
    rb"(?:\r|(?<= HTTP/1\.1)\r\n(?>(?:[^\r\n]++\r\n)*)[^\r\n]*+\r?)?"
)
_BEGINNINGS = (b"GET /", b"HEAD /")
_HOST = re.compile(HOST.pattern.encode())
_MOST_FIELDS = 100

# They frame, switch, or ask something of the connection, or are said to the gate alone.
_NOT_PLAIN = frozenset(
    {
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"sec-websocket-key1",  # of a draft that aiohttp refuses
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-queue-token",
    }
)
# Who the client is, is for the gate to say; `forwarded` (RFC 7239) could contradict it.
_DROPPED = frozenset({b"forwarded", b"x-gatekeeper-room", b"x-gatekeeper-visitor"})
_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
_ONCE = frozenset({b"connection", b"cookie", b"host"})
# They go on, and twice they are an error to aiohttp (RFC 9110 section 5.3).
_SINGLE = frozenset(
    {
        b"content-location",
        b"content-range",
        b"content-type",
        b"etag",
        b"max-forwards",
        b"server",
        b"user-agent",
    }
)
_LOOKED_AT = _NOT_PLAIN | _DROPPED | _FORWARDED | _ONCE | _SINGLE
_CONNECTION_OPTIONS = {b"": True, b"keep-alive": True, b"close": False}


@dataclass(slots=True)
class PlainRequest:
    """What the express lane needs of a plain head."""

    method: str
    target: bytes
    host: bytes
    fields: list[bytes]  # the lines that go on as they came
    cookie_name: bytes  # of the one Cookie field, as the client wrote it
    cookie: bytes | None  # its value
    cookie_at: int  # before which of `fields` it stood
    forwarded: list[tuple[bytes, bytes]]  # X-Forwarded-* as the client sent them, lower-case
    keep_alive: bool

    def forwarded_values(self, name: str) -> list[str]:
        """The values of an X-Forwarded field, in the order they came."""
        wanted = name.lower().encode("ascii")
        return [value.decode("latin-1") for name_, value in self.forwarded if name_ == wanted]


def may_be_plain(begun: bytes) -> bool:
    """Whether this beginning of a head can become a plain one; lenient, but for its lines."""
    if _BEGUN.fullmatch(begun) is not None:
        return True
    return any(beginning.startswith(begun) for beginning in _BEGINNINGS)


def parse_plain_head(head: bytes) -> PlainRequest | None:
    """The plain request in `head`, from the request line to the empty line; None: not plain."""
    match = _HEAD.fullmatch(head)
    if match is None:
        return None
    method, target, block = match.groups()
    fields: list[bytes] = []
    forwarded: list[tuple[bytes, bytes]] = []
    once: dict[bytes, bytes] = {}
    cookie_name, cookie_at = b"", 0
    lines = block.split(b"\r\n")
    if len(lines) > _MOST_FIELDS:
        return None
    lines.pop()  # what follows the last CRLF
    for line in lines:
        name, _, value = line.partition(b": ")
        name = name.lower()
        if name not in _LOOKED_AT:
            fields.append(line)
        elif name in _NOT_PLAIN or name in once:
            return None
        elif name in _SINGLE:
            once[name] = value
            fields.append(line)
        elif name in _ONCE:
            once[name] = value
            if name == b"cookie":
                cookie_name, cookie_at = line[:6], len(fields)
        elif name in _FORWARDED:
            forwarded.append((name, value))
    host = once.get(b"host", b"")
    keep_alive = _CONNECTION_OPTIONS.get(once.get(b"connection", b"").lower())
    if keep_alive is None or _HOST.fullmatch(host) is None:
        return None
    return PlainRequest(
        method="GET" if method == b"GET" else "HEAD",
        target=target,
        host=host,
        fields=fields,
        cookie_name=cookie_name,
        cookie=once.get(b"cookie"),
        cookie_at=cookie_at,
        forwarded=forwarded,
        keep_alive=keep_alive,
    )
