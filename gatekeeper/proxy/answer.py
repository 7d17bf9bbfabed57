"""The head of the origin's answer: read strictly, and the framing of the body it announces.

Rules: pure. One regular expression accepts a whole head or none of it: lines end in CRLF, names
are tokens, values hold no control characters, nothing is folded (RFC 9112 section 5). Lines are
kept as they came, so that what is passed on is the origin's own bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import Body, ChunkedBody, CloseDelimitedBody, LengthBody

MAX_HEAD_BYTES = 64 * 1024

# Possessive quantifiers: the match is linear in the size of the head, whatever it holds.
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)"
    rb"\r\n"
)
_DIGITS = re.compile(rb"[0-9]{1,18}")

# What concerns this connection alone (RFC 9110 section 7.6.1), and what is said to the gate.
_FOR_US = frozenset(
    {
        b"connection",
        b"gatekeeper-command",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NO_CONTENT = 204
_NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class Answer:
    """A response head; `fields` are the lines to pass on, each with its lower-case name."""

    status: int
    reason: bytes
    http11: bool
    fields: list[tuple[bytes, bytes]]
    for_us: dict[bytes, list[bytes]]  # values of the fields that are not passed on as they are

    @property
    def command(self) -> str | None:
        """The value of `Gatekeeper-Command`."""
        values = self.for_us.get(b"gatekeeper-command")
        return values[0].decode("latin-1") if values else None

    def tokens(self, name: bytes) -> list[bytes]:
        """The comma-separated, lower-case members of a field that is `for_us`."""
        values = self.for_us.get(name)
        return tokens(values) if values else []

    @property
    def persistent(self) -> bool:
        """Whether the origin's connection stays open after this answer (RFC 9112 section 9.3).

        A 1.0 origin that asks for keep-alive is not trusted with it.
        """
        return self.http11 and b"close" not in self.tokens(b"connection")


def tokens(values: list[bytes]) -> list[bytes]:
    """The members of a list-valued field, lower-case, empty ones left out."""
    return [
        token for value in values for part in value.split(b",") if (token := part.strip().lower())
    ]


def parse_answer(head: bytes) -> Answer:
    """Read a head, from the status line to the empty line; else `OriginProtocolError`."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise OriginProtocolError("the origin sent a malformed head")
    minor, status, reason, block = match.groups()
    fields: list[tuple[bytes, bytes]] = []
    for_us: dict[bytes, list[bytes]] = {}
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _FOR_US:
            for_us.setdefault(name, []).append(value.strip())
            continue
        if name == b"content-length":
            for_us.setdefault(name, []).append(value.strip())
        fields.append((name, line))
    return Answer(int(status), reason or b"", minor == b"1", fields, for_us)


def body_of(answer: Answer, *, method: str, http11_client: bool) -> Body:
    """The body that a final head announces, by the order of RFC 9112 section 6.3."""
    lengths = answer.for_us.get(b"content-length")
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
    if codings and codings != [b"identity"]:
        if codings != [b"chunked"] or not answer.http11:
            raise OriginProtocolError("the origin sent a Transfer-Encoding other than chunked")
        return ChunkedBody(decode=not http11_client)
    # 5. and 6. a length
    if length is not None:
        return LengthBody(length)
    # 8. all there is until the connection ends
    return CloseDelimitedBody(chunked=http11_client)


def _length(values: list[bytes]) -> int:
    if len(values) > 1 or _DIGITS.fullmatch(values[0]) is None:
        raise OriginProtocolError("the origin sent an invalid Content-Length")
    return int(values[0])
