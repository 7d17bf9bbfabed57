"""Deadlines of many items that all have the same time, by one timer.

Rules. The items are kept in their order, which is that of their deadlines: an item costs an entry
of a dict and no timer of its own. Nearly all are removed before their time. The timer looks a few
times within that time at most, so that a deadline is up to a sixteenth of it late, and a look at
many items costs little however they arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from itertools import takewhile
from typing import Final, Generic, TypeVar

_LOOKS: Final = 16  # within the time of an item

Item = TypeVar("Item", bound=Hashable)


class EqualDeadlines(Generic[Item]):
    """Calls `expire` with each item that is still here `after_s` seconds after it was added."""

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
        """`item` is not here yet; `now_s` is of the loop's clock."""
        end_s = self._ends_s[item] = now_s + self._after_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(end_s, self._look)

    def discard(self, item: Item) -> bool:
        """Whether it was here."""
        return self._ends_s.pop(item, None) is not None

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        expired = list(takewhile(lambda each: each[1] <= now_s, self._ends_s.items()))
        for item, _ in expired:
            if self.discard(item):  # else an earlier one removed it
                self._expire(item)
        if self._timer is None and self._ends_s:
            end_s = max(next(iter(self._ends_s.values())), now_s + self._after_s / _LOOKS)
            self._timer = loop.call_at(end_s, self._look)
