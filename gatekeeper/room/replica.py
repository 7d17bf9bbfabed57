"""A room as one replica lives in it: the queue, what is known of it, and the pacer.

Rules. The store's failure is noticed here and nowhere else: it becomes `view.store_up = False`,
which the decision takes as an input, and a `None` to whoever asked. From then on only the pacer
calls, so that no time-outs pile up, and the store is up again when it has been given all that it
missed. A replica that starts meanwhile joins when it is back; until then it knows what the others
tell of the newest state they hold. The pacer calls at every beat, so a replica that hears no events
is right within a beat. There is no leader: each replica's call releases what is due at that instant
and finds nothing left if another was first. But who hears of another's call leaves the next to it,
for as long as it goes on and for a second at most, so that a beat costs one call and one message
whatever the number of replicas.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from gatekeeper import metrics
from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import QueuePosition, SlotGrant, Standing
from gatekeeper.policy.pacing import IDLE_TICK_S, LocalBucket, tick_interval_s
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.events import Events
from gatekeeper.room.pending_writes import PendingWrites
from gatekeeper.room.queue import PollRequest, Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Store, StoreFull
from gatekeeper.room.view import ReplicaView

_PUBLISH_AT_LEAST_EVERY_S = 1.0
_BEAT_JITTER = 0.1
_STEP_IN_JITTER = 0.5  # who heard another steps in one and a half to two beats after its last
_LEAST_PAUSE_S = 0.02  # however often the pacer is woken
_SAY_AGAIN_AFTER_S = 60.0
_MOST_GONE = 1_000_000  # whose tokens count no more; 250 MB
_MOST_LEFT_UNTOLD = 100_000  # of them, when more leave the line and the store is away

log = structlog.get_logger()


class RoomReplica:
    """One room on one replica. Start with `start`, end with `close`."""

    def __init__(
        self,
        store: Store,
        events: Events,
        rules: Rules,
        *,
        replica: str,
        view: ReplicaView | None = None,
    ) -> None:
        self.rules = rules
        self.view = ReplicaView() if view is None else view
        self._events = events
        self.queue = Queue(
            store,
            rules,
            replica=replica,
            on_state=self.view.update_from_store,
            newest_known=lambda: self.view.store_state,
            on_loss=self._tell_again,
            on_backlog=self.wake,
        )
        self._share = LocalBucket(rules)
        self._last_stamp_us = 0
        self._wake = asyncio.Event()
        self._pacer: asyncio.Task[None] | None = None
        self._stopping = False
        self._background: set[asyncio.Task[object]] = set()
        self._told_version = (0, 0)  # on the bus, by whomever
        self._told_at_s = 0.0
        self._others_paced_at_s = 0.0
        self._regained_at_s = 0.0
        self._said_full_at_s = float("-inf")
        self._missed = PendingWrites(
            self.queue, on_revoked=self._tell_revoked, on_refused=self._refused_elsewhere
        )
        self._has_joined = self._is_late = False
        self._told_again_in = 0  # the epoch
        self.on_revoked: Callable[[Sequence[VisitorId]], None] = lambda _visitors: None

    async def start(self) -> None:
        """Join the room, learn all there is to know, and begin to pace."""
        await self._events.listen(self.rules.room, self)
        try:
            await self._tick()
        except StoreError as error:
            self._is_late = True
            log.warning("store_away", room=self.rules.room, error=error.public)
            metrics.store_up.labels(self.rules.room).set(0)
        self._pacer = asyncio.create_task(self._pace(), name=f"pacer {self.rules.room}")

    async def close(self) -> None:
        await self._stop_pacing()
        if self._background:
            await asyncio.wait(self._background)
        await self.queue.close()

    async def _stop_pacing(self) -> None:
        self._stopping = True
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.wait([self._pacer])

    # The requests of the gate. None: the store did not answer, decide again without it.

    async def arrive(self, visitor: VisitorId) -> SlotGrant | QueuePosition | None:
        """A newcomer's slot or place."""
        try:
            return await self.queue.arrive(visitor)
        except StoreError as error:
            self._lost(error)
            return None

    async def poll(self, request: PollRequest) -> Standing | None:
        """A waiting visitor's heartbeat, or a released visitor's claim."""
        try:
            return await self.queue.poll(request)
        except StoreError as error:
            self._lost(error)
            return None

    async def leave(self, visitors: Sequence[VisitorId]) -> None:
        """Places and slots given back; at once the visitors' tokens count nowhere any more. Not
        without bound, since anyone can enter an open room and leave: then slots end with passes.
        """
        if len(self.view.revoked()) >= _MOST_GONE:
            return
        self.receive_revoked(visitors, count=0)
        if self.view.store_up:
            try:
                state, _ = await self.queue.leave(visitors)
            except StoreError as error:
                self._lost(error)
            else:
                self._missed.took_revoked(visitors)
                await self._tell_revoked(visitors, state.revocations)
                self._wake.set()
                return
        await self._events.publish_revoked(self.rules.room, visitors, count=0)

    async def leave_line(self, visitor: VisitorId) -> None:
        """One who came with a ticket gives back the place. That the store alone remembers; while
        it cannot, all replicas, and fewer: beyond that a ticket that its holder kept counts."""
        if self.view.store_up:
            try:
                _, [left] = await self.queue.leave([visitor], with_tickets=True)
            except StoreError as error:
                self._lost(error)
            else:
                if left == "slot":  # and perhaps a pass, which every replica honours by itself
                    await self.leave([visitor])
                return
        if len(self.view.revoked()) < _MOST_LEFT_UNTOLD:
            await self.leave([visitor])

    def touch_soon(self, visitor: VisitorId, *, until_s: float) -> None:
        """Tell the store in the background that this slot lasts; nobody waits for it."""
        until_us = round(until_s * 1_000_000)
        if self.view.store_up:
            self._run_soon(self._touch(visitor, until_us=until_us))
        else:
            self._missed.touched(visitor, until_us=until_us)

    def leave_soon(self, visitor: VisitorId) -> None:
        self._run_soon(self.leave([visitor]))

    def wake(self) -> None:
        """Let the pacer look now: something changed that may release people."""
        self._wake.set()

    # Without the store.

    def stamp_arrival(self, visitor: VisitorId, *, came_s: float) -> int:
        """Their arrival, microseconds, behind all who were released; the store is told later."""
        came_us, released_us = round(came_s * 1_000_000), self.view.decisive.watermark_us
        self._last_stamp_us = max(self._last_stamp_us, released_us, came_us) + 1
        self._missed.add_stamped(visitor, turn_us=self._last_stamp_us)
        return self._last_stamp_us

    def take_share(self) -> bool:
        """Whether this replica's own share of the rate has an admission left.

        There is none while the store answers, though not to this visitor: then the whole rate is
        spent there. And none for a replica that has heard of no state: it knows neither the mode
        nor how many share the rate.
        """
        state = self.view.state
        if self.view.store_up or state is None:
            return False
        return self._share.take(
            now_s=self.view.now_s(),
            rate_per_minute=state.rate_per_minute,
            replicas=state.replicas,
        )

    # Events (the Listener protocol).

    def receive_state(self, state: RoomState, *, sent_at_s: float) -> None:
        held = self.view.state
        metrics.event_delay_seconds.observe(max(self.view.now_s() - sent_at_s, 0.0))
        if held is None or state.watermark_us > held.watermark_us:
            lag_s = max(self.view.now_s() - state.now_us / 1_000_000, 0.0)
            metrics.watermark_lag_seconds.labels(self.rules.room).observe(lag_s)
        news = held is None or (state.mode, state.pending_grants) != (
            held.mode,
            held.pending_grants,
        )
        believed = self.view.update_from_replica(state, sent_at_s=sent_at_s)
        if believed:
            self._leave_it_to(state)
        if not believed or news:
            self.wake()

    def _leave_it_to(self, state: RoomState) -> None:
        """Another called the store just now, and told all replicas: neither is to be done again."""
        now_s = asyncio.get_running_loop().time()
        ago_s = max(self.view.now_s() - state.now_us / 1_000_000, 0.0)
        self._others_paced_at_s = max(self._others_paced_at_s, now_s - ago_s)
        if (version := (state.epoch, state.version)) >= self._told_version:
            self._told_version, self._told_at_s = version, now_s

    def receive_revoked(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        """`count` 0: the store does not know yet. All who hear that will tell it, for the one
        who said so may be gone by then."""
        if count == 0:
            self._missed.revoked(visitors)
        self._revoke(visitors, count=count)

    def _revoke(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        until_s = self.view.now_s() + self.rules.revoked_for_s
        self.view.revoke(visitors, until_s=until_s, count=count)
        self.on_revoked(visitors)

    # The pacer.

    async def _pace(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                await self._tick()
            except StoreError as error:
                self._lost(error)
                await self._publish()  # for those who start meanwhile
            except Exception:
                # A pacer that ended would hold this replica's visitors for ever.
                log.exception("beat_failed", room=self.rules.room)
            await self._pause()

    async def _pause(self) -> None:
        """Until the next call is this replica's: a beat after its last, or somewhat more after one
        that another told of, so that one call a beat serves all; or at once when woken."""
        loop = asyncio.get_running_loop()
        own_at_s, ease = loop.time(), random.random()  # noqa: S311
        await asyncio.sleep(_LEAST_PAUSE_S)
        while not self._wake.is_set():
            pause_s, others_at_s = self._tick_interval_s(), self._others_paced_at_s
            due_s = own_at_s + pause_s * (1 - _BEAT_JITTER * ease)
            if others_at_s > own_at_s and self.view.store_up:
                at_latest_s = own_at_s + IDLE_TICK_S * (1 - _BEAT_JITTER * ease)
                due_s = min(others_at_s + pause_s * (2 - _STEP_IN_JITTER * ease), at_latest_s)
            left_s = due_s - loop.time()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()

    def _tick_interval_s(self) -> float:
        state = self.view.state
        someone_waits = 0 if state and self.view.store_up else 1
        return tick_interval_s(
            rate_per_minute=state.effective_rate_per_minute if state else 0,
            burst=self.rules.burst,
            waiting=(state.queue_length + state.pending_grants if state else 0) + someone_waits,
        )

    async def _tick(self) -> None:
        held = self.view.state
        if not self._has_joined:
            await self._join()
        await self._give_what_was_missed()
        await self.queue.advance()
        self.view.settle(held)
        if not self.view.store_up:
            await self._give_what_was_missed()  # also what was missed since this beat began
            if self._is_late or self._regained_at_s:
                log.info("store_back", room=self.rules.room)
            self.view.regain_store()
            self._regained_at_s = self.view.now_s()
        if self.view.store_state is not None:
            await self._learn_revocations(self.view.store_state.revocations)
        self.view.forget_expired()
        metrics.store_up.labels(self.rules.room).set(1)
        metrics.events_up.set(self._events.connected())
        await self._publish()

    async def _join(self) -> None:
        if self._is_late:  # no mere start: it has stamped visitors, as others may have
            await self.queue.join()
        await self.queue.join(starting=True)
        self._has_joined = True

    async def _give_what_was_missed(self) -> None:
        try:
            await self._missed.give()
        except StoreFull as error:
            self._lost(error)

    async def _learn_revocations(self, count: int) -> None:
        """Read from the store's list what no event told us of; all of it when that explains too
        little (the store forgot, or replicas with other time spans write to it)."""
        view = self.view
        missing = count - view.revocations_known
        if missing == 0:
            return
        for since_us in (view.revoked_through_us, 0.0):
            listed = await self.queue.revoked(since_us=since_us)
            news = [visitor for visitor in listed if visitor not in view.revoked()]
            learned = view.revoke_as_listed(listed, count=count)
            self.on_revoked(news)
            if 0 < missing <= learned:
                return

    async def _publish(self) -> None:
        """The newest that the store said: when it is news to all, and once a second."""
        state, now_s = self.view.store_state, self.view.now_s()
        if state is None:
            return
        version = (state.epoch, state.version)
        at_s = asyncio.get_running_loop().time()
        if version == self._told_version and at_s - self._told_at_s < _PUBLISH_AT_LEAST_EVERY_S:
            return
        self._told_version, self._told_at_s = version, at_s
        await self._events.publish_state(self.rules.room, state, sent_at_s=now_s)

    # Revocations.

    async def _tell_revoked(self, visitors: Sequence[VisitorId], count: int) -> None:
        """The store took these revocations, which makes so many in all."""
        until_s = self.view.now_s() + self.rules.revoked_for_s
        self.view.revoke(visitors, until_s=until_s, count=count)
        await self._events.publish_revoked(self.rules.room, visitors, count=count)

    def _refused_elsewhere(self, visitor: VisitorId) -> None:
        self._revoke([visitor], count=0)

    def _tell_again(self) -> None:
        """The store forgot something, and may have forgotten any of the revocations."""
        epoch = self.view.store_state.epoch if self.view.store_state else 0
        if epoch == self._told_again_in:  # to another call that found the same
            return
        self._told_again_in = epoch
        log.warning("store_forgot", room=self.rules.room)
        self._missed.revoked(self.view.revoked())
        self._wake.set()

    # Behind the scenes.

    def _lost(self, error: StoreError) -> None:
        now_s = self.view.now_s()
        if isinstance(error, StoreFull):
            # No loss: it still paces and removes. What it did not take is kept here or in tokens.
            if now_s - self._said_full_at_s > _SAY_AGAIN_AFTER_S:
                self._said_full_at_s = now_s
                log.error("store_full", room=self.rules.room)
            return
        if not self.view.store_up:
            return
        log.warning("store_lost", room=self.rules.room, error=error.public)
        self.view.lose_store()
        self._share = LocalBucket(self.rules)  # what the last outage left was spent in between
        metrics.store_up.labels(self.rules.room).set(0)
        if now_s - self._regained_at_s > _PUBLISH_AT_LEAST_EVERY_S:
            self._wake.set()  # one slow call is no outage: ask again at once, but not for ever

    async def _touch(self, visitor: VisitorId, *, until_us: int) -> None:
        try:
            holds = await self.queue.touch(visitor, until_us=until_us)
        except StoreError as error:
            self._missed.touched(visitor, until_us=until_us)
            self._lost(error)
        else:
            if not holds:
                self._refused_elsewhere(visitor)

    def _run_soon(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
