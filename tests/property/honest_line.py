"""A line of honest visitors in virtual time: the real scripts, replicas that lose the store, a
check that no visitor is released ahead of a visitor that has not returned yet, and the judge of the
order of admissions.

A visitor polls at the poll interval, up to 15 % earlier or later, at any replica, except during a
silence. A paused replica reads the poll when it resumes. If the store hangs, the poll fails a
second later. If the replica has ended, the poll fails at once, and is repeated after twice the
interval, like on the page.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import EnterWithoutStore, QueuePosition, SlotGrant, decide
from gatekeeper.policy.next_token import conclude, ticket_of
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.visitor_calls import ArrivalRequest, poll_of
from gatekeeper.simulate.judge import Order
from gatekeeper.web.waiting_status import waiting_status_of
from tests.contract.grounds import EmulatedGround
from tests.property.line_replicas import HonestVisitor, LineReplica, Release

ROOM = RoomName("line")
_TICK_S, _IDLE_TICK_S, _TIMEOUT_S = 0.25, 1.0, 1.0
_TRIP_S = 0.2  # maximum, request and response together
# What visitors receive, in multiples of the interval for their place: the order may not depend on
# the intervals of a line that moves evenly.
_STRETCHED = (1, 1, 1, 1, 3, 9)


class HonestLine:
    """The room and everything that happens to it. `now_s` is the common time."""

    def __init__(
        self,
        *,
        seed: int,
        rate_per_minute: float,
        replicas: int = 3,
        max_active: int = 0,
        stretched: Sequence[int] = _STRETCHED,
        **keys: object,
    ) -> None:
        self.random = Random(seed)
        self.stretched = stretched
        self.order = Order()
        self.loop = asyncio.new_event_loop()
        self.ground = EmulatedGround(ROOM)
        self.began_us = self.ground.rules.clock_us
        self.rules = replace(
            Rules.of(
                RoomConfig.model_validate(
                    {"name": ROOM, "burst": 3, "max_active": max_active} | keys
                )
            ),
            rate_per_minute=rate_per_minute,
        )
        self.visitors: list[HonestVisitor] = []
        self.early: list[Release] = []
        self.admitted: list[tuple[float, int]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self.now_s = self.began_us / 1_000_000
        self.behind_us = 0  # the store's clock
        self.replicas: list[LineReplica] = []
        for _ in range(replicas):
            self.start_replica()

    # Time

    def at(self, in_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + in_s, next(self._number), action))

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._events and self._events[0][0] <= until_s:
            at_s, _, action = heapq.heappop(self._events)
            self._set_clock(at_s)
            action()
        self._set_clock(until_s)

    def _set_clock(self, at_s: float) -> None:
        self.now_s = max(self.now_s, at_s)
        store_us = round(self.now_s * 1_000_000) - self.behind_us
        self.ground.rules.clock_us = max(self.ground.rules.clock_us, store_us)

    # Events of a room

    def start_replica(self) -> None:
        replica = LineReplica(
            self.rules, self.ground, name=f"r{next(self._number)}", now_s=lambda: self.now_s
        )
        self.replicas.append(replica)
        self.loop.run_until_complete(replica.queue.join(starting=True))
        self._tick(replica)

    def end_replica(self, at: int) -> None:
        running = self.running()
        if len(running) > 1:
            running[at % len(running)].has_ended = True

    def pause_replica(self, at: int, seconds: float) -> None:
        running = self.running()
        running[at % len(running)].paused_until_s = self.now_s + seconds

    def lose_line(self) -> None:
        self.ground.rules.data.clear()

    def roll_back(self, after_s: float, behind_s: float = 0.0) -> None:
        """In `after_s` seconds, the store gets its present data back, on a server with a clock that
        is `behind_s` behind."""
        copy = deepcopy(self.ground.rules.data)
        self.at(after_s, lambda: self._fail_over(copy, behind_us=round(behind_s * 1_000_000)))

    def _fail_over(self, copy: dict[str, Any], *, behind_us: int) -> None:
        self.ground.rules.data = copy
        self.ground.rules.clock_us += self.behind_us - behind_us
        self.behind_us = behind_us

    def cut(self, seconds: float, *, at: int | None = None, hangs: bool = False) -> None:
        """Make the store unreachable, for all replicas or for one."""
        running = self.running()
        replicas = running if at is None else [running[at % len(running)]]
        for replica in replicas:
            replica.store.is_cut, replica.hangs = True, hangs
            self.at(seconds, lambda each=replica: setattr(each.store, "is_cut", False))  # type: ignore[misc]

    def set_rate(self, rate_per_minute: float) -> None:
        for replica in self.reaching():
            self.loop.run_until_complete(replica.queue.set_rate(rate_per_minute))
            return

    def release(self, visitors: int) -> None:
        """Release visitors by an operator, at once."""
        for replica in self.reaching():
            self.loop.run_until_complete(replica.queue.allow(visitors))
            self._advance(replica)
            return

    def reaching(self) -> list[LineReplica]:
        """The replicas that can reach the store."""
        return [each for each in self.running() if not each.store.is_cut]

    def fall_silent(self, visitors: int, seconds: float) -> None:
        """Some visitors do not poll for `seconds`."""
        waiting = [each for each in self.visitors if each.waits]
        for each in self.random.sample(waiting, min(visitors, len(waiting))):
            each.silent_until_s = self.now_s + seconds

    def running(self) -> list[LineReplica]:
        return [each for each in self.replicas if not each.has_ended]

    # Visitors

    def arrive(self, visitors: int) -> None:
        for _ in range(visitors):
            replica = self.random.choice(self.running())
            if replica.store.is_cut or replica.paused_until_s > self.now_s:
                continue
            name = VisitorId(f"v{next(self._number):06}")
            request = ArrivalRequest(name, may_enter=False)
            position = self.loop.run_until_complete(replica.queue.arrive(request))
            assert isinstance(position, QueuePosition)
            ticket = ticket_of(
                name, arrival_us=position.turn_us, rules=self.rules, now_s=self.now_s
            )
            visitor = HonestVisitor(name, ticket)
            self.visitors.append(visitor)
            self.order.request_began(visitor.place, now_s=self.now_s)
            self._tell(replica, visitor, position, is_new=True)

    def _poll(self, visitor: HonestVisitor) -> None:
        if visitor.has_entered or visitor.is_gone:
            return
        if visitor.silent_until_s > self.now_s:
            self.at(visitor.silent_until_s - self.now_s, lambda: self._poll(visitor))
            return
        visitor.silent_until_s = 0.0
        self.order.request_began(visitor.place, now_s=self.now_s)
        replica = self.random.choice(self.replicas[-6:])
        if replica.has_ended:
            if all(each.has_ended for each in self.replicas[-6:]):
                replica = self.running()[0]
            else:
                self.at(2 * visitor.interval_s, lambda: self._poll(visitor))
                return
        if replica.paused_until_s > self.now_s:
            # After the pacer's first tick, in the worst case.
            self.at(
                replica.paused_until_s - self.now_s + 0.05, lambda: self._read(visitor, replica)
            )
            return
        self._read(visitor, replica)

    def _read(self, visitor: HonestVisitor, replica: LineReplica) -> None:
        """The replica reads the poll."""
        if visitor.has_entered or visitor.is_gone:
            return
        if replica.has_ended:
            self.at(2 * visitor.interval_s, lambda: self._poll(visitor))
            return
        position = None
        if replica.view.store_up:
            try:
                standing = self.loop.run_until_complete(
                    _standing(replica.queue, visitor.ticket, visitor.turn_us)
                )
            except StoreError:
                if replica.hangs:
                    self.at(_TIMEOUT_S, lambda: self._fail(visitor, replica))
                    return
                replica.view.note_store_down()
            else:
                if isinstance(standing, SlotGrant):
                    self._enter(visitor)
                    return
                assert isinstance(standing, QueuePosition)
                position, visitor.is_confirmed = standing, True
        if position is None and self._enters_without_store(visitor, replica):
            return
        self._tell(replica, visitor, position)

    def _enter(self, visitor: HonestVisitor) -> None:
        visitor.has_entered = True
        self.admitted.append((self.now_s, visitor.turn_us))
        self.order.received_admitted(visitor.place)

    def _enters_without_store(self, visitor: HonestVisitor, replica: LineReplica) -> bool:
        decision = decide(
            visitor.ticket, replica.view.decisive, rules=self.rules, now_s=replica.view.now_s()
        )
        if not isinstance(decision, EnterWithoutStore):
            return False
        replica.entered.append(visitor.name)
        self._enter(visitor)
        return True

    def _fail(self, visitor: HonestVisitor, replica: LineReplica) -> None:
        if not replica.has_ended:
            replica.view.note_store_down()
            if not self._enters_without_store(visitor, replica):
                self._tell(replica, visitor, None)
        else:
            self.at(2 * visitor.interval_s, lambda: self._poll(visitor))

    def _tell(
        self,
        replica: LineReplica,
        visitor: HonestVisitor,
        position: QueuePosition | None,
        *,
        is_new: bool = False,
    ) -> None:
        view = replica.view
        if not is_new and position is not None:
            ticket = conclude(
                visitor.name, position, visitor.ticket, rules=self.rules, now_s=self.now_s
            )
            assert isinstance(ticket, Ticket)
            visitor.ticket = ticket
        visitor.place.turn_us = visitor.turn_us
        estimate, about_ahead = view.estimated(visitor.ticket, position)
        status = waiting_status_of(
            visitor.ticket,
            estimate,
            view.state,
            rules=self.rules,
            newcomer=is_new,
            about_ahead=about_ahead,
        )
        visitor.interval_s = status.refresh_seconds * self.random.choice(self.stretched)
        self._judge(visitor, position, is_new=is_new)
        view.note_poll_interval(visitor.ticket, position, visitor.interval_s)
        pause_s = visitor.interval_s * self.random.uniform(0.85, 1.15)
        self.at(pause_s + self.random.uniform(0.0, _TRIP_S), lambda: self._poll(visitor))

    def _judge(
        self, visitor: HonestVisitor, position: QueuePosition | None, *, is_new: bool
    ) -> None:
        place, interval_s = visitor.place, visitor.interval_s
        if is_new:
            self.order.received_ticket(place, now_s=self.now_s, poll_interval_s=interval_s)
            return
        self.order.received_waiting(
            place, now_s=self.now_s, poll_interval_s=interval_s, known=position is not None
        )

    # Pacers

    def _tick(self, replica: LineReplica) -> None:
        if replica.has_ended:
            return
        if replica.paused_until_s > self.now_s:
            self.at(replica.paused_until_s - self.now_s, lambda: self._tick(replica))
            return
        pause_s = _IDLE_TICK_S * self.random.uniform(0.9, 1.0)
        try:
            self._advance(replica)
        except StoreError:
            replica.view.note_store_down()
            pause_s = _TICK_S + (_TIMEOUT_S if replica.hangs else 0.0)
        else:
            if replica.view.is_recovering:
                pause_s = _TICK_S
        self.at(pause_s * self.random.uniform(0.9, 1.0), lambda: self._tick(replica))

    def _advance(self, replica: LineReplica) -> None:
        state, released = self.loop.run_until_complete(replica.queue.advance())
        self._touch(replica)
        replica.view.note_store_up()
        for other in self.running():
            if other is not replica and other.paused_until_s <= self.now_s:
                other.view.update_from_replica(state, sent_at_s=self.now_s)
        if released and state.recovering_until_us > state.now_us:
            self._check_early(state)

    def _touch(self, replica: LineReplica) -> None:
        until_us = round(self.now_s * 1_000_000) + 3_600_000_000
        for name in replica.entered:
            self.loop.run_until_complete(_touched(replica.queue, name, until_us))
        replica.entered.clear()

    def _check_early(self, state: RoomState) -> None:
        data = {key.rpartition(":")[2]: value for key, value in self.ground.rules.data.items()}
        known = {*data.get("queue", {}), *data.get("active", {})}
        past = [
            each.name
            for each in self.visitors
            if each.waits
            and each.turn_us < state.watermark_us
            and each.name not in known
            and not each.silent_until_s
        ]
        assert not past, f"released past {past}, {self.now_s - self.began_us / 1e6:.2f} s"
        self.early.append(Release(self.now_s, state.watermark_us))

    def close(self) -> None:
        self.loop.close()


async def _touched(queue: Queue, name: VisitorId, until_us: int) -> bool:
    return await queue.touch(name, until_us=until_us, ends_us=until_us)


async def _standing(queue: Queue, ticket: Ticket, turn_us: int) -> object:
    return await queue.poll(poll_of(ticket, turn_us))
