"""Where the body of an answer ends, and which bytes of it the client gets.

Rules: pure, no I/O. A body takes the origin's bytes in whatever pieces they come and returns those
for the client; never a byte beyond its end. What follows the end is `surplus`, and the connection
that sent it is not used again. Anything RFC 9112 does not allow, and any end before the end,
raises `OriginProtocolError`.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Protocol

from gatekeeper.errors import OriginProtocolError

# RFC 9112 section 7.1. Stricter than its grammar in two points, for what parsers disagree on is
# what smuggling lives on: no whitespace before ";" and no number longer than 15 digits, which
# every 64-bit parser reads alike.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n")

_MAX_SIZE_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 16 * 1024


class Body(Protocol):
    """What all bodies have in common."""

    complete: bool  # the last byte was taken
    surplus: bool  # the origin sent more than the body

    @property
    def chunked(self) -> bool:
        """Whether the client gets it in the chunked coding."""
        ...

    @property
    def until_close(self) -> bool:
        """Whether it ends, for the client, with the connection."""
        ...

    def take(self, data: bytes) -> bytes:
        """The bytes for the client that `data` brings."""
        ...

    def end(self) -> bytes:
        """The origin closed its side: the last bytes for the client."""
        ...


class LengthBody:
    """A body of known length; of length 0 where there is none, as after `HEAD`."""

    __slots__ = ("_left", "complete", "surplus")
    chunked = False
    until_close = False

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        if len(data) < self._left:
            self._left -= len(data)
            return data
        if len(data) > self._left:
            self.surplus = True
            data = data[: self._left]
        self._left = 0
        self.complete = True
        return data

    def end(self) -> bytes:
        raise OriginProtocolError("the origin closed before the end of its answer")


class CloseDelimitedBody:
    """A body that ends with the origin's connection.

    A client that can read chunks gets chunks, so that a cut does not look like an end.
    """

    __slots__ = ("chunked", "complete", "surplus", "until_close")

    def __init__(self, *, chunked: bool) -> None:
        self.chunked = chunked
        self.until_close = not chunked
        self.complete = False
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked and data else data

    def end(self) -> bytes:
        self.complete = True
        return b"0\r\n\r\n" if self.chunked else b""


class _Expect(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()


class ChunkedBody:
    """A body in the chunked coding: scanned for its end, and relayed as it came.

    With `decode` (for HTTP/1.0 clients) only the chunks' data is returned.
    """

    __slots__ = ("_decode", "_expect", "_left", "_partial", "_trailer_left", "complete", "surplus")

    def __init__(self, *, decode: bool) -> None:
        self._decode = decode
        self._expect = _Expect.SIZE
        self._left = 0  # bytes of the current chunk still to come
        self._partial = b""  # the beginning of a line whose end has not come yet
        self._trailer_left = _MAX_TRAILER_BYTES
        self.complete = False
        self.surplus = False

    @property
    def chunked(self) -> bool:
        return not self._decode

    @property
    def until_close(self) -> bool:
        return self._decode

    def take(self, data: bytes) -> bytes:
        decoded: list[bytes] = []
        position = 0
        while position < len(data) and not self.complete:
            if self._expect is _Expect.DATA:
                start, position = position, min(position + self._left, len(data))
                self._take_data(position - start)
                if self._decode:
                    decoded.append(data[start:position])
            else:
                position = self._take_line(data, position)
        if position < len(data):
            self.surplus = True
            data = data[:position]
        return b"".join(decoded) if self._decode else data

    def end(self) -> bytes:
        raise OriginProtocolError("the origin closed before its last chunk")

    def _take_data(self, size: int) -> None:
        self._left -= size
        if self._left == 0:
            self._expect = _Expect.DATA_END

    def _take_line(self, data: bytes, position: int) -> int:
        """Take a line that begins or goes on at `position`; return where the next thing begins."""
        limit = self._line_limit()
        newline = data.find(b"\n", position, position + limit)
        if newline < 0:
            self._partial += data[position : position + limit]
            if len(self._partial) >= limit:
                raise OriginProtocolError("the origin sent a line of chunking that is too long")
            return len(data)
        line = self._partial + data[position : newline + 1]
        self._partial = b""
        if len(line) > limit:
            raise OriginProtocolError("the origin sent a line of chunking that is too long")
        self._line(line)
        return newline + 1

    def _line_limit(self) -> int:
        match self._expect:
            case _Expect.SIZE:
                return _MAX_SIZE_LINE_BYTES
            case _Expect.TRAILER:
                return self._trailer_left
            case _:
                return len(b"\r\n")

    def _line(self, line: bytes) -> None:
        if self._expect is _Expect.SIZE and (size := _SIZE_LINE.fullmatch(line)):
            self._left = int(size[1], 16)
            self._expect = _Expect.DATA if self._left else _Expect.TRAILER
        elif self._expect is _Expect.DATA_END and line == b"\r\n":
            self._expect = _Expect.SIZE
        elif self._expect is _Expect.TRAILER and line == b"\r\n":
            self.complete = True
        elif self._expect is _Expect.TRAILER and _TRAILER_LINE.fullmatch(line):
            self._trailer_left -= len(line)
        else:
            raise OriginProtocolError("the origin sent malformed chunks")
