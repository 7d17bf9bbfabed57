"""Pending writes: changes during an outage of the store, kept until they are written when it
recovers.

Rules. Used passes and returned tickets: a bounded number of each. A newcomer who received a ticket
during the outage is written once they have returned it. A newcomer who received a pass gets an
unconfirmed slot until they use it. Revoked visitors: all of the view. They had a pass or were
revoked by an operator, except for a bounded number that left the queue (`leaving`). After a loss of
the store there may be hundreds of thousands, so a call writes a portion: no release waits for them,
since every replica refuses their tokens itself. A write may happen twice (a call that timed out may
have run), but every operation here is idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice

from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.batching import BATCH_LIMIT
from gatekeeper.room.queue import UNCONFIRMED, Queue
from gatekeeper.room.view import MAX_REVOKED
from gatekeeper.room.visitor_calls import PollRequest

_MAX_PENDING = 200_000  # used passes, and as many returned tickets; 70 MB together
_PORTION = 8 * BATCH_LIMIT  # per call
# Takes 50 ms of a tick; replicas have to call each second during a recovery.
_MAX_REVOKED_AT_ONCE = 2000

ReportRevoked = Callable[[Sequence[VisitorId], int], Awaitable[None]]


class PendingWrites:
    """The pending writes of one room on one replica. `write` raises StoreError, and the next call
    continues."""

    def __init__(
        self, queue: Queue, *, on_revoked: ReportRevoked, on_refused: Callable[[VisitorId], None]
    ):
        self._queue = queue
        self._on_revoked = on_revoked  # visitors that were written, and their new total
        self._on_refused = on_refused  # a visitor that was revoked elsewhere
        self._returned: dict[VisitorId, PollRequest] = {}
        self._touched: dict[
            VisitorId, tuple[int, int]
        ] = {}  # expiry of the slot, end of the session
        self._revoked: set[VisitorId] = set()

    def add_returned(self, request: PollRequest) -> bool:
        """Add a returned ticket; whether its visitor is new here."""
        is_new = request.visitor not in self._returned and len(self._returned) < _MAX_PENDING
        if len(self._returned) < _MAX_PENDING:
            self._returned[request.visitor] = replace(request, by_proxy=True)
        return is_new

    def add_touched(self, visitor: VisitorId, *, until_us: int, ends_us: int) -> None:
        """Add a use of a pass, or with `UNCONFIRMED` the slot of a visitor who has not used it
        yet."""
        # Any client can cause an unconfirmed slot.
        limit = _MAX_PENDING // 2 if ends_us == UNCONFIRMED else _MAX_PENDING
        if len(self._touched) >= limit and visitor not in self._touched:
            return
        known_until_us, known_ends_us = self._touched.get(visitor, (until_us, ends_us))
        ends = [us for us in (ends_us, known_ends_us) if us != UNCONFIRMED]
        self._touched[visitor] = max(until_us, known_until_us), min(ends, default=UNCONFIRMED)

    def add_revoked(self, visitors: Iterable[VisitorId]) -> None:
        self._revoked.update(islice(visitors, max(MAX_REVOKED - len(self._revoked), 0)))

    def remove_revoked(self, visitors: Iterable[VisitorId]) -> None:
        self._revoked.difference_update(visitors)

    @property
    def has_revocations(self) -> bool:
        return bool(self._revoked)

    async def write(self) -> None:
        """Write all, except that of revocations at most `_MAX_REVOKED_AT_ONCE` are written."""
        await self._write_revoked()
        await self._write_touched()
        await self._write_returned()

    async def _write_revoked(self) -> None:
        for _ in range(0, _MAX_REVOKED_AT_ONCE, BATCH_LIMIT):
            visitors = list(islice(self._revoked, BATCH_LIMIT))
            if not visitors:
                return
            state, _ = await self._queue.leave(visitors)
            self.remove_revoked(visitors)
            await self._on_revoked(visitors, state.revocations)

    async def _write_touched(self) -> None:
        while self._touched:
            portion = dict(islice(self._touched.items(), _PORTION))
            await asyncio.gather(
                *(self._write_touch(visitor, *times_us) for visitor, times_us in portion.items())
            )
            for visitor, times_us in portion.items():
                if self._touched.get(visitor) == times_us:
                    del self._touched[visitor]

    async def _write_touch(self, visitor: VisitorId, until_us: int, ends_us: int) -> None:
        if not await self._queue.touch(visitor, until_us=until_us, ends_us=ends_us):
            self._on_refused(visitor)

    async def _write_returned(self) -> None:
        """Write returned tickets until none is left. More may arrive meanwhile, so the number of
        rounds is bounded."""
        for _ in range(0, _MAX_PENDING, _PORTION):
            portion = list(islice(self._returned.values(), _PORTION))
            if not portion:
                return
            await asyncio.gather(*map(self._queue.poll, portion))
            for request in portion:
                del self._returned[request.visitor]
