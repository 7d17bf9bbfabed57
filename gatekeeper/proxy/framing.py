"""Where a response body ends, and which of its bytes the client receives.

Rules: pure, no I/O. A body takes the origin's bytes in pieces of any size and returns the bytes for
the client, none beyond its end. Bytes after the end are `surplus`, and the connection that sent
them is not reused. A violation of RFC 9112, and an end of the connection before the end of the
body, raise `OriginProtocolError`.

    ChunkedBody:  SIZE ──n──▶ DATA ──n bytes──▶ DATA_END ──CRLF──▶ SIZE
                    └───0──▶ TRAILER ──field──▶ TRAILER ──CRLF──▶ complete
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Protocol

from gatekeeper.errors import OriginProtocolError

# RFC 9112 section 7.1, stricter in two points on which parsers disagree, since smuggling exploits
# them: no whitespace before ";", and at most 15 digits, which every 64-bit parser reads correctly.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n")

_MAX_SIZE_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 16 * 1024


class Body(Protocol):
    """A response body with any framing."""

    complete: bool  # its last byte was taken
    surplus: bool  # the origin sent bytes after its end

    @property
    def chunked(self) -> bool:
        """Whether the client receives it in the chunked transfer coding."""
        ...

    @property
    def until_close(self) -> bool:
        """Whether the body ends with the client's connection."""
        ...

    def take(self, data: bytes) -> bytes:
        """Take `data` from the origin; return the bytes for the client."""
        ...

    def end(self) -> bytes:
        """Take the end of the origin's connection; return the last bytes for the client."""
        ...


class LengthBody:
    """A body of known length; length 0 if there is none, as for `HEAD`."""

    __slots__ = ("complete", "left", "surplus")
    chunked = False
    until_close = False

    def __init__(self, length: int) -> None:
        self.left = length  # bytes that have not arrived yet
        self.complete = length == 0
        self.surplus = False

    def take(self, data: bytes) -> bytes:
        if len(data) < self.left:
            self.left -= len(data)
            return data
        if len(data) > self.left:
            self.surplus = True
            data = data[: self.left]
        self.left = 0
        self.complete = True
        return data

    def end(self) -> bytes:
        raise OriginProtocolError("the origin closed before the end of the response body")


class CloseDelimitedBody:
    """A body that ends with the origin's connection.

    An HTTP/1.1 client receives it chunked, so that a truncated body does not look complete.
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
    """A body in the chunked coding: scanned for its end, and relayed unchanged.

    With `decode` (for HTTP/1.0 clients) only the data of the chunks is returned.
    """

    __slots__ = ("_decode", "_expect", "_left", "_partial", "_trailer_left", "complete", "surplus")

    def __init__(self, *, decode: bool) -> None:
        self._decode = decode
        self._expect = _Expect.SIZE
        self._left = 0  # bytes left of the current chunk
        self._partial = b""  # the start of an incomplete line
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
        raise OriginProtocolError("the origin closed before the last chunk")

    def _take_data(self, size: int) -> None:
        self._left -= size
        if self._left == 0:
            self._expect = _Expect.DATA_END

    def _take_line(self, data: bytes, position: int) -> int:
        """Take the line, or the rest of one, at `position`; return the position after it."""
        limit = self._line_limit()
        newline = data.find(b"\n", position, position + limit)
        if newline < 0:
            self._partial += data[position : position + limit]
            if len(self._partial) >= limit:
                raise OriginProtocolError("the origin sent a chunk line that is too long")
            return len(data)
        line = self._partial + data[position : newline + 1]
        self._partial = b""
        if len(line) > limit:
            raise OriginProtocolError("the origin sent a chunk line that is too long")
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
            raise OriginProtocolError("the origin sent a malformed chunked body")
