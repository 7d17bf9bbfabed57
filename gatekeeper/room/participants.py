"""The participants of a draw in the store: before it visitors in line, from then on the SHA-256 of
each visitor id, in hex.

Rules. `draw.lua` adds the hashes while it moves visitors to their turns, and nothing removes them
before they expire. They are read in portions, so that no call holds up the store and no replica
holds more than one portion.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.store import Store, participants_key, room_keys

_PORTION: Final = 1000


class Participants:
    """Of the draws of one room. Raises StoreError."""

    def __init__(self, store: Store, room: RoomName) -> None:
        self._store = store
        self._room = room
        self._keys = room_keys(room)

    async def undrawn(self, *, since_us: int, most: int) -> dict[VisitorId, int]:
        """Visitors in line at a provisional turn, and their arrivals from that one on."""
        since = float(PROVISIONAL_US + since_us)
        found = await self._store.scores(self._keys[0], since=since, most=most)
        return {VisitorId(each): int(turn) - PROVISIONAL_US for each, turn in found.items()}

    async def lanes_of(self, visitors: Sequence[VisitorId]) -> dict[VisitorId, str]:
        """The lanes of visitors at provisional turns; visitors without one are left out."""
        found = await self._store.values(self._keys[10], visitors) if visitors else {}
        return {VisitorId(visitor): lane for visitor, lane in found.items()}

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
