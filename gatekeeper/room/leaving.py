"""Visitors that leave a room or are revoked: their tokens are void on every replica.

Rules. The store remembers tickets that were given back. Passes are verified without the store, so
every replica remembers the visitors whose pass is void: a bounded number that clients can cause,
and a reserve for origins and operators, whose revocations always apply. Revocations that the store
has not received yet are written by every replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from gatekeeper.errors import StoreError
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.event_bus import Events
from gatekeeper.room.pending_writes import PendingWrites
from gatekeeper.room.queue import Queue
from gatekeeper.room.view import ReplicaView

MAX_LEFT: Final = 1_000_000  # visitors that a replica remembers because they left by themselves
MAX_LEFT_WITHOUT_STORE: Final = 100_000

log = structlog.get_logger()


class LeaveCalls:
    """The calls of visitors that leave one room, on one replica. It calls `on_revoked` for those
    whose sessions end, `on_lost` when the store does not respond, and `on_news` when slots
    are free."""

    def __init__(
        self,
        queue: Queue,
        events: Events,
        view: ReplicaView,
        *,
        on_revoked: Callable[[Sequence[VisitorId]], None],
        on_lost: Callable[[StoreError], None],
        on_news: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._events = events
        self._view = view
        self.pending = PendingWrites(queue, on_revoked=self._report, on_refused=self.note_revoked)
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._on_news = on_news
        self._written_again_in = 0  # the epoch

    async def leave(self, visitors: Sequence[VisitorId], *, by_visitor: bool = False) -> bool:
        """Give back places and slots; the visitors' tokens are void at once, on every replica.

        A revocation by an origin or operator always applies. False: nothing was done, since more
        visitors left than all replicas remember, and any client can cause that. Their slots end
        with their passes.
        """
        if by_visitor and len(self._view.revoked()) >= MAX_LEFT:
            return False
        self.receive(visitors, count=0)
        if self._view.store_up:
            try:
                state, _ = await self._queue.leave(visitors)
            except StoreError as error:
                self._on_lost(error)
            else:
                self.pending.remove_revoked(visitors)
                await self._report(visitors, state.revocations)
                self._on_news()
                return True
        await self._events.publish_revoked(self._queue.rules.room, visitors, count=0)
        return True

    async def leave_line(
        self, visitors: Sequence[VisitorId], devices: Sequence[str | None] = ()
    ) -> bool:
        """Visitors with tickets, of these devices, give back their places. Only the store remembers
        that; while it is unreachable all replicas do, for fewer visitors: beyond that a kept ticket
        stays valid. So does one of a device: only the store knows whether another holds the place.
        False: nothing was done.
        """
        if self._view.store_up:
            try:
                _, left = await self._queue.leave(visitors, with_tickets=True, devices=devices)
            except StoreError as error:
                self._on_lost(error)
            else:
                # They may also hold a pass, which every replica accepts without the store.
                kinds = zip(visitors, left, strict=True)
                if inside := [each for each, what in kinds if what == "slot"]:
                    await self.leave(inside, by_visitor=True)
                return True
        if devices:
            visitors = [each for each, of in zip(visitors, devices, strict=True) if of is None]
        if not visitors or len(self._view.revoked()) >= MAX_LEFT_WITHOUT_STORE:
            return False
        return await self.leave(visitors, by_visitor=True)

    def receive(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        """`count` 0: not in the store yet. Every receiver writes it, since the sender may stop."""
        if count == 0:
            self.pending.add_revoked(visitors)
        self._revoke(visitors, count=count)

    def note_revoked(self, visitor: VisitorId) -> None:
        """The store has refused the visitor's pass."""
        self._revoke([visitor], count=0)

    def _revoke(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        until_s = self._view.now_s() + self._queue.rules.revoked_for_s
        self._view.revoke(visitors, until_s=until_s, count=count)
        self._on_revoked(visitors)

    async def _report(self, visitors: Sequence[VisitorId], count: int) -> None:
        """The store has these revocations; `count` is their new total."""
        until_s = self._view.now_s() + self._queue.rules.revoked_for_s
        self._view.revoke(visitors, until_s=until_s, count=count)
        await self._events.publish_revoked(self._queue.rules.room, visitors, count=count)

    def write_again(self) -> None:
        """The store lost data, and may have lost any of the revocations."""
        epoch = self._view.store_state.epoch if self._view.store_state else 0
        if epoch == self._written_again_in:  # another call has noticed the same loss
            return
        self._written_again_in = epoch
        log.warning("store_data_lost", room=self._queue.rules.room)
        self.pending.add_revoked(self._view.revoked())
        self._on_news()
