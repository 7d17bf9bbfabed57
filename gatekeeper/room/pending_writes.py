"""What the store missed while it was away: given when it is back, kept until it took it.

Rules. Passes that were used, newcomers whom this replica stamped: a bounded number of each.
Visitors whose tokens count no more: all that the view knows. To be one of them takes a pass or an
operator, but for a bounded number who left the line (`live`). Whatever is given may be given twice
(a call that timed out may have run), and every operation here bears that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice

from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.batching import BATCH_LIMIT
from gatekeeper.room.queue import PollRequest, Queue

_MOST = 200_000  # of each of the two; together 30 MB
_PORTION = 8 * BATCH_LIMIT  # what is sent at once

Tell = Callable[[Sequence[VisitorId], int], Awaitable[None]]


class PendingWrites:
    """Of one room, on one replica. `give` raises StoreError and goes on from there next time."""

    def __init__(self, queue: Queue, *, on_revoked: Tell, on_refused: Callable[[VisitorId], None]):
        self._queue = queue
        self._on_revoked = on_revoked  # the store took them, who are so many in all
        self._on_refused = on_refused  # the pass of this visitor was revoked elsewhere
        self._stamped: deque[PollRequest] = deque(maxlen=_MOST)
        self._touched: dict[VisitorId, int] = {}
        self._revoked: set[VisitorId] = set()

    def add_stamped(self, visitor: VisitorId, *, turn_us: int) -> None:
        self._stamped.append(PollRequest(visitor, turn_us, has_pass=False, by_proxy=True))

    def touched(self, visitor: VisitorId, *, until_us: int) -> None:
        if len(self._touched) < _MOST or visitor in self._touched:
            self._touched[visitor] = max(until_us, self._touched.get(visitor, 0))

    def revoked(self, visitors: Iterable[VisitorId]) -> None:
        self._revoked.update(visitors)

    def took_revoked(self, visitors: Iterable[VisitorId]) -> None:
        self._revoked.difference_update(visitors)

    async def give(self) -> None:
        await self._give_revoked()
        await self._give_touched()
        await self._give_stamped()

    async def _give_revoked(self) -> None:
        while self._revoked:
            visitors = list(islice(self._revoked, BATCH_LIMIT))
            state, _ = await self._queue.leave(visitors)
            self.took_revoked(visitors)
            await self._on_revoked(visitors, state.revocations)

    async def _give_touched(self) -> None:
        while self._touched:
            portion = dict(islice(self._touched.items(), _PORTION))
            await asyncio.gather(
                *(self._give_touch(visitor, until_us=us) for visitor, us in portion.items())
            )
            for visitor, us in portion.items():
                if self._touched.get(visitor) == us:
                    del self._touched[visitor]

    async def _give_touch(self, visitor: VisitorId, *, until_us: int) -> None:
        if not await self._queue.touch(visitor, until_us=until_us):
            self._on_refused(visitor)

    async def _give_stamped(self) -> None:
        """Until none is left; more may come meanwhile, but not for ever."""
        for _ in range(0, _MOST, _PORTION):
            portion = list(islice(self._stamped, _PORTION))
            if not portion:
                return
            await asyncio.gather(*map(self._queue.poll, portion))
            for asking in portion:
                if self._stamped and self._stamped[0] is asking:  # else a full one dropped it
                    self._stamped.popleft()
