"""Distinguishes byte strings that come again from those that come once."""


class RepeatFilter:
    """Remembers the hashes of at most `limit` byte strings, and then starts over. What comes once
    is not worth a cache entry; a collision of hashes only makes one entry too many."""

    __slots__ = ("_limit", "_seen")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def is_repeat(self, data: bytes) -> bool:
        """Whether `data` came before; from now on it did."""
        number = hash(data)
        if number in self._seen:
            return True
        if len(self._seen) >= self._limit:
            self._seen.clear()
        self._seen.add(number)
        return False

    def clear(self) -> None:
        self._seen.clear()
