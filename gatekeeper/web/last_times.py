"""When this replica last did something for a visitor with a pass, so that it is not repeated for
every request.

Rules: bounded, with the oldest entry evicted first. An evicted visitor only costs one more renewal.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_MAX_KEYS: Final = 32_768  # 250 bytes each


class LastTimes(Generic[Key]):
    """The last times by key, seconds of the store's clock."""

    def __init__(self, *, limit: int = _MAX_KEYS) -> None:
        self._at_s: dict[Key, float] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._at_s)

    def note(self, key: Key, at_s: float) -> None:
        self._at_s.pop(key, None)  # so that it becomes the newest
        if len(self._at_s) >= self._limit:
            del self._at_s[next(iter(self._at_s))]
        self._at_s[key] = at_s

    def of(self, key: Key) -> float:
        """When it was last done; 0: never, or evicted."""
        return self._at_s.get(key, 0.0)
