"""Writes that the store missed are kept until they are written, once for each visitor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.pending_writes import PendingWrites
from gatekeeper.room.queue import UNCONFIRMED, Queue
from gatekeeper.room.state import RoomState
from tests.builders import room_state

ANN, BOB = VisitorId("ann"), VisitorId("bob")


class RecordingQueue:
    """A queue in which every visitor still holds a slot, except for the revoked ones."""

    def __init__(self, *revoked: VisitorId) -> None:
        self.touches: list[tuple[VisitorId, int, int]] = []
        self.left: list[VisitorId] = []
        self._revoked = revoked

    async def leave(self, visitors: Sequence[VisitorId]) -> tuple[RoomState, list[object]]:
        self.left += visitors
        return replace(room_state(), revocations=len(self.left)), []

    async def touch(self, visitor: VisitorId, *, until_us: int, ends_us: int) -> bool:
        self.touches.append((visitor, until_us, ends_us))
        return visitor not in self._revoked


def pending(queue: RecordingQueue, refused: list[VisitorId]) -> PendingWrites:
    async def report(_visitors: object, _count: int) -> None: ...

    return PendingWrites(cast(Queue, queue), on_revoked=report, on_refused=refused.append)


async def test_used_passes_are_written_with_last_use_and_first_end() -> None:
    """Two sessions of one visitor, by claims at two replicas: the store keeps the earlier end."""
    queue, refused = RecordingQueue(BOB), list[VisitorId]()
    writes = pending(queue, refused)
    for until_us, ends_us in ((50, 100), (70, 120), (60, 110)):
        writes.add_touched(ANN, until_us=until_us, ends_us=ends_us)
    writes.add_touched(BOB, until_us=1, ends_us=2)
    await writes.write()
    assert queue.touches == [(ANN, 70, 100), (BOB, 1, 2)]
    assert refused == [BOB]
    await writes.write()
    assert len(queue.touches) == 2


async def test_guess_becomes_a_session_by_the_first_use() -> None:
    """In either order of the two."""
    queue = RecordingQueue()
    writes = pending(queue, [])
    writes.add_touched(ANN, until_us=50, ends_us=UNCONFIRMED)
    writes.add_touched(ANN, until_us=70, ends_us=100)
    writes.add_touched(ANN, until_us=60, ends_us=UNCONFIRMED)
    writes.add_touched(BOB, until_us=50, ends_us=UNCONFIRMED)
    await writes.write()
    assert queue.touches == [(ANN, 70, 100), (BOB, 50, UNCONFIRMED)]


async def test_revocations_are_written_in_portions() -> None:
    """After a loss of the store, when replicas have to call each second, there may be a million of
    them."""
    queue = RecordingQueue()
    writes = pending(queue, [])
    revoked = [VisitorId(str(number)) for number in range(10_000)]
    writes.add_revoked(revoked)
    writes.add_touched(ANN, until_us=1, ends_us=2)
    await writes.write()
    assert len(queue.left) <= 2000
    assert queue.touches
    while writes.has_revocations:
        await writes.write()
    assert sorted(queue.left) == sorted(revoked)
