"""The visitors of a room with one reference: those in line, and those that hold a slot.

Rules. The store has no index of references, so its members are read in portions, each one call of
bounded size, with a pause in between: the scripts of the replicas take precedence. A reference has
40 bits, so several visitors may share it. Raises StoreError.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gatekeeper.config.types import RoomName
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.store import Store, room_keys

_PORTION = 2000  # members of one call
_SEARCHED = ("queue", "active", "unconfirmed")


async def visitors_of_reference(
    store: Store, room: RoomName, reference: str, *, portion: int = _PORTION
) -> list[VisitorId]:
    """Every visitor with this reference (of `parse_reference`). The line is read first, then the
    slots, so that a visitor that is released meanwhile is found."""
    keys = [key for key in room_keys(room) if key.rpartition(":")[2] in _SEARCHED]
    assert len(keys) == len(_SEARCHED)
    found: dict[VisitorId, None] = {}
    for key in keys:
        async for members in scores_of(store, key, portion=portion):
            visitors = map(VisitorId, members)
            found |= {each: None for each in visitors if reference_of(each) == reference}
            await asyncio.sleep(0)
    return list(found)


async def scores_of(
    store: Store, key: str, *, portion: int, since: float = 0.0
) -> AsyncIterator[dict[str, float]]:
    """The members of a ZSET with their scores, from `since` on, in portions. Members may repeat."""
    limit = portion
    while True:
        scores = await store.scores(key, since=since, limit=limit)
        yield scores
        if len(scores) < limit:
            return
        last = max(scores.values())
        # More members than one portion share a score.
        limit = limit * 2 if last == since else portion
        since = last
