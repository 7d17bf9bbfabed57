"""The numbers that tokens, states and events carry.

Rules. Not negative and below 2^53, so that JSON, a double and Lua hold each exactly. A bool is no
number, although Python's `int` includes it.
"""

from __future__ import annotations

from typing import Final, TypeGuard

EXACT_END: Final = 2**53


def is_exact_int(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number in range."""
    return type(value) is int and 0 <= value < EXACT_END


def is_exact_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a whole or fractional number in range; NaN and infinity are not."""
    return type(value) in (int, float) and 0 <= value < EXACT_END  # type: ignore[operator]
