"""The store loses data: tickets, passes and replicas restore the room."""

import asyncio
import time
from itertools import pairwise

import redis

from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode
from gatekeeper.room.operator import Operator
from gatekeeper.room.store import room_keys
from gatekeeper.web.outcome import Deny
from tests.gates import GateStarter
from tests.integration.failure.outage import GRANTS_ONLY, SHORT_TIMEOUTS, Pair, admitted_and_waiting
from tests.integration.replicas.replica_group import (
    Replica,
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    line_up,
    request_all,
    request_released,
)
from tests.servers import StoreServer, eventually


async def recovered(replica: Replica) -> None:
    """Wait until the store may release again, by its own clock."""
    view = replica.room.view
    await eventually(lambda: replica.state.recovering_until_us < view.now_s() * 1_000_000)


def age_store(store: StoreServer, room: RoomName) -> None:
    """As if the store had run for some minutes: it knows all replicas that served the room."""
    with redis.Redis.from_url(store.url) as client:
        [state] = [key for key in room_keys(room) if key.endswith(":state")]
        client.hset(state, "counts_from", 1)


async def test_flush_keeps_places_of_a_thousand_visitors(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY, heartbeat_timeout="9s", confirm_timeout="4s")
    first, second, third = await room.replicas(3)
    operator = await room.operator()
    replicas = (first, second, third)
    visitors = await line_up(1000, *replicas)
    assert all(one.arrival_us < next_.arrival_us for one, next_ in pairwise(visitors))

    async def admit(count: int) -> None:
        admitted = len(admitted_indexes(visitors))
        await operator.allow(count)
        await eventually(lambda: first.state.watermark_us >= visitors[admitted].arrival_us)
        for _ in range(2):
            await request_all(reversed(visitors), *replicas)
        assert admitted_indexes(visitors) == [*range(admitted + count)]

    for _ in range(4):
        await admit(100)
    watermark_us = first.state.watermark_us

    private_store.flush()
    granting = asyncio.create_task(operator.allow(100))
    for _ in range(3):  # the last arrivals poll first, before the queue is restored
        await request_all(reversed(visitors[350:]), *replicas)
    assert admitted_indexes(visitors) == [*range(400)]
    assert [visitor.position for visitor in visitors[400:]] == [*range(1, 601)]
    newcomers = await line_up(5, *replicas)
    await request_all(newcomers, *replicas)  # now each of them is in line
    assert [visitor.position for visitor in newcomers] == [*range(601, 606)]
    assert all(each.state.watermark_us >= watermark_us for each in replicas)

    await request_all([*visitors, *newcomers], *replicas)
    await recovered(first)
    await granting
    await eventually(lambda: first.state.watermark_us == visitors[499].arrival_us)
    await request_all([*newcomers, *reversed(visitors)], *replicas)
    assert admitted_indexes(visitors) == [*range(500)]
    for _ in range(5):
        await admit(100)
    state = await operator.status()
    assert (state.arrived_total, state.released_total, state.admitted_total) == (
        1005,
        1000,
        1000,
    )
    assert (state.queue_length, state.abandoned_total) == (5, 0)


async def test_flush_keeps_passes_and_places(
    private_store: StoreServer, start_gate: GateStarter
) -> None:
    gate = await start_gate(rate="0", confirm_timeout="1s", heartbeat_timeout="3s")
    admitted, waiting = await admitted_and_waiting(gate)
    new = gate.visitor()
    before = await waiting.status()
    private_store.flush()
    await new.get()
    status, _ = await admitted.get()
    assert status == 200
    assert (await waiting.status())["arrived_at"] == before["arrived_at"]
    assert (await waiting.status())["position"] == 1
    assert (await new.status())["position"] == 2
    await gate.allow(1)
    await waiting.wait_until_admitted()
    assert (await new.status())["position"] == 1


async def test_release_waits_until_visitors_could_return(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate="600/min", burst=10, heartbeat_timeout="9s", confirm_timeout="4s")
    replica = await room.replica()
    visitors = await line_up(60, replica)
    await eventually(lambda: replica.state.released_total >= 5)
    await request_all(visitors, replica)
    waiting = [visitor for visitor in visitors if visitor.is_waiting]
    for visitor in waiting:  # so that no release is early
        replica.room.view.line.outstanding_polls.note(visitor.arrival_us, 30, in_store=True)
    private_store.flush()
    newcomer = RoomVisitor()
    await newcomer.request(replica)
    assert newcomer.is_waiting
    released, until_us = replica.state.released_total, replica.state.recovering_until_us
    assert until_us > 0
    await waiting[-1].request(replica)
    await asyncio.sleep(0.8)  # of five seconds, which a pause of the machine may exceed
    state = replica.state
    assert state.released_total == released or state.now_us >= until_us
    await request_all(reversed(waiting), replica)
    assert admitted_indexes(waiting) == [] or replica.state.now_us >= until_us
    async with asyncio.timeout(40):
        while any(visitor.is_waiting for visitor in waiting):
            await request_all([newcomer, *waiting], replica)
            if newcomer.is_admitted:
                assert admitted_indexes(waiting)[-1] == len(waiting) - 1
            await asyncio.sleep(0.02)


async def test_front_is_released_before_the_whole_line_could_return(
    private_store: StoreServer, room_name: RoomName, start_room: RoomStarter
) -> None:
    """The window is a minute. The last visitor has a poll interval of half a minute, all others of
    a second."""
    room = start_room(rate="600/min", burst=10, confirm_timeout="60s")
    first, second = await room.replicas(2)
    await eventually(lambda: first.state.replicas == second.state.replicas == 2)
    age_store(private_store, room_name)
    await eventually(lambda: first.state.recent_replicas == second.state.recent_replicas == 2)
    visitors = await line_up(60, first, second)
    waiting = [visitor for visitor in visitors if visitor.is_waiting]
    for at, visitor in enumerate(waiting, start=1):
        polls = (first, second)[at % 2].room.view.line.outstanding_polls
        polls.note(visitor.arrival_us, 30 if at == len(waiting) else 1, in_store=True)
    private_store.kill()
    private_store.restart(empty=True)
    async with asyncio.timeout(40):
        while not admitted_indexes(waiting):
            await request_all(reversed(waiting), first, second)
            await asyncio.sleep(0.02)
    assert first.state.recovering_until_us > first.state.now_us
    assert first.state.watermark_us < waiting[-1].arrival_us
    await request_released(reversed(waiting), first, second)


async def test_newest_replica_state_is_written_back(private_store: StoreServer, pair: Pair) -> None:
    room, first, second, operator = pair
    await operator.set_rate(120)
    await operator.set_mode(Mode.HOLD)
    await operator.allow(7)
    known = await second.room.queue.read_state()
    await first.room._stop_pacing()  # this replica has an older state, and reaches the store first
    private_store.flush()
    await RoomVisitor().request(first)
    async with room.running_replica():  # and this one has no state
        pass
    await eventually(lambda: second.state.epoch != known.epoch)
    state = await operator.status()
    assert (state.mode, state.rate_per_minute) == (Mode.HOLD, 120)
    assert state.pending_grants == 7
    assert state.epoch > known.epoch


async def test_revocations_survive_a_flush(private_store: StoreServer, pair: Pair) -> None:
    room, first, second, operator = pair
    visitors = await line_up(12, first)
    await operator.allow(5)
    await eventually(lambda: first.state.released_total == 5)
    await request_all(visitors, first)
    gone = [visitors[at].token for at in (1, 2, 7)]
    visitor_ids = [token.visitor for token in gone if token is not None]
    for visitor_id in visitor_ids:
        await operator.revoke(visitor_id)
    views = (first.room.view, second.room.view)
    await eventually(lambda: all(visitor_ids[-1] in view.revoked() for view in views))
    private_store.flush()
    await RoomVisitor().request(second)
    async with room.running_operator() as fresh:
        await until(fresh, revocations=3)
    async with room.running_replica() as third:
        for replica in (first, second, third):
            assert all(
                visitor_id in replica.room.view.decisive.revoked for visitor_id in visitor_ids
            )
            for token in gone:
                assert isinstance(await replica.admission.admit(token, newcomers="denied"), Deny)


async def test_used_passes_hold_slots_before_next_release(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate=0, burst=1, max_active=5, **SHORT_TIMEOUTS)
    replica = await room.replica()
    operator = await room.operator()
    visitors = await line_up(8, replica)
    await operator.allow(8)
    await eventually(lambda: replica.state.released_total == 5)
    await request_all(visitors, replica)
    assert admitted_indexes(visitors) == [*range(5)]
    private_store.flush()
    await eventually(lambda: replica.state.recovering_until_us > 0)
    await request_all(visitors, replica)
    await until(operator, active=5)
    await recovered(replica)
    for _ in range(4):
        await request_all(visitors, replica)
        await asyncio.sleep(0.25)
    assert admitted_indexes(visitors) == [*range(5)]
    assert [visitor.position for visitor in visitors[5:]] == [1, 2, 3]


async def test_writes_lost_by_restart_are_written_back(
    private_store: StoreServer, room_name: RoomName, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY, heartbeat_timeout="9s", confirm_timeout="4s")
    replica = await room.replica()
    operator = await room.operator()
    visitors = await line_up(30, replica)
    before = _dump(private_store, room_name)
    await operator.set_rate(0.5)
    await operator.allow(10)
    await eventually(lambda: replica.state.released_total == 10)
    private_store.flush()
    _load(private_store, before)  # as a store that did not save its last second
    await eventually(lambda: replica.state.released_total == 10)
    await until(operator, rate_per_minute=0.5, released_total=10)
    await request_all(visitors, replica)
    # Ten visitors were released and had not claimed when the store lost that.
    assert admitted_indexes(visitors) == [*range(10)]
    await operator.allow(10)
    await request_all(visitors, replica)
    await recovered(replica)
    await eventually(lambda: replica.state.released_total == 20)
    await request_all(visitors, replica)
    assert admitted_indexes(visitors) == [*range(20)]


async def test_repeated_flushes_keep_the_order(private_store: StoreServer, pair: Pair) -> None:
    _, first, second, operator = pair
    visitors = await line_up(100, first, second)
    for _ in range(5):
        private_store.flush()
        await request_all(reversed(visitors), first, second)
        await asyncio.sleep(0.3)
    await request_all(visitors, first, second)
    assert [visitor.position for visitor in visitors] == [*range(1, 101)]
    await asyncio.to_thread(private_store.restart, empty=True)
    await eventually(lambda: first.store_up and second.store_up)
    await request_all(reversed(visitors), first, second)
    await recovered(first)
    await request_all(visitors, first, second)
    await operator.allow(50)
    await eventually(lambda: first.state.released_total == 50)
    await request_all(visitors, first, second)
    assert admitted_indexes(visitors) == [*range(50)]


async def until(operator: Operator, **expected: float) -> None:
    async with asyncio.timeout(40):
        while True:
            state = await operator.status()
            if all(getattr(state, name) == value for name, value in expected.items()):
                return
            await asyncio.sleep(0.02)


def _dump(store: StoreServer, room: RoomName) -> dict[str, bytes]:
    with redis.Redis.from_url(store.url, socket_timeout=5) as client:
        dumps = {key: client.dump(key) for key in room_keys(room)}
    return {key: value for key, value in dumps.items() if isinstance(value, bytes)}


def _load(store: StoreServer, dumps: dict[str, bytes]) -> None:
    with redis.Redis.from_url(store.url, socket_timeout=5) as client:
        client.flushall()
        for key, value in dumps.items():
            client.restore(key, 0, value)


async def test_flush_admits_no_more_than_the_rate(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate="600/min", burst=5, **SHORT_TIMEOUTS)
    replica = await room.replica()
    visitors = await line_up(40, replica)
    start_s = time.monotonic()
    flushed = False
    for _ in range(150):
        await request_all(visitors, replica)
        elapsed_s = time.monotonic() - start_s
        assert len(admitted_indexes(visitors)) <= 5 + elapsed_s * 10 + 1
        if elapsed_s > 1 and not flushed:
            private_store.flush()
            flushed = True
        await asyncio.sleep(0.02)
    assert flushed
