"""A room on one replica: the queue, the view and the pacer.

Rules. A store outage ends here: it becomes `view.store_up = False`, an input of the decision, and
`None` to the caller. From then on only the pacer calls the store, so that timeouts do not
accumulate; the store is up again once all pending writes except revocations are written. A replica
that starts meanwhile joins when the store recovers; until then it uses the newest state that other
replicas publish. The pacer calls at every tick, so that a replica without events is right within a
tick. There is no leader: a call releases what is due at that instant, and finds nothing left if
another was first (`tick_schedule`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import structlog

from gatekeeper import metrics
from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import Standing
from gatekeeper.policy.pacing import LocalBucket
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, VisitorId
from gatekeeper.room.batching import BATCH_LIMIT, Batcher
from gatekeeper.room.event_bus import Events
from gatekeeper.room.leaving import LeaveCalls
from gatekeeper.room.move_request import MoveRequest, MoveResult
from gatekeeper.room.openings import FileEvents, Openings
from gatekeeper.room.queue import IF_CONFIRMED, UNCONFIRMED, Queue
from gatekeeper.room.rate_steering import Autotune
from gatekeeper.room.revocation_list import learn_revocations
from gatekeeper.room.standings import InvitedStanding, NewcomerStanding
from gatekeeper.room.state import RoomState
from gatekeeper.room.state_publisher import PUBLISH_AT_LEAST_EVERY_S, StatePublisher
from gatekeeper.room.store import Store, StoreFull
from gatekeeper.room.tick_schedule import TickSchedule
from gatekeeper.room.view import ReplicaView
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest

_Reply = TypeVar("_Reply")
_NEWS = attrgetter("mode", "pending_grants", "events")  # a change of these may release visitors
_LOG_AGAIN_AFTER_S = 60.0
_NEW_TO_STORE_US = 10_000_000  # a newcomer returns the ticket within this time

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
        openings: Callable[[Queue], Openings] = Openings,
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
            newest_received=lambda: self.view.newest_of_store,
            on_loss=lambda: self.leaving.write_again(),
            on_backlog=self.wake,
            outstanding_polls=self.view.line.outstanding_polls,
        )
        self._polls = Batcher(self._poll_all, name=f"poll {rules.room}")
        self._openings = openings(self.queue)
        self.autotune = Autotune(self.queue)
        self._reloads_events = False
        self._share = LocalBucket(rules)
        self._last_stamp_us = 0
        self._schedule = TickSchedule()
        self._pacer: asyncio.Task[None] | None = None
        self._stopping = False
        self._background: set[asyncio.Task[object]] = set()
        self._publisher = StatePublisher(events, rules.room)
        self._recovered_at_s = 0.0
        self._logged_full_at_s = float("-inf")
        self.leaving = LeaveCalls(
            self.queue,
            events,
            self.view,
            on_revoked=lambda visitors: self.on_revoked(visitors),
            on_lost=self._lost,
            on_news=self.wake,
        )
        self._pending = self.leaving.pending
        self.on_revoked: Callable[[Sequence[VisitorId]], None] = lambda _visitors: None
        self._has_joined = self._is_late = False

    async def start(self) -> None:
        """Join the room, read its state, and start the pacer."""
        await self._events.listen(self.rules.room, self)
        try:
            await self._tick()
        except StoreError as error:
            self._is_late = True
            log.warning("store_unreachable", room=self.rules.room, error=error.public)
            metrics.store_up.labels(self.rules.room).set(0)
        self._pacer = asyncio.create_task(self._pace(), name=f"pacer {self.rules.room}")

    def configure(self, rules: Rules, *, rejoin: bool) -> None:
        """Replace the rules. `rejoin`: they come from a changed file, which is written to the
        store."""
        self.rules = self.queue.rules = rules
        self._is_late |= rejoin  # this replica may have stamped visitors
        self._has_joined &= not rejoin
        self.wake()

    def configure_events(self, file: FileEvents) -> None:
        """Replace the configured events."""
        if file != self._openings.file:
            self._openings.file = file
            self._reloads_events = True
            self.configure(self.rules, rejoin=True)

    async def close(self) -> None:
        await self._stop_pacing()
        await self._openings.close()
        if self._background:
            await asyncio.wait(self._background)
        await self._polls.close()
        await self.queue.close()
        # A reload removed this room; its store is not down.
        metrics.store_up.labels(self.rules.room).set(1)

    async def _stop_pacing(self) -> None:
        self._stopping = True
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.wait([self._pacer])

    # Calls for requests of the gate. None: the store did not respond; decide again without it.

    async def arrive(self, request: ArrivalRequest) -> NewcomerStanding | None:
        """Give a newcomer a slot or a turn, if the line has room."""
        return await self._replied(self.queue.arrive(request))

    async def arrive_invited(self, request: ArrivalRequest) -> InvitedStanding | None:
        """Give an invited visitor the turn that they have on all their devices."""
        return await self._replied(self.queue.arrive_invited(request))

    async def move(self, request: MoveRequest) -> MoveResult | None:
        """Move the place of a visitor in line to another device."""
        return await self._replied(self.queue.move(request)) if self.view.store_up else None

    async def take_admission(self) -> bool | None:
        """Take one admission for a request that creates no place; False: there is no room."""
        return await self._replied(self.queue.take_admission()) if self.view.store_up else None

    async def _replied(self, call: Awaitable[_Reply]) -> _Reply | None:
        try:
            return await call
        except StoreError as error:
            self._lost(error)
            return None

    def poll(self, request: PollRequest) -> Awaitable[Standing | None]:
        """A waiting visitor's heartbeat, or a released visitor's claim."""
        return self._polls.submit(request)

    async def _poll_all(self, batch: Sequence[PollRequest]) -> Sequence[Standing | None]:
        standings = await self._replied(self.queue.poll_all(batch))
        return [None] * len(batch) if standings is None else standings

    async def leave(self, visitors: Sequence[VisitorId], *, by_visitor: bool = False) -> bool:
        """Visitors give back places and slots, or an origin or operator takes them. False: nothing
        was done."""
        return await self.leaving.leave(visitors, by_visitor=by_visitor)

    async def leave_line(
        self, visitors: Sequence[VisitorId], devices: Sequence[str | None] = ()
    ) -> bool:
        """Visitors with tickets, of these devices, give back their places. False: nothing was
        done."""
        return await self.leaving.leave_line(visitors, devices)

    def touch_soon(self, pass_: Pass) -> None:
        """Extend the slot in the store to the expiry of the pass, in the background. The slot of a
        pass that was issued without the store is unconfirmed until the pass is used."""
        until_us = round(pass_.expires_at_s * 1_000_000)
        ends_us = round(pass_.ends_at_s * 1_000_000)
        if not pass_.confirmed:
            until_us = round((pass_.issued_at_s + self.rules.unconfirmed_slot_s) * 1_000_000)
            ends_us = UNCONFIRMED
        if self.view.store_up:
            self._run_soon(self._touch(pass_.visitor, until_us=until_us, ends_us=ends_us))
        else:
            self._pending.add_touched(pass_.visitor, until_us=until_us, ends_us=ends_us)

    def keep_soon(self, pass_: Pass) -> None:
        """A stream began with this pass before it was used: extend the slot in the background if
        the visitor was confirmed since. A stream tries again, so nothing is kept for later."""
        if self.view.store_up:
            self._run_soon(self._keep(pass_.visitor, round(pass_.expires_at_s * 1_000_000)))

    def leave_soon(self, visitor: VisitorId) -> None:
        self._run_soon(self.leave([visitor]))

    def leave_line_soon(self, tickets: Sequence[Ticket]) -> None:
        visitors, devices = [each.visitor for each in tickets], [each.device for each in tickets]
        for at in range(0, len(tickets), BATCH_LIMIT):
            end = at + BATCH_LIMIT
            self._run_soon(self.leave_line(visitors[at:end], devices[at:end]))

    def wake(self) -> None:
        """Let the pacer tick now: a change may release visitors."""
        self._schedule.wake()

    # Without the store.

    def stamp_arrival(self, *, came_s: float) -> int:
        """The arrival of a newcomer, microseconds: after every released turn."""
        came_us, released_us = round(came_s * 1_000_000), self.view.decisive.watermark_us
        self._last_stamp_us = max(self._last_stamp_us, released_us, came_us) + 1
        return self._last_stamp_us

    def place_soon(self, request: PollRequest) -> None:
        """A ticket was returned: put its visitor into the queue when the store recovers, unless the
        ticket is so old that the store knows them. Without any state the ordering is unknown, and
        so the turn: a draw may have changed it."""
        if self.view.state is None:
            return
        state, came_us = self.view.store_state, max(request.turn_us, request.arrival_us)
        is_unknown = state is None or came_us > state.last_arrival_us - _NEW_TO_STORE_US
        if is_unknown and self._pending.add_returned(request):
            self.view.note_queued()

    def take_share(self) -> bool:
        """Whether this replica's own share of the rate has an admission left.

        None while the store is up, which then spends the whole rate itself, and none for a replica
        that has received no state: it does not know the mode."""
        state = self.view.state
        if self.view.store_up or state is None:
            return False
        return self._share.take(
            now_s=self.view.now_s(),
            rate_per_minute=state.effective_rate_per_minute,
            replicas=state.replicas,
        )

    # Events (the Listener protocol).

    def receive_state(self, state: RoomState, *, sent_at_s: float) -> None:
        """A state that another replica published at `sent_at_s`, seconds of the store's clock.
        A change that may release visitors, and a state of another epoch, wake the pacer."""
        held = self.view.state
        metrics.event_delay_seconds.observe(max(self.view.now_s() - sent_at_s, 0.0))
        if held is None or state.watermark_us > held.watermark_us:
            lag_s = max(self.view.now_s() - state.now_us / 1_000_000, 0.0)
            metrics.watermark_lag_seconds.labels(self.rules.room).observe(lag_s)
        news = held is None or _NEWS(state) != _NEWS(held)
        accepted = self.view.update_from_replica(state, sent_at_s=sent_at_s)
        if accepted:
            self._note_tick_of(state)
        if not accepted or news:
            self.wake()

    def known_state(self) -> tuple[RoomState, float] | None:
        state = self.view.store_state
        return None if state is None else (state, self.view.now_s())

    def _note_tick_of(self, state: RoomState) -> None:
        """Another replica has just called the store and published, so this one does neither."""
        ago_s = max(self.view.now_s() - state.now_us / 1_000_000, 0.0)
        self._schedule.note_call_of_another(ago_s=ago_s)
        self._publisher.note_published(state)

    def receive_revoked(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        self.leaving.receive(visitors, count=count)

    # The pacer.

    async def _pace(self) -> None:
        while not self._stopping:
            self._schedule.begin()
            try:
                await self._tick()
            except StoreError as error:
                self._lost(error)
                self.view.pass_time()
                await self._publish()  # for replicas that start meanwhile
            except Exception:
                # If the pacer ended, this replica's visitors would wait forever.
                log.exception("tick_failed", room=self.rules.room)
            await self._schedule.pause(self.view, self.rules, next_due_s=self.queue.next_due_s)

    async def _tick(self) -> None:
        held = self.view.state
        if not self._has_joined:
            await self._join()
        has_space = await self._write_pending()
        state = await self.autotune.advance()
        await self._openings.step(state)
        self.view.settle(held)
        if not self.view.store_up:
            has_space = await self._write_pending()  # with what was added during this tick
            if self._is_late or self._recovered_at_s:
                log.info("store_recovered", room=self.rules.room)
            self.view.note_store_up()
            self._recovered_at_s = self.view.now_s()
        if has_space and self._pending.has_revocations:
            self.wake()
        elif self.view.store_state is not None:
            count = self.view.store_state.revocations
            await learn_revocations(self.queue, self.view, count, on_revoked=self.on_revoked)
        self.view.forget_expired()
        metrics.store_up.labels(self.rules.room).set(1)
        metrics.events_up.set(self._events.connected())
        await self._publish()

    async def _join(self) -> None:
        if self._is_late:  # not a plain start: this replica and others may have stamped visitors
            await self.queue.join()
        is_first = await self._is_first()
        state = await self.queue.join(starting=True, is_first=is_first)
        await self._events.respond_for(self.rules.room)
        await self._openings.merge(state, reloads=self._reloads_events)
        self._reloads_events = False
        self._has_joined = True

    async def _is_first(self) -> bool:
        """Whether no replica has a state of the room: an empty store may have lost one."""
        if self.view.state is not None or not await self.queue.is_new():
            return False
        return not await self._events.is_known_elsewhere(self.rules.room)

    async def _write_pending(self) -> bool:
        """Write the pending writes; False: the store is full."""
        try:
            await self._pending.write()
        except StoreFull as error:
            self._lost(error)
            return False
        return True

    async def _publish(self) -> None:
        if self.view.store_state is not None:
            await self._publisher.publish(self.view.store_state, sent_at_s=self.view.now_s())

    # Outages and background calls.

    def _lost(self, error: StoreError) -> None:
        now_s = self.view.now_s()
        if isinstance(error, StoreFull):
            # Not an outage: it still releases and removes. What it refused is kept here or in
            # tokens.
            metrics.store_full.labels(self.rules.room).inc()
            if now_s - self._logged_full_at_s > _LOG_AGAIN_AFTER_S:
                self._logged_full_at_s = now_s
                log.error("store_full", room=self.rules.room)
            return
        if not self.view.store_up:
            return
        log.warning("store_unreachable", room=self.rules.room, error=error.public)
        self.view.note_store_down()
        # The share of the last outage is void: the store has used the rate since.
        self._share = LocalBucket(self.rules)
        metrics.store_up.labels(self.rules.room).set(0)
        if now_s - self._recovered_at_s > PUBLISH_AT_LEAST_EVERY_S:
            self.wake()  # one slow call is not an outage: call again at once, but not in a loop

    async def _touch(self, visitor: VisitorId, *, until_us: int, ends_us: int) -> None:
        try:
            holds = await self.queue.touch(visitor, until_us=until_us, ends_us=ends_us)
        except StoreError as error:
            self._pending.add_touched(visitor, until_us=until_us, ends_us=ends_us)
            self._lost(error)
        else:
            if not holds:
                self.leaving.note_revoked(visitor)

    async def _keep(self, visitor: VisitorId, until_us: int) -> None:
        try:
            holds = await self.queue.touch(visitor, until_us=until_us, ends_us=IF_CONFIRMED)
        except StoreError as error:
            self._lost(error)
        else:
            if not holds:
                self.leaving.note_revoked(visitor)

    def _run_soon(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
