"""The parser of response heads, and the body framing that a head announces.

Rules: pure. One regular expression accepts a complete head or rejects it: lines end in CRLF, names
are tokens, values contain no control characters, no line is folded (RFC 9112 section 5). The
origin's bytes are forwarded unchanged. A second expression finds the few control fields, which
the gate removes or evaluates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import Body, ChunkedBody, CloseDelimitedBody, LengthBody

MAX_HEAD_BYTES = 64 * 1024
UNREQUESTED_PROTOCOL = "the origin switched to a protocol that the client did not request"

# Matches in linear time, without backtracking. Character classes repeat possessively. Groups repeat
# in an atomic group: before Python 3.11.5 a possessive group is broken (cpython#106052).
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?"
    rb"((?>(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+)*))"
    rb"\r\n\r\n"
)
_MAX_CONTROL_FIELDS = 1000  # bounds work that is quadratic in their number
MAX_LENGTH_DIGITS = 18  # as many as every 64-bit parser reads correctly

# The control fields: those of this connection (RFC 9110 section 7.6.1), the command to the gate,
# and those that are evaluated and forwarded. The pattern splits lines into kept lines, name, value,
# kept lines, and so on.
_CONTROL_FIELD = re.compile(
    rb"\r\n(?=[cgkpstux])"
    rb"(c(?:on(?:nection|tent-length)|lear-site-data|f-waiting-room-command)"
    rb"|t(?:ransfer-encoding|railer|e)|keep-alive|gatekeeper-command|proxy-connection|upgrade"
    rb"|set-cookie|x-(?:queue-token|gatekeeper-state))"
    rb":([^\r]*+)",
    re.IGNORECASE,
)
_CONNECTION, _LENGTH = b"connection", b"content-length"
_SITE_DATA = b"clear-site-data"
_SET_COOKIE = b"set-cookie"
# Fields that only the gate sends to a client; of Set-Cookie, only the gate's own cookies.
_OF_GATE = frozenset({b"x-queue-token", b"x-gatekeeper-state", _SET_COOKIE})
_KEPT = frozenset({_LENGTH, _SITE_DATA, *_OF_GATE})
_COMMANDS = (b"gatekeeper-command", b"cf-waiting-room-command")
_FOR_GATE = frozenset({_SITE_DATA, *_COMMANDS})
# Members of `Connection` that remove no field: two options, and the field that frames the message.
_NOT_REMOVABLE = frozenset({b"close", b"keep-alive", _LENGTH})
WITHOUT_BODY = frozenset({204, 304})
_FIRST_FINAL = 200


@dataclass(slots=True)  # not frozen: a frozen one takes three times as long to create
class ResponseHead:
    """A response head, `size` bytes long."""

    status: int
    reason: bytes
    http11: bool
    lines: bytes  # the lines to forward unchanged, each preceded by CRLF
    control: dict[bytes, tuple[bytes, ...]]  # the values of the control fields by lower-case name
    concerns_gate: bool  # has a field for the gate
    persistent: bool  # the origin's connection stays open (RFC 9112 section 9.3); not for HTTP/1.0
    size: int

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The lines to forward, each with its lower-case name."""
        return [(line.partition(b":")[0].lower(), line) for line in self.lines.split(b"\r\n")[1:]]

    @property
    def command(self) -> str | None:
        """The value of `Gatekeeper-Command`, or of `Cf-Waiting-Room-Command` (origins made for
        Cloudflare Waiting Room send that), in lower case."""
        own, cloudflare = _COMMANDS
        values = self.control.get(own) or self.control.get(cloudflare)
        return values[0].decode("latin-1").lower() if values else None

    @property
    def site_data(self) -> str:
        """The value of `Clear-Site-Data`, or ""."""
        return b", ".join(self.control.get(_SITE_DATA, ())).decode("latin-1")

    @property
    def is_interim(self) -> bool:
        return self.status < _FIRST_FINAL

    @property
    def sets_cookie(self) -> bool:
        return _SET_COOKIE in self.control

    def tokens(self, name: bytes) -> tuple[bytes, ...]:
        """The comma-separated members of a control field, in lower case."""
        values = self.control.get(name)
        return tokens(values) if values else ()


@lru_cache(maxsize=256)  # servers and browsers use a handful of values
def tokens(values: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The non-empty members of a list-valued field, in lower case."""
    members = (part.strip().lower() for value in values for part in value.split(b","))
    return tuple(member for member in members if member)


def parse_response_head(data: bytes, own: frozenset[str] | None = None) -> ResponseHead | None:
    """The head at the beginning of `data`, or None if its end has not arrived.

    `own` has the names of the gate's cookies: an origin must not replace or delete the client's
    token, or set the gate's state. None: the head is the gate's own, and keeps all fields. Raises
    `OriginProtocolError` for a head that is malformed or longer than `MAX_HEAD_BYTES`.
    """
    match = _HEAD.match(data)
    if match is None:
        if data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) >= 0:
            raise OriginProtocolError("the origin sent a malformed response head")
        if len(data) >= MAX_HEAD_BYTES:
            raise OriginProtocolError("the origin sent a response head that is too long")
        return None
    size = match.end()
    if size > MAX_HEAD_BYTES:
        raise OriginProtocolError("the origin sent a response head that is too long")
    minor, status, reason, lines = match.groups()
    control: dict[bytes, tuple[bytes, ...]] = {}
    concerns_gate = False
    parts = _CONTROL_FIELD.split(lines)
    if len(parts) > 3 * _MAX_CONTROL_FIELDS:
        raise OriginProtocolError("the origin sent too many connection-specific fields")
    kept = parts[0]
    for at in range(1, len(parts), 3):
        value = parts[at + 1]
        name, is_kept, is_for_gate = _control_name(parts[at])
        if is_kept and not (name in _OF_GATE and _is_of_gate(name, value, own)):
            kept = b"%b\r\n%b:%b%b" % (kept, parts[at], value, parts[at + 2])
        else:
            kept += parts[at + 2]
        concerns_gate |= is_for_gate
        value = value.strip()
        control[name] = (*control[name], value) if name in control else (value,)
    removed: frozenset[bytes] = frozenset()
    persistent = minor == b"1"
    if _CONNECTION in control:
        removed, closes = _read_connection(control[_CONNECTION])
        persistent = persistent and not closes
    if status == b"204" or status < b"200":  # RFC 9110 section 8.6
        removed |= {_LENGTH}
    if removed:
        kept = _without(kept, removed)
    return ResponseHead(
        int(status), reason or b"", minor == b"1", kept, control, concerns_gate, persistent, size
    )


@lru_cache(maxsize=256)
def _control_name(spelled: bytes) -> tuple[bytes, bool, bool]:
    """The name in lower case; whether its field is forwarded, and whether it is for the gate."""
    name = spelled.lower()
    return name, name in _KEPT, name in _FOR_GATE


def _is_of_gate(name: bytes, value: bytes, own: frozenset[str] | None) -> bool:
    """Whether only the gate may send this field; the name of a cookie is parsed as in browsers (RFC
    6265bis section 5.6)."""
    if own is None:
        return False
    return name != _SET_COOKIE or value.partition(b"=")[0].strip(b" \t").decode("latin-1") in own


@lru_cache(maxsize=256)
def _read_connection(values: tuple[bytes, ...]) -> tuple[frozenset[bytes], bool]:
    """The fields that `Connection` names for removal, and whether it names `close`."""
    options = frozenset(tokens(values))
    return options - _NOT_REMOVABLE, b"close" in options


def _without(lines: bytes, names: frozenset[bytes]) -> bytes:
    kept = lines.split(b"\r\n")[1:]
    return b"".join(b"\r\n" + line for line in kept if line.partition(b":")[0].lower() not in names)


def body_of(head: ResponseHead, *, method: str, http11_client: bool) -> Body:
    """The body that a final head announces, by the order of RFC 9112 section 6.3."""
    lengths = head.control.get(_LENGTH)
    coded = head.control.get(b"transfer-encoding")
    codings = tokens(coded) if coded else ()
    # Numbered as in the RFC. 3. Both fields: an error, although the RFC lets a client choose, since
    # this is used for response smuggling. Checked before 1.: such an origin is not trusted.
    if lengths and codings:
        raise OriginProtocolError("the origin sent both Content-Length and Transfer-Encoding")
    length = _length_of(lengths) if lengths else None
    # 1. No body, regardless of the fields.
    if head.status in WITHOUT_BODY or method == "HEAD":
        return LengthBody(0)
    # 4. Exactly `chunked`; HTTP/1.0 has no transfer codings.
    if codings and codings != (b"identity",):
        if codings != (b"chunked",) or not head.http11:
            raise OriginProtocolError("the origin sent a Transfer-Encoding other than chunked")
        return ChunkedBody(decode=not http11_client)
    # 5. and 6. A length.
    if length is not None:
        return LengthBody(length)
    # 8. Everything until the connection closes.
    return CloseDelimitedBody(chunked=http11_client)


def _length_of(values: tuple[bytes, ...]) -> int:
    # `bytes.isdigit` accepts 0 to 9 only.
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > MAX_LENGTH_DIGITS:
        raise OriginProtocolError("the origin sent an invalid Content-Length")
    return int(values[0])
