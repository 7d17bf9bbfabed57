"""The participants of a draw in the store: visitors in line before the draw, the SHA-256 of each
visitor id in hex after it.

Rules. `draw.lua` adds the hashes while it moves visitors to their turns, and nothing removes them
before they expire. They are read in portions, so that no call blocks the store for long and no
replica holds more than one portion.
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
    """The participants of one room's draws. Every method raises StoreError."""

    def __init__(self, store: Store, room: RoomName) -> None:
        self._store = store
        self._room = room
        self._keys = room_keys(room)

    async def undrawn(self, *, since_us: int, limit: int) -> dict[VisitorId, int]:
        """At most `limit` visitors in line at a provisional turn, with their arrivals, from
        `since_us` on."""
        since = float(PROVISIONAL_US + since_us)
        found = await self._store.scores(self._keys[0], since=since, limit=limit)
        return {VisitorId(each): int(turn) - PROVISIONAL_US for each, turn in found.items()}

    async def lanes_of(self, visitors: Sequence[VisitorId]) -> dict[VisitorId, str]:
        """The lanes of visitors at provisional turns; visitors without one are left out."""
        found = await self._store.values(self._keys[10], visitors) if visitors else {}
        return {VisitorId(visitor): lane for visitor, lane in found.items()}

    async def count(self, draw: str) -> int:
        return await self._store.count(participants_key(self._room, draw))

    async def portions(self, draw: str, *, limit: int = _PORTION) -> AsyncIterator[list[str]]:
        """All participants in ascending order, at most `limit` at a time."""
        key, last = participants_key(self._room, draw), ""
        while True:
            portion = await self._store.members(key, after=last, limit=limit)
            if portion:
                yield portion
            if len(portion) < limit:
                return
            last = portion[-1]
