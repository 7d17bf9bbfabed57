"""Shapes of response heads: what the heads of one kind of response have in common.

Rules. An origin sends few kinds of heads: a status line, and a sequence of fields. The result of
parsing depends on these, on the values of the fields of framing and of the connection, and on the
names of cookies. So a regular expression is made of a parsed head, with all these literally, and
any valid value elsewhere. A head that matches is valid, and the groups are what the client
receives. Only the first head of a response to a GET is matched; one that concerns the gate, and one
whose body lasts until the connection closes, is always parsed.

For an origin with many kinds, shapes would only cost time. So a shape is made when a kind comes a
second time, and costs and hits are counted, in units of what a hit saves. When the costs exceed the
hits, heads are parsed for some time. Then all shapes are dropped, and counting starts again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gatekeeper.proxy.fastpath.repeat_filter import RepeatFilter
from gatekeeper.proxy.framing import Body, ChunkedBody, LengthBody
from gatekeeper.proxy.headers import response_head
from gatekeeper.proxy.response import (
    MAX_HEAD_BYTES,
    MAX_LENGTH_DIGITS,
    WITHOUT_BODY,
    ResponseHead,
)

_LINE_END: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
# As in `proxy.response`; followed by a line end, so that nothing backtracks.
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_DIGITS: Final = rb"(?P<length>[0-9]{1,%d})" % MAX_LENGTH_DIGITS
_LENGTH, _SET_COOKIE = b"content-length", b"set-cookie"
_MAX_BYTES: Final = 2048  # of a head that a shape is made of
_MAX_SHAPES: Final = 8  # a lookup that finds none takes as long as a parse
_MAX_SEEN: Final = 1024
_FOR_LOOKUP, _FOR_KIND, _FOR_SHAPE, _MAX_SCORE = 1, 3, 100, 1024  # enough for all shapes
_PAUSE: Final = 16_384  # responses


_Match = Callable[[bytes, int, int], re.Match[bytes] | None]  # of `re.Pattern`


@dataclass(eq=False, frozen=True, slots=True)
class ResponseShape:
    """The result of parsing heads of one kind."""

    match: _Match  # its groups are what the client receives, in order
    status: int
    status_line: bytes  # for the client
    end: bytes  # of the client's head, without the line that the caller adds
    length_at: int  # the group that is the length of the body; -1: it has none
    chunked: bool
    persistent: bool

    def body(self, groups: Sequence[bytes]) -> Body:
        """The body that a head with these groups announces."""
        if self.length_at >= 0:
            return LengthBody(int(groups[self.length_at]))
        return ChunkedBody(decode=False) if self.chunked else LengthBody(0)


class ResponseShapes:
    """The shapes of one origin's heads."""

    def __init__(self) -> None:
        self._shapes: list[ResponseShape] = []  # the one that matched last is the first
        self._repeats = RepeatFilter(_MAX_SEEN)
        self._own: frozenset[str] = frozenset()
        self._score = _MAX_SCORE
        self._paused = 0

    def __len__(self) -> int:
        return len(self._shapes)

    def find(
        self, data: bytes, own: frozenset[str]
    ) -> tuple[ResponseShape, re.Match[bytes]] | None:
        """The shape of the head at the start of `data`, and the match; `own`: the names of the
        gate's cookies, which a reload can change."""
        if self._score <= 0 and not self._is_pause_over():
            return None
        if own is not self._own and own != self._own:
            self._shapes.clear()
            self._own = own
        shapes = self._shapes
        for shape in shapes:
            match = shape.match(data, 0, MAX_HEAD_BYTES)
            if match is not None:
                if shape is not shapes[0]:
                    shapes.remove(shape)
                    shapes.insert(0, shape)
                if self._score < _MAX_SCORE:
                    self._score += 1
                return shape, match
        return None

    def _is_pause_over(self) -> bool:
        self._paused += 1
        if self._paused < _PAUSE:
            return False
        self._shapes.clear()
        self._repeats.clear()
        self._score, self._paused = _MAX_SCORE, 0
        return True

    def learn(self, data: bytes, response: ResponseHead, body: Body) -> None:
        """Make a shape of the head at the start of `data`, for which `find` found none, if its kind
        came before. No byte of `body` was read yet."""
        if self._score <= 0:
            return
        self._score -= _FOR_LOOKUP
        if len(self._shapes) >= _MAX_SHAPES or response.size > _MAX_BYTES:
            return
        if response.concerns_gate or not isinstance(body, LengthBody | ChunkedBody):
            return
        self._score -= _FOR_KIND
        source = b"".join(_pattern(data[: response.size - len(_END)], response))
        if self._repeats.is_repeat(source):
            self._score -= _FOR_SHAPE
            self._shapes.insert(0, _shape(source, response, body))


def _shape(source: bytes, response: ResponseHead, body: Body) -> ResponseShape:
    pattern = re.compile(source)
    head = response_head(response, body, http11_client=True, keep_alive=True, added=None)
    status_line, _, _ = head.partition(_LINE_END)
    has_length = not body.chunked and response.status not in WITHOUT_BODY
    return ResponseShape(
        match=pattern.match,
        status=response.status,
        status_line=status_line,
        end=head[len(status_line) + len(response.lines) : -len(_LINE_END)],
        length_at=pattern.groupindex["length"] - 1 if has_length else -1,
        chunked=body.chunked,
        persistent=response.persistent,
    )


def _pattern(head: bytes, response: ResponseHead) -> Iterator[bytes]:
    """The parts of the pattern for heads like this one, whose groups hold what is forwarded."""
    status_line, *lines = head.split(_LINE_END)
    kept = response.lines.split(_LINE_END)[1:]  # equal lines are all kept or all removed
    yield re.escape(status_line) + b"("
    at = 0
    for line in lines:
        if at < len(kept) and line == kept[at]:
            at += 1
            yield _kept_line(line, response)
        else:
            yield b")%b(" % re.escape(_LINE_END + line)
    yield rb")\r\n\r\n"


def _kept_line(line: bytes, response: ResponseHead) -> bytes:
    """The pattern of one line: literally what the result depends on, and any value."""
    name, _, value = line.partition(b":")
    lower = name.lower()
    start = re.escape(_LINE_END + name + b":")
    if lower not in response.control:
        return start + _VALUE
    if lower == _LENGTH:
        digits = value.strip()
        before, _, after = value.partition(digits)
        return b"%b%b)%b(%b" % (start, re.escape(before), _DIGITS, re.escape(after))
    cookie, equals, _ = value.partition(b"=")
    if lower == _SET_COOKIE and equals:
        return start + re.escape(cookie + equals) + _VALUE
    return start + re.escape(value)
