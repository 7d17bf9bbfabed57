"""What this replica did last for a visitor with a pass, so that it is not done for every request.

Rules: bounded; the visitors of longest ago are forgotten first. A forgotten visitor costs one more
renewal and nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_MAX_KEYS: Final = 32_768  # 250 bytes each


class LastTimes(Generic[Key]):
    """When something was last done for a visitor, seconds of the store's clock."""

    def __init__(self, *, most: int = _MAX_KEYS) -> None:
        self._at_s: dict[Key, float] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._at_s)

    def note(self, key: Key, at_s: float) -> None:
        self._at_s.pop(key, None)  # so that it becomes the newest
        if len(self._at_s) >= self._most:
            del self._at_s[next(iter(self._at_s))]
        self._at_s[key] = at_s

    def of(self, key: Key) -> float:
        """When it was last done; 0: never, or so long ago that it is forgotten."""
        return self._at_s.get(key, 0.0)
