"""Whether work grows linearly with its input: the CPU time of two sizes, compared in one run.

Rules. No time is compared with a limit: each input is measured at a size and at four times that
size. Linear work grows fourfold, quadratic work sixteenfold. A busy machine only adds time, so the
least of several rounds counts, and one attempt of several is enough.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T", str, bytes)

GROWTH = 4
MAX_RATIO = 10.0  # between linear (4) and quadratic (16)
_ROUNDS = 5
_CALLS = 4
_ATTEMPTS = 4


def assert_linear(do: Callable[[T], object], input_of: Callable[[int], T], *, largest: int) -> None:
    """`input_of(size)` returns an input of about this size."""
    ratios = []
    for _ in range(_ATTEMPTS):
        ratios.append(growth(do, input_of, largest=largest))
        if ratios[-1] < MAX_RATIO:
            return
    raise AssertionError(f"{GROWTH} times the input took {min(ratios):.1f} times the time")


def growth(do: Callable[[T], object], input_of: Callable[[int], T], *, largest: int) -> float:
    """The time of the largest input, divided by that of a quarter of it."""
    small, large = input_of(largest // GROWTH), input_of(largest)
    return _cost_s(do, large) / _cost_s(do, small)


def _cost_s(do: Callable[[T], object], data: T) -> float:
    return min(_round_s(do, data) for _ in range(_ROUNDS))


def _round_s(do: Callable[[T], object], data: T) -> float:
    began_s = time.thread_time()
    for _ in range(_CALLS):
        do(data)
    return time.thread_time() - began_s
