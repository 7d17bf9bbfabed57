"""A room on one replica: the queue, the view and the pacer.

Rules. A store outage ends here: it becomes `view.store_up = False`, an input of the decision, and
`None` to the caller. From then on only the pacer calls the store, so that no timeouts pile up; the
store is up again once all pending writes are written. A replica that starts meanwhile joins when
the store recovers; until then it knows the newest state that the others publish. The pacer calls at
every tick, so that a replica without events is right within a tick. There is no leader: a call
releases what is due at that instant, and finds nothing left if another was first
(`tick_schedule`).
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
from gatekeeper.room.batching import BATCH_LIMIT
from gatekeeper.room.events import Events
from gatekeeper.room.move_request import MoveRequest, MoveResult
from gatekeeper.room.openings import FileEvents, Openings
from gatekeeper.room.pending_writes import PendingWrites
from gatekeeper.room.queue import UNCONFIRMED, Queue
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
_NEW_TO_STORE_US = 10_000_000  # a newcomer returns the ticket within that
_MOST_REVOKED = 1_000_000  # visitors who leave by themselves
_MOST_REVOKED_BY_LEAVING = 100_000  # of them, while the store is unreachable

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
            on_loss=self._revoke_again,
            on_backlog=self.wake,
        )
        self._openings = openings(self.queue)
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
        self._pending = PendingWrites(
            self.queue, on_revoked=self._report_revoked, on_refused=self._revoked_elsewhere
        )
        self._has_joined = self._is_late = False
        self._revoked_again_in = 0  # the epoch
        self.on_revoked: Callable[[Sequence[VisitorId]], None] = lambda _visitors: None

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

    def follow(self, rules: Rules, *, rejoin: bool) -> None:
        """Other rules from now on. `rejoin`: of a changed file, which the store is to know."""
        self.rules = self.queue.rules = rules
        self._is_late |= rejoin  # it may have stamped visitors
        self._has_joined &= not rejoin
        self.wake()

    def follow_events(self, file: FileEvents) -> None:
        """The events of the configuration from now on."""
        if file != self._openings.file:
            self._openings.file = file
            self._reloads_events = True
            self.follow(self.rules, rejoin=True)

    async def close(self) -> None:
        await self._stop_pacing()
        await self._openings.close()
        if self._background:
            await asyncio.wait(self._background)
        await self.queue.close()

    async def _stop_pacing(self) -> None:
        self._stopping = True
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.wait([self._pacer])

    # The requests of the gate. None: the store did not respond, decide again without it.

    async def arrive(self, request: ArrivalRequest) -> NewcomerStanding | None:
        """A newcomer's slot or place, if the line has room."""
        return await self._replied(self.queue.arrive(request))

    async def arrive_invited(self, request: ArrivalRequest) -> InvitedStanding | None:
        """The place of an invited visitor, on one of their devices."""
        return await self._replied(self.queue.arrive_invited(request))

    async def move(self, request: MoveRequest) -> MoveResult | None:
        """Make the place of a visitor in line that of another device."""
        return await self._replied(self.queue.move(request)) if self.view.store_up else None

    async def take_admission(self) -> bool | None:
        """One admission for a request that creates no place; False: there is no room."""
        return await self._replied(self.queue.take_admission()) if self.view.store_up else None

    async def _replied(self, call: Awaitable[_Reply]) -> _Reply | None:
        try:
            return await call
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

    async def leave(self, visitors: Sequence[VisitorId], *, by_visitor: bool = False) -> bool:
        """Give back places and slots; the visitors' tokens are void at once, on every replica.

        Origins and operators are always obeyed. False: nothing was done, since more visitors left
        than all replicas remember, and any client can do that. Their slots end with their passes.
        """
        if by_visitor and len(self.view.revoked()) >= _MOST_REVOKED:
            return False
        self.receive_revoked(visitors, count=0)
        if self.view.store_up:
            try:
                state, _ = await self.queue.leave(visitors)
            except StoreError as error:
                self._lost(error)
            else:
                self._pending.remove_revoked(visitors)
                await self._report_revoked(visitors, state.revocations)
                self.wake()
                return True
        await self._events.publish_revoked(self.rules.room, visitors, count=0)
        return True

    async def leave_line(
        self, visitors: Sequence[VisitorId], devices: Sequence[str | None] = ()
    ) -> bool:
        """Visitors with tickets, of these devices, give back their places. Only the store remembers
        that; while it is unreachable all replicas do, for fewer visitors: beyond that a kept ticket
        stays valid. So does one of a device: only the store knows whether another holds the place.
        False: nothing was done.
        """
        if self.view.store_up:
            call = self.queue.leave(visitors, with_tickets=True, devices=devices)
            if (reply := await self._replied(call)) is not None:
                # And perhaps a pass, which every replica accepts by itself.
                left = zip(visitors, reply[1], strict=True)
                if inside := [each for each, what in left if what == "slot"]:
                    await self.leave(inside, by_visitor=True)
                return True
        if devices:
            visitors = [each for each, of in zip(visitors, devices, strict=True) if of is None]
        if not visitors or len(self.view.revoked()) >= _MOST_REVOKED_BY_LEAVING:
            return False
        return await self.leave(visitors, by_visitor=True)

    def touch_soon(self, pass_: Pass) -> None:
        """Extend the slot in the store to the expiry of the pass, in the background. The slot of a
        pass that was given without the store is a guess until the pass is used."""
        until_us = round(pass_.expires_at_s * 1_000_000)
        ends_us = round(pass_.ends_at_s * 1_000_000)
        if not pass_.confirmed:
            until_us = round((pass_.issued_at_s + self.rules.unconfirmed_slot_s) * 1_000_000)
            ends_us = UNCONFIRMED
        if self.view.store_up:
            self._run_soon(self._touch(pass_.visitor, until_us=until_us, ends_us=ends_us))
        else:
            self._pending.add_touched(pass_.visitor, until_us=until_us, ends_us=ends_us)

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
        """Their arrival, microseconds: after every released turn."""
        came_us, released_us = round(came_s * 1_000_000), self.view.decisive.watermark_us
        self._last_stamp_us = max(self._last_stamp_us, released_us, came_us) + 1
        return self._last_stamp_us

    def place_soon(self, request: PollRequest) -> None:
        """A ticket was returned: put its visitor into the queue when the store recovers, unless the
        ticket is so old that the store knows them."""
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

    def _note_tick_of(self, state: RoomState) -> None:
        """Another replica has just called the store and published: this one need do neither."""
        ago_s = max(self.view.now_s() - state.now_us / 1_000_000, 0.0)
        self._schedule.note_call_of_another(ago_s=ago_s)
        self._publisher.note_published(state)

    def receive_revoked(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        """`count` 0: not in the store yet. Every receiver writes it, for the sender may stop."""
        if count == 0:
            self._pending.add_revoked(visitors)
        self._revoke(visitors, count=count)

    def _revoke(self, visitors: Sequence[VisitorId], *, count: int) -> None:
        until_s = self.view.now_s() + self.rules.revoked_for_s
        self.view.revoke(visitors, until_s=until_s, count=count)
        self.on_revoked(visitors)

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
                # A pacer that ended would hold this replica's visitors without limit.
                log.exception("tick_failed", room=self.rules.room)
            await self._schedule.pause(self.view, self.rules)

    async def _tick(self) -> None:
        held = self.view.state
        if not self._has_joined:
            await self._join()
        await self._write_pending()
        state, _ = await self.queue.advance()
        await self._openings.step(state)
        self.view.settle(held)
        if not self.view.store_up:
            await self._write_pending()  # also what was added since this tick began
            if self._is_late or self._recovered_at_s:
                log.info("store_recovered", room=self.rules.room)
            self.view.regain_store()
            self._recovered_at_s = self.view.now_s()
        if self.view.store_state is not None:
            count = self.view.store_state.revocations
            await learn_revocations(self.queue, self.view, count, on_revoked=self.on_revoked)
        self.view.forget_expired()
        metrics.store_up.labels(self.rules.room).set(1)
        metrics.events_up.set(self._events.connected())
        await self._publish()

    async def _join(self) -> None:
        if self._is_late:  # not a plain start: it has stamped visitors, as others may have
            await self.queue.join()
        state = await self.queue.join(starting=True)
        await self._openings.merge(state, reloads=self._reloads_events)
        self._reloads_events = False
        self._has_joined = True

    async def _write_pending(self) -> None:
        try:
            await self._pending.write()
        except StoreFull as error:
            self._lost(error)

    async def _publish(self) -> None:
        if self.view.store_state is not None:
            await self._publisher.publish(self.view.store_state, sent_at_s=self.view.now_s())

    # Revocations.

    async def _report_revoked(self, visitors: Sequence[VisitorId], count: int) -> None:
        """The store has these revocations, which makes `count` in all."""
        until_s = self.view.now_s() + self.rules.revoked_for_s
        self.view.revoke(visitors, until_s=until_s, count=count)
        await self._events.publish_revoked(self.rules.room, visitors, count=count)

    def _revoked_elsewhere(self, visitor: VisitorId) -> None:
        self._revoke([visitor], count=0)

    def _revoke_again(self) -> None:
        """The store lost data, and may have lost any of the revocations."""
        epoch = self.view.store_state.epoch if self.view.store_state else 0
        if epoch == self._revoked_again_in:  # another call has found the same loss
            return
        self._revoked_again_in = epoch
        log.warning("store_data_lost", room=self.rules.room)
        self._pending.add_revoked(self.view.revoked())
        self.wake()

    # Outages and background calls.

    def _lost(self, error: StoreError) -> None:
        now_s = self.view.now_s()
        if isinstance(error, StoreFull):
            # No outage: it still releases and removes. What it refused is kept here or in tokens.
            if now_s - self._logged_full_at_s > _LOG_AGAIN_AFTER_S:
                self._logged_full_at_s = now_s
                log.error("store_full", room=self.rules.room)
            return
        if not self.view.store_up:
            return
        log.warning("store_unreachable", room=self.rules.room, error=error.public)
        self.view.lose_store()
        # The store has spent the rest of the last outage's share.
        self._share = LocalBucket(self.rules)
        metrics.store_up.labels(self.rules.room).set(0)
        if now_s - self._recovered_at_s > PUBLISH_AT_LEAST_EVERY_S:
            self.wake()  # one slow call is no outage: call again at once, but not in a loop

    async def _touch(self, visitor: VisitorId, *, until_us: int, ends_us: int) -> None:
        try:
            holds = await self.queue.touch(visitor, until_us=until_us, ends_us=ends_us)
        except StoreError as error:
            self._pending.add_touched(visitor, until_us=until_us, ends_us=ends_us)
            self._lost(error)
        else:
            if not holds:
                self._revoked_elsewhere(visitor)

    def _run_soon(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
