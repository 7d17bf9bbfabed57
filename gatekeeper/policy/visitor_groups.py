"""Groups of visitors, by which the law of autotune distinguishes one visitor from many. Pure.

Rules. A visitor is in one group, on every replica. A figure of one group is capped at three times
the median of the groups plus a small number. A slow origin is slow for all groups. One visitor who
requests slow pages without pause, or a script that requests quick ones, is in one group, and counts
little more than any other visitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

GROUPS = 8
_MEDIAN = (GROUPS - 1) // 2  # the lower one
_TIMES = 3.0


def group_of(visitor: str) -> int:
    """The group of a visitor by name, below GROUPS."""
    return crc32(visitor.encode()) % GROUPS


def limited(figures: Sequence[float], *, least: float) -> list[float]:
    """The figure of each group, capped at three times their median plus `least`."""
    highest = _TIMES * sorted(figures)[_MEDIAN] + least
    return [min(figure, highest) for figure in figures]
