"""Numbers that a double, JSON and Lua hold exactly."""

import math

import pytest

from gatekeeper.policy.numbers import is_exact_int, is_exact_number

WHOLE = [0, 1, 2**53 - 1]
FRACTIONAL = [0.0, 0.5, float(2**53 - 1)]
NEITHER: list[object] = [-1, -0.5, 2**53, float(2**53), math.nan, math.inf, True, False, None, "1"]


@pytest.mark.parametrize("value", WHOLE)
def test_whole_number_in_range_is_both(value: int) -> None:
    assert is_exact_int(value)
    assert is_exact_number(value)


@pytest.mark.parametrize("value", FRACTIONAL)
def test_fractional_number_in_range_is_no_whole_one(value: float) -> None:
    assert is_exact_number(value)
    assert not is_exact_int(value)


@pytest.mark.parametrize("value", NEITHER)
def test_anything_else_is_neither(value: object) -> None:
    assert not is_exact_int(value)
    assert not is_exact_number(value)
