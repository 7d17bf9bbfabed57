"""A sale opens by the store's clock, in the drawn order, no matter what fails around the opening.

Rules: three replicas, two with wrong clocks, and none of them receives events. The store is on this
machine, so `time.time` is its clock.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from redis.asyncio import Redis

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.config.types import RoomName
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.room.openings import FileEvents, Openings
from tests.builders import SECRET
from tests.integration.replicas.replica_group import (
    Replica,
    RoomVisitor,
    request_all,
    room_config,
    running_replica,
)
from tests.servers import StoreServer, eventually

OPENS_IN_S = 1.5  # after the crowd has arrived
PATIENCE_S = 30.0
CROWD = 24
ERRORS_S = (0.0, 7 * 60.0, -9 * 60.0)


@dataclass
class Sale:
    """Replicas of a room with an event that opens soon, and the results of its visitors."""

    replicas: list[Replica]
    store: StoreServer
    file: FileEvents
    start_s: float = 0.0
    visitors: list[RoomVisitor] = field(default_factory=list)
    admitted: list[list[RoomVisitor]] = field(default_factory=lambda: [[]])
    first_admission_s: float = 0.0

    async def line_up(self) -> None:
        """A crowd in the draw: each visitor has returned the ticket."""
        self.visitors = [RoomVisitor() for _ in range(CROWD)]
        for _ in range(2):
            await request_all(self.visitors, *self.replicas)

    async def open_soon(self) -> None:
        """Move the start, as an operator does."""
        queue = self.replicas[0].room.queue
        state = await queue.read_state()
        [event] = state.schedule.events
        moved = replace(event, start_us=state.now_us + round(OPENS_IN_S * 1_000_000))
        await queue.change_events(state.schedule, state.schedule.with_event(moved))
        self.start_s = moved.start_us / 1_000_000

    async def poll_until(self, end_s: float) -> None:
        """Every visitor polls ten times a second. `admitted` has one list of admitted visitors per
        round. A round in which a replica had no store is joined with the next one."""
        while time.time() < end_s and self.admitted_count < len(self.visitors):
            asking = [each for each in self.visitors if not each.is_admitted]
            is_whole = self._has_store()
            await request_all(asking, *self.replicas)
            entered = [each for each in asking if each.is_admitted]
            if entered and not self.first_admission_s:
                self.first_admission_s = time.time()
            self.admitted[-1] += entered
            if is_whole and self._has_store():
                self.admitted.append([])
            await asyncio.sleep(0.1)

    def _has_store(self) -> bool:
        return all(each.store_up for each in self.replicas)

    @property
    def admitted_count(self) -> int:
        return sum(map(len, self.admitted))

    def assert_order(self) -> None:
        """No visitor was overtaken by a visitor with a later turn.

        The requests of one round reach the store one after the other, with releases in between. So
        all visitors with earlier turns than an admitted visitor are admitted in the next round at
        the latest.
        """
        turns = [[self.turn_us(each) for each in entered] for entered in self.admitted]
        for at, of_round in enumerate(turns):
            still_outside = [turn for later in turns[at + 2 :] for turn in later]
            assert not of_round or max(of_round) < min(still_outside, default=math.inf)

    def turn_us(self, visitor: RoomVisitor) -> int:
        """The turn as the visitors' own replica computes it after the draw."""
        return self.replicas[0].state.schedule.drawn_turn_us(visitor.visitor, visitor.arrival_us)


@asynccontextmanager
async def sale(store: StoreServer, name: RoomName, **keys: object) -> AsyncIterator[Sale]:
    """A sale. Its crowd arrives in the prequeue, before `open_soon`."""
    now_s = time.time()
    event = EventConfig.model_validate(
        {
            "name": "sale",
            "room": name,
            "prequeue": spell_time(round((now_s - 1) * 1_000_000)),
            "start": spell_time(round((now_s + 3600) * 1_000_000)),
            "before": "closed",
        }
    )
    file = FileEvents((event,), SigningKeys((SECRET,)))
    # One at a time, so that each check finds at most one more visitor of the drawn order.
    room = room_config(name, rate="600/min", burst=1, confirm_timeout="1s", **keys)
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                running_replica(
                    room,
                    store_url=store.url,
                    clock_error_s=error_s,
                    openings=partial(Openings, file=file),
                )
            )
            for error_s in ERRORS_S
        ]
        yield Sale(replicas, store, file)


async def nothing(_sale: Sale) -> None: ...


async def pause_the_store(sale: Sale) -> None:
    await asyncio.sleep(sale.start_s - time.time() - 0.4)
    sale.store.pause()
    await asyncio.sleep(1.2)
    sale.store.resume()


async def empty_the_store(sale: Sale, *, after_start_s: float) -> None:
    await asyncio.sleep(sale.start_s - time.time() + after_start_s)
    async with Redis.from_url(sale.store.url) as client:
        await client.flushall()


@pytest.mark.parametrize(
    "trouble",
    [
        nothing,
        pause_the_store,
        partial(empty_the_store, after_start_s=-0.5),
        partial(empty_the_store, after_start_s=0.6),
    ],
    ids=["none", "store paused", "store emptied before", "store emptied after"],
)
async def test_no_visitor_is_early_and_none_loses_the_turn(
    private_store: StoreServer,
    room_name: RoomName,
    trouble: Callable[[Sale], Awaitable[None]],
) -> None:
    async with sale(private_store, room_name) as opening:
        await opening.line_up()
        await opening.open_soon()
        async with asyncio.TaskGroup() as group:
            group.create_task(_await(trouble(opening)))
            group.create_task(opening.poll_until(opening.start_s + PATIENCE_S))

        assert opening.admitted_count == CROWD
        assert opening.first_admission_s > opening.start_s
        opening.assert_order()
        turns = [opening.turn_us(each) for each in opening.visitors]
        assert turns != sorted(turns)
        await eventually(lambda: len({each.state.events for each in opening.replicas}) == 1)
        assert all(each.drawn for each in opening.replicas[0].state.schedule.events)


async def _await(work: Awaitable[None]) -> None:
    await work


async def test_replica_that_starts_in_mid_event_draws_the_same_order(
    private_store: StoreServer, room_name: RoomName
) -> None:
    async with sale(private_store, room_name) as opening:
        await opening.line_up()
        await opening.open_soon()
        await opening.poll_until(opening.start_s + 0.3)
        await eventually(lambda: opening.replicas[0].state.schedule.events[0].drawn)
        room = room_config(room_name, rate="600/min", burst=1, confirm_timeout="1s")
        async with running_replica(
            room, store_url=private_store.url, openings=partial(Openings, file=opening.file)
        ) as late:
            known = opening.replicas[0].state.schedule
            assert late.state.schedule.events[0].drawn == known.events[0].drawn
            opening.replicas[:] = [late]
            await opening.poll_until(opening.start_s + PATIENCE_S)
        assert opening.admitted_count == CROWD
        opening.assert_order()
