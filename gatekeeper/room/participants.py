"""The participants of a draw in the store: SHA-256 of each visitor id, in hex.

Rules. `draw.lua` adds them while it moves visitors to their turns, and nothing removes them before
they expire. They are read in portions, so that no call holds up the store and no replica holds more
than one portion.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.room.store import Store, participants_key

_PORTION: Final = 1000


class Participants:
    """Of the draws of one room. Raises StoreError."""

    def __init__(self, store: Store, room: RoomName) -> None:
        self._store = store
        self._room = room

    async def count(self, draw: str) -> int:
        return await self._store.count(participants_key(self._room, draw))

    async def portions(self, draw: str, *, most: int = _PORTION) -> AsyncIterator[list[str]]:
        """All of them, ascending, at most `most` at a time."""
        key, last = participants_key(self._room, draw), ""
        while True:
            portion = await self._store.members(key, after=last, most=most)
            if portion:
                yield portion
            if len(portion) < most:
                return
            last = portion[-1]
