"""The parser of plain requests: heads that every HTTP parser reads in the same way.

Rules: pure. A plain request is a GET or HEAD in origin-form over HTTP/1.1 with one Host, no field
that announces a body, and no connection option but `close` or `keep-alive`. Names are tokens
without underscores, one space follows the colon and none follows the value, values contain no
control characters, no line is folded, and the head is short. All other requests go to aiohttp's
parser. A property test verifies that aiohttp accepts every plain request with the same result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatekeeper.policy.facts import HOST

MAX_PLAIN_BYTES = 8190  # aiohttp's limit for one line; a browser's head has about 1 KB

# Matches in linear time, and correctly on every Python 3.11, like `proxy.response`. A request
# target has no "#".
METHOD, TARGET = rb"(GET|HEAD)", rb"(/[!\x22\x24-\x7e]*+)"
_HEAD = re.compile(
    rb"%b %b HTTP/1\.1\r\n" % (METHOD, TARGET)
    + rb"((?>(?:[!#$%&'*+.^`|~0-9A-Za-z-]++: (?![\t ])[\t\x20-\x7e\x80-\xff]*+(?<![\t ])\r\n)+))"
    + rb"\r\n"
)
# The characters of its values. `bytes.translate` checks them four times as fast as a pattern.
IN_VALUES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
# The start of such a head: lines end in CRLF, and the first one ends in the version.
_BEGUN = re.compile(
    rb"(?:GET|HEAD) /[^\r\n]*+"
    rb"(?:\r|(?<= HTTP/1\.1)\r\n(?>(?:[^\r\n]++\r\n)*)[^\r\n]*+\r?)?"
)
_BEGINNINGS = (b"GET /", b"HEAD /")
_HOST = re.compile(HOST.pattern.encode())
_MAX_FIELDS = 100

# Fields of framing, of the connection, and for the gate.
_NOT_PLAIN = frozenset(
    {
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"sec-websocket-key1",  # of a draft that aiohttp rejects
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-queue-token",
    }
)
# The gate sets these itself; `forwarded` (RFC 7239) could contradict them.
_DROPPED = frozenset({b"forwarded", b"x-gatekeeper-room", b"x-gatekeeper-visitor"})
_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
_ONCE = frozenset({b"connection", b"cookie", b"host", b"x-queue-ticket"})
# These are forwarded; aiohttp rejects a request that repeats one (RFC 9110 section 5.3).
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
_FIELDS_OF_GATE = (b"x-queue-", b"x-gatekeeper-")
_SPECIAL = _NOT_PLAIN | _DROPPED | _FORWARDED | _ONCE | _SINGLE
_CONNECTION_OPTIONS = {b"": True, b"keep-alive": True, b"close": False}


@dataclass(slots=True)
class PlainRequest:
    """A plain request, as the fast path needs it."""

    method: str
    target: bytes
    host: bytes
    fields: list[bytes]  # the lines to forward unchanged
    cookie_name: bytes  # of the only Cookie field, as the client spelled it
    cookie: bytes | None  # its value
    cookie_at: int  # its index in `fields`
    forwarded: list[tuple[bytes, bytes]]  # X-Forwarded-* of the client, names in lower case
    keep_alive: bool
    page_ticket: bytes | None  # for the gate, never forwarded

    def forwarded_values(self, name: str) -> list[str]:
        """The values of an X-Forwarded field, in order."""
        wanted = name.lower().encode("ascii")
        return [value.decode("latin-1") for name_, value in self.forwarded if name_ == wanted]


def may_be_plain(begun: bytes) -> bool:
    """Whether this start of a head can become a plain head. Only line ends are checked strictly."""
    if _BEGUN.fullmatch(begun) is not None:
        return True
    return any(beginning.startswith(begun) for beginning in _BEGINNINGS)


def parse_plain_head(head: bytes) -> PlainRequest | None:
    """The request of a head, from the request line to the empty line; None if it is not plain."""
    match = _HEAD.fullmatch(head)
    if match is None:
        return None
    method, target, block = match.groups()
    fields: list[bytes] = []
    forwarded: list[tuple[bytes, bytes]] = []
    once: dict[bytes, bytes] = {}
    cookie_name, cookie_at = b"", 0
    lines = block.split(b"\r\n")
    if len(lines) > _MAX_FIELDS:
        return None
    lines.pop()  # what follows the last CRLF
    for line in lines:
        name, _, value = line.partition(b": ")
        name = name.lower()
        if name not in _SPECIAL:
            if name[:2] == b"x-" and name.startswith(_FIELDS_OF_GATE):  # not forwarded
                return None
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
        page_ticket=once.get(b"x-queue-ticket"),
    )
