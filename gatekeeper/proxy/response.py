"""The head of the origin's answer: read strictly, and the framing of the body it announces.

Rules: pure. One regular expression accepts a whole head or none of it: lines end in CRLF, names
are tokens, values hold no control characters, nothing is folded (RFC 9112 section 5). What is
passed on is the origin's own bytes: the few lines that are not are found by a second expression,
and left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import Body, ChunkedBody, CloseDelimitedBody, LengthBody

MAX_HEAD_BYTES = 64 * 1024

# Linear in the size of the head: nothing backtracks. Single characters repeat possessively, groups
# within an atomic group: before Python 3.11.5 a possessive group is broken (python/cpython#106052).
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?"
    rb"((?>(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+)*))"
    rb"\r\n\r\n"
)
_MOST_FOR_US = 1000  # they are put together one by one
_MOST_DIGITS = 18  # what every 64-bit parser reads alike

# What concerns this connection alone (RFC 9110 section 7.6.1), what is said to the gate, and the
# length, which is looked at and passed on. Splits lines into what is kept, name, value, and so on.
_FOR_US = re.compile(
    rb"\r\n(?=[cgkptu])(connection|content-length|gatekeeper-command|keep-alive|proxy-connection"
    rb"|te|trailer|transfer-encoding|upgrade):([^\r]*+)",
    re.IGNORECASE,
)
_CONNECTION, _LENGTH = b"connection", b"content-length"
# `Connection` cannot name away what frames the message, and names nothing by these.
_NAME_NO_FIELD = frozenset({b"close", b"keep-alive", _LENGTH})
_NO_CONTENT = 204
_NOT_MODIFIED = 304


@dataclass(slots=True)  # not frozen: that takes three times as long to make, for every answer
class ResponseHead:
    """A response head, `size` bytes long."""

    status: int
    reason: bytes
    http11: bool
    lines: bytes  # those to pass on as they came, each with the CRLF before it
    for_us: dict[bytes, tuple[bytes, ...]]  # values of the other fields, and of Content-Length
    size: int

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The lines to pass on, each with its lower-case name."""
        return [(line.partition(b":")[0].lower(), line) for line in self.lines.split(b"\r\n")[1:]]

    @property
    def command(self) -> str | None:
        """The value of `Gatekeeper-Command`."""
        values = self.for_us.get(b"gatekeeper-command")
        return values[0].decode("latin-1") if values else None

    def tokens(self, name: bytes) -> tuple[bytes, ...]:
        """The comma-separated, lower-case members of a field that is `for_us`."""
        values = self.for_us.get(name)
        return tokens(values) if values else ()

    @property
    def persistent(self) -> bool:
        """Whether the origin's connection stays open after this answer (RFC 9112 section 9.3).

        A 1.0 origin that asks for keep-alive is not trusted with it.
        """
        return self.http11 and b"close" not in self.tokens(_CONNECTION)


@lru_cache(maxsize=256)  # servers and browsers have a handful
def tokens(values: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The members of a list-valued field, lower-case, empty ones left out."""
    members = (part.strip().lower() for value in values for part in value.split(b","))
    return tuple(member for member in members if member)


def parse_response_head(data: bytes) -> ResponseHead | None:
    """The head that `data` begins with, None while its end is not there; else
    `OriginProtocolError`."""
    match = _HEAD.match(data)
    if match is None:
        if data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) >= 0:
            raise OriginProtocolError("the origin sent a malformed head")
        if len(data) >= MAX_HEAD_BYTES:
            raise OriginProtocolError("the origin sent a head that is too long")
        return None
    size = match.end()
    if size > MAX_HEAD_BYTES:
        raise OriginProtocolError("the origin sent a head that is too long")
    minor, status, reason, lines = match.groups()
    for_us: dict[bytes, tuple[bytes, ...]] = {}
    parts = _FOR_US.split(lines)
    if len(parts) > 3 * _MOST_FOR_US:
        raise OriginProtocolError("the origin sent too many fields about the connection")
    kept = parts[0]
    for at in range(1, len(parts), 3):
        name, value = parts[at].lower(), parts[at + 1]
        if name == _LENGTH:
            kept += b"\r\n" + parts[at] + b":" + value
        kept += parts[at + 2]
        value = value.strip()
        for_us[name] = (*for_us[name], value) if name in for_us else (value,)
    dropped = _named(for_us[_CONNECTION]) if _CONNECTION in for_us else frozenset()
    if status == b"204" or status < b"200":  # RFC 9110 section 8.6
        dropped |= {_LENGTH}
    if dropped:
        kept = _without(kept, dropped)
    return ResponseHead(int(status), reason or b"", minor == b"1", kept, for_us, size)


@lru_cache(maxsize=256)
def _named(connection: tuple[bytes, ...]) -> frozenset[bytes]:
    """The fields that `Connection` names."""
    return frozenset(tokens(connection)) - _NAME_NO_FIELD


def _without(lines: bytes, names: frozenset[bytes]) -> bytes:
    kept = lines.split(b"\r\n")[1:]
    return b"".join(b"\r\n" + line for line in kept if line.partition(b":")[0].lower() not in names)


def body_of(answer: ResponseHead, *, method: str, http11_client: bool) -> Body:
    """The body that a final head announces, by the order of RFC 9112 section 6.3."""
    lengths = answer.for_us.get(_LENGTH)
    codings = answer.tokens(b"transfer-encoding")
    # Numbered as there: 3. both is an error, though it lets a client choose: that is how answers
    # are smuggled. It comes before 1. because it tells of an origin that is not to be trusted.
    if lengths and codings:
        raise OriginProtocolError("the origin sent both Content-Length and Transfer-Encoding")
    length = _length(lengths) if lengths else None
    # 1. no body whatever the fields say
    if method == "HEAD" or answer.status in {_NO_CONTENT, _NOT_MODIFIED}:
        return LengthBody(0)
    # 4. chunked, and nothing besides; HTTP/1.0 has no codings
    if codings and codings != (b"identity",):
        if codings != (b"chunked",) or not answer.http11:
            raise OriginProtocolError("the origin sent a Transfer-Encoding other than chunked")
        return ChunkedBody(decode=not http11_client)
    # 5. and 6. a length
    if length is not None:
        return LengthBody(length)
    # 8. all there is until the connection ends
    return CloseDelimitedBody(chunked=http11_client)


def _length(values: tuple[bytes, ...]) -> int:
    # `isdigit` of bytes means 0 to 9.
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > _MOST_DIGITS:
        raise OriginProtocolError("the origin sent an invalid Content-Length")
    return int(values[0])
