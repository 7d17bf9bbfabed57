"""A room for its operator: the state, and the controls.

Rules. An operator is no replica: no pacer, no visitors. Every change is made in the store and then
published, so that it holds whether or not a replica receives it. In a store that just lost
everything a grant waits until the replicas, which may know of earlier grants, have written them
back. Raises StoreError.
"""

from __future__ import annotations

import asyncio
import time

from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.events import Events
from gatekeeper.room.queue import Left, Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Store
from gatekeeper.room.view import ReplicaView

_WRITE_BACK_S = 2.0  # each replica calls within its pacer's longest pause and one timeout


class Operator:
    """The controls of one room."""

    def __init__(self, store: Store, events: Events, rules: Rules) -> None:
        self.rules = rules
        self._events = events
        self._view = ReplicaView()
        self._queue = Queue(
            store,
            rules,
            replica="",
            on_state=self._view.update_from_store,
            newest_known=lambda: self._view.store_state,
            on_loss=self._delay_grants,
        )
        self._grant_after_s = 0.0  # of the monotonic clock

    async def status(self) -> RoomState:
        return await self._queue.look()

    async def allow(self, count: int) -> RoomState:
        """Grant `count` admissions and release them; the state after that."""
        await self._wait_for_write_back()
        await self._queue.allow(count)
        state, _ = await self._queue.advance()
        return await self._published(state)

    async def set_rate(self, rate_per_minute: float) -> RoomState:
        return await self._published(await self._queue.set_rate(rate_per_minute))

    async def set_mode(self, mode: Mode) -> RoomState:
        return await self._published(await self._queue.set_mode(mode))

    async def set_message(self, message: str) -> RoomState:
        """The line to all waiting visitors, as `parse_message` returned it; "" removes it."""
        return await self._published(await self._queue.set_message(message))

    async def revoke(self, visitor: VisitorId) -> Left:
        """End a visitor's session or take their place, on all replicas."""
        state, left = await self._queue.leave([visitor])
        await self._events.publish_revoked(self.rules.room, [visitor], count=state.revocations)
        return left[0]

    async def _wait_for_write_back(self) -> None:
        await self._queue.look()
        await asyncio.sleep(self._grant_after_s - time.monotonic())

    def _delay_grants(self) -> None:
        self._grant_after_s = time.monotonic() + _WRITE_BACK_S

    async def _published(self, state: RoomState) -> RoomState:
        room, now_s = self.rules.room, self._view.now_s()
        await self._events.publish_state(room, state, sent_at_s=now_s)
        return state

    async def close(self) -> None:
        await self._queue.close()
