"""Pages put together from pieces that are rendered and compressed once for everybody.

Rules: a composed page is, byte for byte, what its template renders for this visitor. The key of a
piece is everything in the page that is not the visitor's own, and the answers to whatever the
template asked about the visitor's values. Both caches are bounded.

Its gzip is one stream (RFC 1952) with one member. The pieces are deflated once, each ending at a
byte's edge with no reference across it (a full flush), and what is the visitor's lies between them
in stored blocks (RFC 1951 section 3.2.4). The checksum of a piece is not computed again: CRC-32
is affine, so what a piece does to a checksum is one table look-up for each of its bytes.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from gatekeeper.pages.slots import Question, Sheet, Slot, Value, Values

_MOST_PAGES = 1024  # about 30 KB each
# A piece below this is stored, not deflated: it would gain less than the two edges cost.
_WORTH_DEFLATING = 48
# From this length on, tables (4 KB) are faster than the checksum over the piece itself.
_WORTH_TABLES = 2048
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # no name, no time, the slowest compression
_LEVEL = 9
_MOST_STORED = 0xFFFF  # bytes in one stored block
_STORED = struct.Struct("<HH")  # the length and its complement
_GZIP_TAIL = struct.Struct("<II")

Render = Callable[[Mapping[str, "Slot | Value | None"]], str]
Fill = Callable[[str, bool], bytes]


class Composer:
    """Composes pages, and keeps what they are composed of."""

    def __init__(self) -> None:
        self._questions: dict[Hashable, tuple[Question, ...]] = {}
        self._pages: dict[Hashable, Composed] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def find(self, key: Hashable, values: Values) -> Composed | None:
        """The page for one with these values, if it was composed before."""
        questions = self._questions.get(key)
        if questions is None:
            return None
        return self._pages.get((key, _answers(questions, values)))

    def compose(self, key: Hashable, values: Values, render: Render) -> Composed:
        """Raises what the template raises: `Computed` if it does more than print and ask."""
        sheet = Sheet()
        pieces, wanted = sheet.split(render(sheet.slots(values)))
        composed = Composed.of([piece.encode() for piece in pieces], wanted, sheet.fills)
        # Another answer may have led the template to ask something else: what was asked adds up.
        known = self._questions.get(key, ())
        asked = known + tuple(each for each in sheet.questions if each not in known)
        while len(self._pages) >= _MOST_PAGES:
            self._pages.pop(next(iter(self._pages)))
        while len(self._questions) >= _MOST_PAGES:
            self._questions.pop(next(iter(self._questions)))
        self._questions[key] = asked
        self._pages[key, _answers(asked, values)] = composed
        return composed


def _answers(questions: Sequence[Question], values: Values) -> tuple[object, ...]:
    return tuple(do(values[name], operand) for name, do, operand in questions)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of every visitor's page, deflated to a byte's edge."""

    plain: bytes
    deflated: bytes
    _tables: tuple[array[int], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, plain: bytes, *, last: bool) -> Piece:
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        deflated = deflate.compress(plain)
        if last:
            deflated += deflate.flush(zlib.Z_FINISH)
        else:
            # A flush ends with an empty stored block. What is stored next takes its head over.
            deflated += deflate.flush(zlib.Z_FULL_FLUSH)
            deflated = deflated[:-4]
        return cls(plain, deflated, _crc_tables(plain) if len(plain) >= _WORTH_TABLES else ())

    def crc(self, before: int) -> int:
        """The checksum of what came before and this piece."""
        if not self._tables:
            return zlib.crc32(self.plain, before)
        first, second, third, fourth = self._tables
        return (
            first[before & 0xFF]
            ^ second[before >> 8 & 0xFF]
            ^ third[before >> 16 & 0xFF]
            ^ fourth[before >> 24]
        )


def _crc_tables(plain: bytes) -> tuple[array[int], ...]:
    """What `plain` makes of a checksum, by each of its four bytes."""
    from_zero = zlib.crc32(plain)
    tables = []
    for shift in (0, 8, 16, 24):
        table = array("I", [0 if shift else from_zero])
        for bit in range(8):
            flipped = zlib.crc32(plain, 1 << (bit + shift)) ^ from_zero
            table.extend([entry ^ flipped for entry in table])
        tables.append(table)
    return tuple(tables)


# What lies between two pieces: which fill, with short bytes among them.
Between = tuple[bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """A page without what is the visitor's."""

    fills: tuple[tuple[str, bool], ...]  # a name, and whether formatted
    first: Piece
    rest: tuple[tuple[Between, Piece], ...]

    @classmethod
    def of(
        cls, pieces: Sequence[bytes], wanted: Sequence[int], fills: Sequence[tuple[str, bool]]
    ) -> Composed:
        """`fills[wanted[i]]` belongs between `pieces[i]` and `pieces[i + 1]`."""
        first = Piece.of(pieces[0], last=not wanted)
        rest: list[tuple[Between, Piece]] = []
        between: list[bytes | int] = []
        for number, (fill, plain) in enumerate(zip(wanted, pieces[1:], strict=True), start=1):
            between.append(fill)
            last = number == len(wanted)
            if last or len(plain) >= _WORTH_DEFLATING:
                rest.append((tuple(between), Piece.of(plain, last=last)))
                between = []
            elif plain:
                between.append(plain)
        return cls(tuple(fills), first, tuple(rest))

    def body(self, fill: Fill) -> bytes:
        filled = [fill(*each) for each in self.fills]
        parts = [self.first.plain]
        for between, piece in self.rest:
            parts += [filled[each] if isinstance(each, int) else each for each in between]
            parts.append(piece.plain)
        return b"".join(parts)

    def gzip(self, fill: Fill) -> bytes:
        filled = [fill(*each) for each in self.fills]
        piece = self.first
        parts = [_GZIP_HEAD, piece.deflated]
        crc, size = piece.crc(0), len(piece.plain)
        for between, piece in self.rest:
            stored = b"".join([filled[each] if isinstance(each, int) else each for each in between])
            length = len(stored)
            parts += (_STORED.pack(length, length ^ _MOST_STORED), stored, piece.deflated)
            crc = piece.crc(zlib.crc32(stored, crc))
            size += length + len(piece.plain)
        parts.append(_GZIP_TAIL.pack(crc, size & 0xFFFFFFFF))
        return b"".join(parts)
