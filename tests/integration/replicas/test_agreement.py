"""Replicas agree: one that starts late, one whose clock is wrong, all of them once restarted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room import replica as room_replica
from gatekeeper.room.operator import Operator
from gatekeeper.web.admission import Deny
from tests.integration.replicas.replica_group import (
    Principal,
    Replica,
    ask,
    config,
    line_up,
    running_operator,
    running_replica,
    those_in,
)
from tests.servers import StoreServer, eventually

MINUTES_S = 60.0


@pytest.fixture
def nobody(room_name: RoomName) -> RoomConfig:
    """A room that lets in only what is granted."""
    return config(room_name, rate=0, burst=1)


async def test_a_replica_that_starts_late_is_right_at_once(
    store_url: str, events_url: str, nobody: RoomConfig
) -> None:
    urls = (store_url, events_url)
    async with (
        running_replica(nobody, store_url=urls[0], events_url=urls[1]) as first,
        running_operator(nobody, store_url=urls[0], events_url=urls[1]) as operator,
    ):
        people = await line_up(10, first)
        await operator.set_rate(0.25)
        await operator.allow(3)
        for person in people[8:]:
            assert person.token is not None
            await operator.revoke(person.token.visitor)
        await operator.set_mode(Mode.HOLD)
        await eventually(lambda: first.state.mode is Mode.HOLD)
        async with running_replica(nobody, store_url=urls[0], events_url=urls[1]) as late:
            assert late.store_up
            view = late.live.view.decisive
            assert (view.phase, view.watermark_us) == (Phase.HELD, people[2].arrival_us)
            assert late.state.rate_per_minute == 0.25
            assert all(p.token and p.token.visitor in view.revoked for p in people[8:])
            await ask(people[:8], late)
            assert those_in(people) == [0, 1, 2]
            assert [person.position for person in people[3:8]] == [1, 2, 3, 4, 5]


async def test_two_replicas_whose_clocks_are_minutes_off_agree(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = config(room_name, rate=0, burst=1, session_idle_timeout="2s", place_ttl="10m")
    url = private_store.url
    async with (
        running_replica(keys, store_url=url, clock_error_s=7 * MINUTES_S) as ahead,
        running_replica(keys, store_url=url, clock_error_s=-9 * MINUTES_S) as behind,
        running_operator(keys, store_url=url) as operator,
    ):
        people = [Principal() for _ in range(20)]
        for turn, person in enumerate(people):
            await person.ask((ahead, behind)[turn % 2])
        assert all(one.arrival_us < next_.arrival_us for one, next_ in pairwise(people))
        assert abs(ahead.live.view.now_s() - behind.live.view.now_s()) < 0.1
        await operator.allow(5)
        await ask(reversed(people), ahead, behind)
        await ask(people, behind, ahead)
        assert those_in(people) == [*range(5)]
        for _ in range(8):  # longer than a session: each renews what the other gave
            await asyncio.sleep(0.4)
            await ask(people, ahead, behind)
            await ask(people, behind, ahead)
            assert those_in(people) == [*range(5)]
        await asyncio.sleep(2.5)  # now nobody used it
        passes = [person.token for person in people[:5]]
        assert all(token and token.expires_at_s < ahead.live.view.now_s() for token in passes)

        private_store.pause()
        await ask(people[5:], ahead, behind)
        stamped = [Principal() for _ in range(10)]
        for turn, person in enumerate(stamped):
            await person.ask((ahead, behind)[turn % 2])
            await asyncio.sleep(0.005)
        assert all(one.arrival_us < next_.arrival_us for one, next_ in pairwise(stamped))
        assert people[-1].arrival_us < stamped[0].arrival_us
        private_store.resume()
        await eventually(lambda: ahead.store_up and behind.store_up)
        await ask(stamped, behind, ahead)
        assert [person.position for person in stamped] == [*range(16, 26)]


async def test_replicas_whose_clocks_are_minutes_off_release_in_order_and_by_the_stores_clock(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    keys = config(room_name, rate="1200/min", burst=5)
    start = partial(running_replica, keys, store_url=store_url, events_url=events_url)
    async with (
        start(clock_error_s=7 * MINUTES_S) as ahead,
        start(clock_error_s=-9 * MINUTES_S) as behind,
        start() as right,
    ):
        began_s = time.monotonic()
        people = await line_up(60, ahead, behind, right)
        before: list[int] = []
        while len(before) < 60:
            await ask(people, behind, right, ahead)
            now = those_in(people)
            outside = [at for at in range(60) if at not in now]
            assert not before or not outside or max(before) < min(outside)
            assert len(now) <= 5 + 20 * (time.monotonic() - began_s)
            before = now
            await asyncio.sleep(0.05)


@asynccontextmanager
async def ann_was_released_and_bob_waits(
    store_url: str, room: RoomConfig
) -> AsyncIterator[tuple[list[Replica], Operator, Principal, Principal]]:
    """Two replicas that know of it, and the operator who did it."""
    async with (
        running_replica(room, store_url=store_url) as first,
        running_replica(room, store_url=store_url) as second,
        running_operator(room, store_url=store_url) as operator,
    ):
        ann, bob = await line_up(2, first)
        await operator.allow(1)
        await eventually(lambda: second.state.watermark_us == ann.arrival_us)
        yield [first, second], operator, ann, bob


async def test_a_ticket_redeemed_at_several_replicas_at_once_takes_one_slot_and_one_admission(
    store_url: str, nobody: RoomConfig
) -> None:
    async with ann_was_released_and_bob_waits(store_url, nobody) as (replicas, operator, ann, _):
        browsers = [Principal(ann.token) for _ in range(6)]
        await ask(browsers, *replicas)
        assert those_in(browsers) == [*range(6)]
        assert {browser.visitor for browser in browsers} == {ann.visitor}
        state = await operator.status()
        assert (state.active, state.admitted_total, state.queue_length) == (1, 1, 1)


async def test_one_who_leaves_while_they_ask_elsewhere_has_neither_place_nor_slot_afterwards(
    store_url: str, nobody: RoomConfig
) -> None:
    async with ann_was_released_and_bob_waits(store_url, nobody) as (replicas, operator, ann, bob):
        first, second = replicas
        for person in (ann, bob):  # one who was released, and one who waits
            assert person.token is not None
            old = person.token
            at_once = [Principal(old) for _ in range(4)]
            await asyncio.gather(ask(at_once, first, second), first.entrance.leave(old))
            outcome = await second.entrance.admit(old, newcomers=False)
            assert isinstance(outcome, Deny)
        assert (await operator.status()).active == 0


async def test_what_was_set_at_run_time_outlives_every_replica(
    store_url: str, nobody: RoomConfig
) -> None:
    async with (
        running_replica(nobody, store_url=store_url) as first,
        running_operator(nobody, store_url=store_url) as operator,
    ):
        people = await line_up(4, first)
        await operator.set_rate(0.5)
        await operator.set_mode(Mode.HOLD)
        await operator.allow(2)
    async with running_replica(nobody, store_url=store_url) as again:
        assert (again.state.mode, again.state.rate_per_minute) == (Mode.HOLD, 0.5)
        assert again.state.pending_grants == 2
        await ask(people, again)
        assert [person.position for person in people] == [1, 2, 3, 4]
        async with running_operator(nobody, store_url=store_url) as operator:
            await operator.set_mode(Mode.AUTO)
        await eventually(lambda: again.state.released_total == 2)
        await ask(people, again)
        assert those_in(people) == [0, 1]


async def test_a_revocation_reaches_other_replicas_by_event_before_they_ask(
    store_url: str, events_url: str, nobody: RoomConfig
) -> None:
    async with (
        running_replica(nobody, store_url=store_url, events_url=events_url) as first,
        running_replica(nobody, store_url=store_url, events_url=events_url) as second,
    ):
        await eventually(lambda: first.events.connected() and second.events.connected())
        await second.live._stop_pacing()
        [person] = await line_up(1, first)
        await first.live.queue.allow(1)
        await eventually(lambda: first.state.released_total == 1)
        await person.ask(first)
        pass_ = person.token
        assert pass_ is not None
        assert person.is_in
        await first.live.leave([pass_.visitor])
        await eventually(lambda: pass_.visitor in second.live.view.decisive.revoked)
        assert isinstance(await second.entrance.standing(pass_), Deny)


async def test_those_who_come_and_leave_the_line_are_no_burden_to_replicas(
    store_url: str, nobody: RoomConfig
) -> None:
    async with (
        running_replica(nobody, store_url=store_url) as first,
        running_replica(nobody, store_url=store_url) as second,
    ):
        people = await line_up(50, first)
        for person in people[:40]:
            assert person.token is not None
            await first.entrance.leave(person.token)
        await eventually(lambda: second.state.queue_length == 10)
        for replica in (first, second):
            assert replica.state.revocations == 0
            assert not replica.live.view.revoked()
            assert isinstance(await replica.entrance.standing(people[0].token), Deny)
        await ask(people[40:], second)
        assert [person.position for person in people[40:]] == [*range(1, 11)]


async def test_thousands_of_revocations_reach_a_replica_without_events_and_one_that_starts(
    store_url: str, nobody: RoomConfig
) -> None:
    async with (
        running_replica(nobody, store_url=store_url) as first,
        running_replica(nobody, store_url=store_url) as second,
    ):
        gone: list[VisitorId] = []
        for _ in range(3):
            gone += (batch := [new_visitor_id() for _ in range(2500)])
            for start in range(0, len(batch), 500):
                await first.live.leave(batch[start : start + 500])
            await eventually(lambda: second.live.view.revocations_known == len(gone))  # noqa: B023
            assert second.live.view.revoked().keys() == set(gone)
        async with running_replica(nobody, store_url=store_url) as late:
            assert late.live.view.revoked().keys() == set(gone)


async def test_of_those_who_enter_an_open_room_and_leave_a_bounded_number_is_remembered(
    store_url: str, nobody: RoomConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_replica, "_MOST_GONE", 2)
    async with (
        running_replica(nobody, store_url=store_url) as replica,
        running_operator(nobody, store_url=store_url) as operator,
    ):
        await operator.set_mode(Mode.OPEN)
        people = await line_up(5, replica)
        assert those_in(people) == [*range(5)]
        for person in people[:4]:
            assert person.token is not None
            await replica.entrance.leave(person.token)
        again = [Principal(person.token) for person in people]
        await ask(again, replica)
        kept = [one.visitor == each.visitor for one, each in zip(again, people, strict=True)]
        assert kept == [False, False, True, True, True]
        await operator.revoke(people[4].visitor)
        assert (await operator.status()).revocations == 3


async def test_news_of_revocations_costs_what_is_new_and_not_what_is_known(
    private_store: StoreServer, nobody: RoomConfig
) -> None:
    async with (
        running_replica(nobody, store_url=private_store.url) as first,
        running_replica(nobody, store_url=private_store.url) as second,
    ):
        many = [new_visitor_id() for _ in range(4000)]
        for start in range(0, len(many), 500):
            await first.live.leave(many[start : start + 500])
        await eventually(lambda: second.live.view.revocations_known == len(many))
        before = private_store.commands()["zrangebyscore"]
        for _ in range(5):
            visitor = new_visitor_id()
            await first.live.leave([visitor])
            await eventually(lambda: visitor in second.live.view.decisive.revoked)  # noqa: B023
        scripts = private_store.commands()
        reads = scripts["zrangebyscore"] - before
        # An `advance` reads two of its own; a list read from its start would take five each time.
        assert reads <= 2 * scripts["evalsha"]
        assert second.live.view.revocations_known == 4005


async def test_a_replica_closes_at_any_moment_of_a_beat(
    store_url: str, events_url: str, room_name: RoomName
) -> None:
    keys = config(room_name, rate="600/min", burst=1)
    for turns in range(40):
        async with asyncio.timeout(10):
            async with running_replica(keys, store_url=store_url, events_url=events_url) as replica:
                await eventually(replica.events.connected)
                await replica.live.queue.set_rate(600 + turns)  # something to publish
                await asyncio.sleep(0.03)  # until the pacer can be woken
                replica.live.wake()
                for _ in range(turns):
                    await asyncio.sleep(0)
