"""The numbers that tokens, states and events carry.

Rules. Not negative and below 2^53, so that JSON, a double and Lua represent each exactly. A bool is
not a number here, although it is a subclass of `int`.
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


def parse_count(value: object) -> int:
    """A whole number in range. Raises ValueError for any other value."""
    if not is_exact_int(value):
        raise ValueError("expected a count")
    return value


def parse_number(value: object) -> float:
    """A whole or fractional number in range. Raises ValueError for any other value."""
    if not is_exact_number(value):
        raise ValueError("expected a number")
    return value
