"""A room as one replica lives in it: the queue, what is known of it, and the pacer.

Rules. The store's failure is noticed here and nowhere else: it becomes `view.store_up = False`,
which the decision takes as an input, and a `None` to whoever asked. The pacer calls the store at
every beat, so a replica that hears no events is right within a beat. There is no leader: each
replica's call releases what is due at that instant and finds nothing left if another was first.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import Any

import structlog

from gatekeeper import metrics
from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import Granted, Placed, Standing
from gatekeeper.policy.pacing import LocalBucket, beat_s
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.batch import BATCH_LIMIT
from gatekeeper.room.events import Events
from gatekeeper.room.queue import Asking, Left, Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Store
from gatekeeper.room.view import View

_PUBLISH_AT_LEAST_EVERY_S = 1.0
_BEAT_JITTER = 0.1
_MOST_STAMPED = 200_000  # visitors remembered through an outage of the store; 30 MB

log = structlog.get_logger()


class LiveRoom:
    """One room on one replica. Start with `start`, end with `close`."""

    def __init__(self, store: Store, events: Events, rules: Rules, *, replica: str) -> None:
        self.rules = rules
        self.view = View()
        self._events = events
        self.queue = Queue(
            store,
            rules,
            replica=replica,
            on_state=self.view.hear_store,
            newest_known=lambda: self.view.state,
        )
        self._share = LocalBucket(rules)
        self._stamped: deque[Asking] = deque(maxlen=_MOST_STAMPED)
        self._last_stamp_us = 0
        self._wake = asyncio.Event()
        self._pacer: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._published_version = (0, 0)
        self._published_at_s = 0.0
        self._unsent_revocations: set[VisitorId] = set()
        self.on_revoked: Callable[[Sequence[VisitorId]], None] = lambda _visitors: None

    async def start(self) -> None:
        """Join the room and begin to pace. Raises StoreError when the store does not answer."""
        await self.queue.join(starting=True)
        await self._events.listen(self.rules.room, self)
        self._pacer = asyncio.create_task(self._pace(), name=f"pacer {self.rules.room}")

    async def close(self) -> None:
        await self._stop_pacing()
        if self._background:
            await asyncio.wait(self._background)
        await self.queue.close()

    async def _stop_pacing(self) -> None:
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.gather(self._pacer, return_exceptions=True)

    # What the gate asks. None: the store did not answer; decide again without it.

    async def arrive(self, visitor: VisitorId) -> Granted | Placed | None:
        try:
            return await self.queue.arrive(visitor)
        except StoreError as error:
            self._lost(error)
            return None

    async def poll(self, asking: Asking) -> Standing | None:
        try:
            return await self.queue.poll(asking)
        except StoreError as error:
            self._lost(error)
            return None

    async def leave(self, visitors: Sequence[VisitorId]) -> list[Left] | None:
        """Places and slots given back; the visitors' tokens count nowhere any more.

        They stop counting here at once, also when the store is away (then None).
        """
        until_s = self.view.now_s() + self.rules.revoked_for_s
        self.view.revoke(visitors, until_s=until_s, count=0)
        self.on_revoked(visitors)
        try:
            state, left = await self.queue.leave(visitors)
        except StoreError as error:
            self._unsent_revocations.update(visitors)
            self._lost(error)
            return None
        self.view.revoke(visitors, until_s=until_s, count=state.revocations)
        await self._events.publish_revoked(self.rules.room, visitors, count=state.revocations)
        self._wake.set()
        return left

    def touch_soon(self, visitor: VisitorId, *, until_s: float) -> None:
        """Tell the store in the background that this slot lasts; nobody waits for it."""
        self._run_soon(self._touch(visitor, until_us=round(until_s * 1_000_000)))

    def leave_soon(self, visitor: VisitorId) -> None:
        self._run_soon(self._leave(visitor))

    def wake(self) -> None:
        """Let the pacer look now: something changed that may release people."""
        self._wake.set()

    # Without the store.

    def stamp(self, visitor: VisitorId) -> int:
        """An arrival by the store's clock as last estimated, microseconds; ranked when it is
        back."""
        self._last_stamp_us = max(self._last_stamp_us + 1, round(self.view.now_s() * 1_000_000))
        self._stamped.append(Asking(visitor, self._last_stamp_us, has_pass=False))
        return self._last_stamp_us

    def take_share(self) -> bool:
        """Whether this replica's own share of the rate has an admission left."""
        state = self.view.state
        return self._share.take(
            now_s=self.view.now_s(),
            rate_per_minute=state.rate_per_minute if state else self.rules.rate_per_minute,
            replicas=state.replicas if state else 1,
        )

    # Events (the Listener protocol).

    def hear_state(self, state: RoomState, *, delay_s: float) -> None:
        metrics.event_delay_seconds.observe(delay_s)
        held = self.view.state
        if held is None or state.watermark_us > held.watermark_us:
            lag_s = max(self.view.now_s() - state.now_us / 1_000_000, 0.0)
            metrics.watermark_lag_seconds.labels(self.rules.room).observe(lag_s)
        self.view.hear_replica(state)
        if held is None or (state.mode, state.pending_grants) != (held.mode, held.pending_grants):
            self.wake()

    def hear_revoked(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        until_s = self.view.now_s() + self.rules.revoked_for_s
        self.view.revoke(visitors, until_s=until_s, count=count)
        self.on_revoked(visitors)

    # The pacer.

    async def _pace(self) -> None:
        while True:
            try:
                await self._beat()
            except StoreError as error:
                self._lost(error)
            state = self.view.state
            pause_s = beat_s(
                rate_per_minute=state.rate_per_minute if state else 0,
                burst=self.rules.burst,
                waiting=state.queue_length + state.pending_grants if state else 1,
            )
            self._wake.clear()
            try:
                async with asyncio.timeout(pause_s * random.uniform(1 - _BEAT_JITTER, 1)):  # noqa: S311
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _beat(self) -> None:
        held, was_up = self.view.state, self.view.store_up
        state, _ = await self.queue.advance()
        if state.knows_less_than(held):
            log.warning("store_forgot", room=self.rules.room)
            state = await self.queue.join()
            self._unsent_revocations.update(self.view.revoked())
        if not was_up:
            log.info("store_back", room=self.rules.room)
        await self._send_what_the_store_missed()
        if self.view.missed_revocations():
            self.view.revoke_all_of(await self.queue.revoked(), count=state.revocations)
            self.on_revoked(tuple(self.view.revoked()))
        self.view.forget_expired()
        metrics.store_up.labels(self.rules.room).set(1)
        metrics.events_up.set(self._events.connected())
        await self._publish(state)

    async def _publish(self, state: RoomState) -> None:
        now_s = self.view.now_s()
        version = (state.epoch, state.version)
        quiet_s = now_s - self._published_at_s
        if version == self._published_version and quiet_s < _PUBLISH_AT_LEAST_EVERY_S:
            return
        self._published_version, self._published_at_s = version, now_s
        await self._events.publish_state(self.rules.room, state)

    async def _send_what_the_store_missed(self) -> None:
        """Those stamped and those revoked while it was away, in portions; lost ones stay ours."""
        while self._stamped:
            portion = [self._stamped[i] for i in range(min(len(self._stamped), BATCH_LIMIT))]
            await asyncio.gather(*map(self.queue.poll, portion))
            for _ in portion:
                self._stamped.popleft()
        while self._unsent_revocations:
            visitors = list(islice(self._unsent_revocations, BATCH_LIMIT))
            state, _ = await self.queue.leave(visitors)
            self._unsent_revocations.difference_update(visitors)
            await self._events.publish_revoked(self.rules.room, visitors, count=state.revocations)

    # Behind the scenes.

    def _lost(self, error: StoreError) -> None:
        if self.view.store_up:
            log.warning("store_lost", room=self.rules.room, error=error.public)
        self.view.lose_store()
        metrics.store_up.labels(self.rules.room).set(0)

    async def _touch(self, visitor: VisitorId, *, until_us: int) -> None:
        try:
            if not await self.queue.touch(visitor, until_us=until_us):
                self.hear_revoked([visitor], count=0)
        except StoreError as error:
            self._lost(error)

    async def _leave(self, visitor: VisitorId) -> None:
        await self.leave([visitor])

    def _run_soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
