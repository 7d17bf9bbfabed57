"""Who leaves while the store is away: they are out, and stay so when it is back."""

import asyncio
from functools import partial

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.room import replica as room_replica
from tests.integration.failure.outage import NOBODY, QUICK, Loss, back, bring_back, lost
from tests.integration.replicas.replica_group import (
    Principal,
    ask,
    config,
    hasty_replica,
    line_up,
    running_operator,
    those_in,
)
from tests.servers import StoreServer, eventually


async def test_one_who_leaves_without_the_store_is_in_nowhere_and_stays_out_when_it_is_back(
    private_store: StoreServer, events_url: str, room_name: RoomName
) -> None:
    keys = config(room_name, **NOBODY, **QUICK)
    start = partial(hasty_replica, store_url=private_store.url, events_url=events_url)
    async with start(keys) as other:
        async with (
            start(keys) as first,
            running_operator(keys, store_url=private_store.url) as operator,
        ):
            people = await line_up(2, first)
            tickets = [person.token for person in people]
            await operator.allow(2)
            await eventually(lambda: other.state.watermark_us == people[1].arrival_us)
            private_store.pause()
            await ask(people, first)
            assert those_in(people) == [0, 1]
            await first.live.leave([people[0].visitor])
            await eventually(lambda: people[0].visitor in other.live.view.revoked())
            again = [Principal(ticket) for ticket in tickets]
            await ask(again, other)
            assert those_in(again) == [1]
            assert again[0].token != tickets[0]
        private_store.resume()  # the first, which was told, is gone
        await back(other)
        async with start(keys) as third:
            again = [Principal(ticket) for ticket in tickets]
            await ask(again, third)
            assert those_in(again) == [1]


async def test_of_those_who_leave_the_line_without_the_store_a_bounded_number_is_remembered(
    private_store: StoreServer, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_replica, "_MOST_LEFT_UNTOLD", 2)
    keys = config(room_name, **NOBODY)
    async with (
        hasty_replica(keys, store_url=private_store.url) as replica,
        running_operator(keys, store_url=private_store.url) as operator,
    ):
        inside, *waiting = await line_up(6, replica)
        await operator.allow(1)
        await eventually(lambda: replica.state.watermark_us == inside.arrival_us)
        await inside.ask(replica)
        assert inside.is_in
        private_store.pause()
        for person in waiting:
            assert person.token is not None
            await replica.entrance.leave(person.token)
        assert inside.token is not None
        await replica.entrance.leave(inside.token)
        known = replica.live.view.revoked()
        assert [*known] == [waiting[0].visitor, waiting[1].visitor, inside.visitor]
        private_store.resume()
        await back(replica)
        state = await operator.status()
        assert (state.revocations, state.active, state.queue_length) == (3, 0, 3)


async def test_one_who_left_while_the_store_was_away_is_swept_once_they_had_time_to_return(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = {**NOBODY, **QUICK}
    async with hasty_replica(config(room_name, **keys), store_url=private_store.url) as replica:
        gone, *people = await line_up(3, replica)
        await ask([gone, *people], replica)
        private_store.pause()
        await asyncio.sleep(4)
        private_store.resume()
        await back(replica)

        async with asyncio.timeout(6):
            while replica.state.queue_length != 2:
                await asyncio.sleep(0.1)
                await ask(people, replica)
        await ask(people, replica)
        assert [person.position for person in people] == [1, 2]
        assert gone.waits
        await gone.ask(replica)
        assert gone.position == 1  # and keeps the place for as long as the ticket lasts


async def test_who_left_while_the_store_was_away_has_no_place_when_it_is_back(
    private_store: StoreServer, room_name: RoomName, lose: Loss
) -> None:
    async with (
        hasty_replica(config(room_name, **NOBODY), store_url=private_store.url) as first,
        hasty_replica(config(room_name, **NOBODY), store_url=private_store.url) as second,
    ):
        people = await line_up(5, first)
        await asyncio.sleep(1.1)
        lose(private_store)
        await Principal().ask(first)
        await lost(first)
        visitors = [person.token.visitor for person in people[:2] if person.token]
        await first.live.leave(visitors)
        assert not first.store_up
        assert all(visitor in first.live.view.decisive.revoked for visitor in visitors)
        bring_back(private_store)
        await back(first, second)
        await eventually(
            lambda: all(visitor in second.live.view.decisive.revoked for visitor in visitors)
        )
        await ask(people[2:], second)
        assert [person.position for person in people[2:]] == [1, 2, 3]
