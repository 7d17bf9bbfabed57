"""QR codes: the drawing equals the encoded modules."""

from __future__ import annotations

import re

import pytest
import segno

from gatekeeper.pages.qr_code import qr_code_of

LINK = "https://shop.example.com/.gatekeeper/continue?room=default&code=" + "x" * 300


def test_path_draws_every_dark_module_and_no_other() -> None:
    code = qr_code_of(LINK)
    drawn = set()
    for x, y, length in re.findall(r"M(\d+) (\d+)\.5h(\d+)", code.path):
        drawn |= {(int(x) + step, int(y)) for step in range(int(length))}
    matrix = segno.make(LINK, error="l", micro=False, boost_error=False).matrix
    dark = {(x + 4, y + 4) for y, row in enumerate(matrix) for x, bit in enumerate(row) if bit}
    assert drawn == dark
    assert code.size == len(matrix) + 8


def test_link_with_a_code_fits_a_phone() -> None:
    """Up to version 17: modules of a third of a millimetre on a screen 3 cm wide."""
    assert qr_code_of(LINK).size <= 93


def test_too_long_text_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        qr_code_of("x" * 3000)
