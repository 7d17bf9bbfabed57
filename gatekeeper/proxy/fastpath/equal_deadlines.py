"""Deadlines of equal length for many items, with one timer.

Rules. Items are kept in the order of their deadlines: an item costs an entry of a dict and no own
timer. Nearly all are removed before they expire. The timer fires at most 16 times within `after_s`,
so that a deadline is up to a sixteenth late, and many items are checked at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from itertools import takewhile
from typing import Final, Generic, TypeVar

_CHECKS: Final = 16  # per `after_s`

Item = TypeVar("Item", bound=Hashable)


class EqualDeadlines(Generic[Item]):
    """Calls `expire` with each item that was not discarded within `after_s` seconds."""

    def __init__(self, after_s: float, expire: Callable[[Item], None]) -> None:
        self._after_s = after_s
        self._expire = expire
        self._ends_s: dict[Item, float] = {}  # by the loop's clock, the earliest first
        self._timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Item]:
        return iter(self._ends_s)

    def __len__(self) -> int:
        return len(self._ends_s)

    def add(self, item: Item, *, now_s: float) -> None:
        """Add a new item; `now_s` is of the loop's clock."""
        end_s = self._ends_s[item] = now_s + self._after_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(end_s, self._check)

    def discard(self, item: Item) -> bool:
        """Remove an item; whether it was present."""
        return self._ends_s.pop(item, None) is not None

    def _check(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        expired = list(takewhile(lambda each: each[1] <= now_s, self._ends_s.items()))
        for item, _ in expired:
            if self.discard(item):  # else an earlier `expire` discarded it
                self._expire(item)
        if self._timer is None and self._ends_s:
            end_s = max(next(iter(self._ends_s.values())), now_s + self._after_s / _CHECKS)
            self._timer = loop.call_at(end_s, self._check)
