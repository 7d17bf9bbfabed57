"""A text as a QR code, drawn by one path of an SVG image."""

from __future__ import annotations

from itertools import groupby
from typing import Final, NamedTuple

import segno

_QUIET: Final = 4  # quiet zone around the code, in modules (ISO/IEC 18004)


class QrCode(NamedTuple):
    """`path`: strokes of width 1 in a square of `size` by `size`, including the quiet zone."""

    size: int
    path: str


def qr_code_of(text: str) -> QrCode:
    """The QR code of a text with at most 2,900 characters; raises ValueError for a longer one."""
    code = segno.make(text, error="l", micro=False, boost_error=False)
    strokes = []
    for y, row in enumerate(code.matrix):
        x = 0
        for is_dark, run in groupby(row):
            length = len(list(run))
            if is_dark:
                strokes.append(f"M{x + _QUIET} {y + _QUIET}.5h{length}")
            x += length
    return QrCode(len(code.matrix) + 2 * _QUIET, "".join(strokes))
