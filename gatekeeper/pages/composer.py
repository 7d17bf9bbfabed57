"""Composes pages from pieces that are rendered and compressed once for all visitors.

Rules: a composed page is, byte for byte, what its template renders for this visitor. A skeleton is
cached under everything in the page that is not visitor data, and under the results of all tests
that the template made on the visitor's values. Both caches are bounded.

The gzip is one stream (RFC 1952) with one member. Pieces are deflated once, each up to a byte
boundary with no reference across it (a full flush). The visitor's values lie between them in stored
blocks (RFC 1951 section 3.2.4). The checksum of a piece is not computed again: CRC-32 is affine, so
the effect of a piece on a checksum is one table look-up for each of the checksum's four bytes.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from gatekeeper.pages.slots import Slot, SlotRecord, Value, Values, ValueTest

_MAX_SKELETONS = 1024  # about 30 KB each
# Bytes. A shorter piece is stored: deflating it would save less than its two boundaries cost.
_MIN_DEFLATED = 48
# Bytes. For a longer piece, tables (4 KB) are faster than the checksum over the piece itself.
_MIN_WITH_TABLES = 2048
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"  # no name, no time, the slowest compression
_LEVEL = 9
_MAX_STORED = 0xFFFF  # bytes in one stored block
_STORED = struct.Struct("<HH")  # the length and its complement
_GZIP_TAIL = struct.Struct("<II")

RenderFunction = Callable[[Mapping[str, "Slot | Value | None"]], str]
FillFunction = Callable[[str, bool], bytes]


class Composer:
    """Creates page skeletons and caches them."""

    def __init__(self) -> None:
        self._tests: dict[Hashable, tuple[ValueTest, ...]] = {}
        self._skeletons: dict[Hashable, PageSkeleton] = {}

    def __len__(self) -> int:
        return len(self._skeletons)

    def find(self, key: Hashable, values: Values) -> PageSkeleton | None:
        """The cached skeleton for a visitor with these values, if there is one."""
        tests = self._tests.get(key)
        if tests is None:
            return None
        return self._skeletons.get((key, _test_results(tests, values)))

    def compose(self, key: Hashable, values: Values, render: RenderFunction) -> PageSkeleton:
        """Render and cache the skeleton for a visitor with these values.

        Raises what the template raises, and `ComposeError` if it does more with a value than print,
        format and test it.
        """
        record = SlotRecord()
        pieces, wanted = record.split(render(record.slots(values)))
        skeleton = PageSkeleton.of([piece.encode() for piece in pieces], wanted, record.fills)
        # Other results lead the template into other branches with other tests, so tests accumulate.
        known = self._tests.get(key, ())
        tests = known + tuple(each for each in record.tests if each not in known)
        while len(self._skeletons) >= _MAX_SKELETONS:
            self._skeletons.pop(next(iter(self._skeletons)))
        while len(self._tests) >= _MAX_SKELETONS:
            self._tests.pop(next(iter(self._tests)))
        self._tests[key] = tests
        self._skeletons[key, _test_results(tests, values)] = skeleton
        return skeleton


def _test_results(tests: Sequence[ValueTest], values: Values) -> tuple[object, ...]:
    return tuple(operation(values[name], operand) for name, operation, operand in tests)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that all visitors share, also deflated up to a byte boundary."""

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
            # A flush ends with an empty stored block; the following stored block replaces its head.
            deflated += deflate.flush(zlib.Z_FULL_FLUSH)
            deflated = deflated[:-4]
        return cls(plain, deflated, _crc_tables(plain) if len(plain) >= _MIN_WITH_TABLES else ())

    def crc(self, before: int) -> int:
        """The checksum of everything before and this piece, from the checksum `before`."""
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
    """The effect of `plain` on a checksum, for each of the checksum's four bytes."""
    from_zero = zlib.crc32(plain)
    tables = []
    for shift in (0, 8, 16, 24):
        table = array("I", [0 if shift else from_zero])
        for bit in range(8):
            flipped = zlib.crc32(plain, 1 << (bit + shift)) ^ from_zero
            table.extend([entry ^ flipped for entry in table])
        tables.append(table)
    return tuple(tables)


# Between two pieces: indexes of fills, and short bytes among them.
Gap = tuple[bytes | int, ...]


@dataclass(frozen=True, slots=True)
class PageSkeleton:
    """A page with gaps for the visitor's values."""

    fills: tuple[tuple[str, bool], ...]  # the name of a value, and whether it is formatted
    first: Piece
    rest: tuple[tuple[Gap, Piece], ...]

    @classmethod
    def of(
        cls, pieces: Sequence[bytes], wanted: Sequence[int], fills: Sequence[tuple[str, bool]]
    ) -> PageSkeleton:
        """`fills[wanted[i]]` belongs between `pieces[i]` and `pieces[i + 1]`."""
        first = Piece.of(pieces[0], last=not wanted)
        rest: list[tuple[Gap, Piece]] = []
        gap: list[bytes | int] = []
        for number, (fill, plain) in enumerate(zip(wanted, pieces[1:], strict=True), start=1):
            gap.append(fill)
            last = number == len(wanted)
            if last or len(plain) >= _MIN_DEFLATED:
                rest.append((tuple(gap), Piece.of(plain, last=last)))
                gap = []
            elif plain:
                gap.append(plain)
        return cls(tuple(fills), first, tuple(rest))

    def body(self, fill: FillFunction) -> bytes:
        filled = [fill(*each) for each in self.fills]
        parts = [self.first.plain]
        for gap, piece in self.rest:
            parts += [filled[each] if isinstance(each, int) else each for each in gap]
            parts.append(piece.plain)
        return b"".join(parts)

    def gzip(self, fill: FillFunction) -> bytes:
        filled = [fill(*each) for each in self.fills]
        piece = self.first
        parts = [_GZIP_HEAD, piece.deflated]
        crc, size = piece.crc(0), len(piece.plain)
        for gap, piece in self.rest:
            stored = b"".join([filled[each] if isinstance(each, int) else each for each in gap])
            length = len(stored)
            parts += (_STORED.pack(length, length ^ _MAX_STORED), stored, piece.deflated)
            crc = piece.crc(zlib.crc32(stored, crc))
            size += length + len(piece.plain)
        parts.append(_GZIP_TAIL.pack(crc, size & 0xFFFFFFFF))
        return b"".join(parts)
