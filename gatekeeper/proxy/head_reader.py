"""Splits a client's byte stream into request heads, and adapts them for aiohttp's parser.

Rules: pure. A head is at most `MAX_HEAD_BYTES` long, all lines together. Line breaks before it are
not part of it (RFC 9112 section 2.2). Bytes above 0x7F in a request line are invalid by RFC 3986,
but browsers, scripts and servers use them. The parser refuses them. So it receives `PLACEHOLDER`
instead, and `target` has the original bytes.

A method is any token (RFC 9110 section 9.1), and the origin decides what it means. The parser
accepts a list of methods. So it receives a substitute for uncommon methods, and `method` has the
original one. For that, the first bytes of a head are buffered until the method is complete.
"""

from __future__ import annotations

import re

MAX_HEAD_BYTES = 65_536
MAX_LINE_BYTES = 8190  # of the request line; the parser's own limit

_HEAD_END = b"\r\n\r\n"
_BLANK = ord(" ")
_LINE_BREAKS = re.compile(rb"[\r\n]*+")
# Methods with a meaning for the parser, and the most common ones: they are unchanged.
_KNOWN = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE")
_KNOWN_METHODS = tuple(f"{method} ".encode() for method in _KNOWN)
_STAND_IN = b"POST"  # its bodies have the same framing as those of any other method
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++")  # RFC 9110 section 5.6.2
_MAX_METHOD_BYTES = 255
# A character that is valid in a target, but not in a method or version.
PLACEHOLDER = b"~"
_ASCII_ONLY = bytes(range(128)) + PLACEHOLDER * 128


class HeadReader:
    """Reads one head after the other; `reset` begins the next."""

    __slots__ = ("_line_end", "_shown", "head", "method")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.head = bytearray()  # the received part of the current request line
        self._line_end = 0  # after the request line; 0: the line is incomplete
        self._shown = 0  # bytes of the head that the parser has received, or their substitute
        self.method: str | None = None  # as it came, if the parser did not see it so

    def take(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Take the part of `data[start:]` that belongs to this head. Returns the bytes for the
        parser, and how many bytes of `data` were taken. A whole head is not copied with the bytes
        after it."""
        held, first = len(self.head), start
        limit = start + MAX_HEAD_BYTES + 1
        if not held and (breaks := _LINE_BREAKS.match(data, start)) is not None:
            first = breaks.end()
            limit += first - start
            whole = data.find(_HEAD_END, first, limit)
            if whole >= 0:
                limit = whole + len(_HEAD_END)
        skipped = first - start
        self.head += data[first:limit]
        end = self.head.find(_HEAD_END, max(held - len(_HEAD_END) + 1, 0))
        if end >= 0:
            del self.head[end + len(_HEAD_END) :]
        taken = skipped + len(self.head) - held
        if not self._line_end:
            self._line_end = self.head.find(b"\n", held) + 1
        return self._show(), taken

    def _show(self) -> bytes:
        """The next bytes of the head for the parser."""
        method = b""
        if not self._shown and not self.head.startswith(_KNOWN_METHODS):
            token = _TOKEN.match(self.head)
            end = 0 if token is None else token.end()
            if 0 < end <= _MAX_METHOD_BYTES:
                if end == len(self.head):
                    return b""  # the method may be incomplete
                if self.head[end] == _BLANK:
                    self.method = self.head[:end].decode("ascii")
                    self._shown, method = end, _STAND_IN
        start, self._shown = self._shown, len(self.head)
        new = bytes(self.head[start:])
        line_end = self._line_end
        if line_end == 0 or line_end > start:  # `new` has bytes of the request line
            in_line = len(new) if line_end == 0 else line_end - start
            if not new[:in_line].isascii():
                new = new[:in_line].translate(_ASCII_ONLY) + new[in_line:]
        return method + new

    @property
    def is_too_long(self) -> bool:
        return len(self.head) > MAX_HEAD_BYTES

    @property
    def has_request_line(self) -> bool:
        return self._line_end > 0

    @property
    def target(self) -> str | None:
        """The original target, if the parser received a substitute; else None."""
        line = bytes(self.head[: self._line_end])
        if line.isascii():
            return None
        return line.split(b" ")[1].decode("utf-8", "surrogateescape")
