"""The store is killed or paused: passes are valid, places and order are kept."""

import asyncio
import gc
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Ticket
from gatekeeper.room.batching import BATCH_LIMIT
from gatekeeper.room.visitor_calls import PollRequest
from tests.builders import sign_token
from tests.gates import GateStarter, Visitor
from tests.integration.failure.outage import (
    GRANTS_ONLY,
    SHORT_TIMEOUTS,
    Outage,
    admitted_and_waiting,
    recover,
    wait_until_recovered,
    wait_until_unreachable,
)
from tests.integration.replicas.replica_group import (
    CallCounter,
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    calls_in_flight,
    line_up,
    pass_clock_error,
    request_all,
)
from tests.servers import StoreServer, eventually

# The decision table, cell by cell, over HTTP


async def test_outage_keeps_passes_and_places(
    private_store: StoreServer, room_name: RoomName, break_store: Outage, start_gate: GateStarter
) -> None:
    gate = await start_gate(
        '[store]\ntimeout = "300ms"\n', rate="0", heartbeat_timeout="3s", confirm_timeout="1s"
    )
    admitted, waiting = await admitted_and_waiting(gate)
    new = gate.visitor()
    before = await waiting.status()
    assert before["position"] == 1
    # A stream kept the slot of a pass that expired meanwhile.
    expired = gate.issue_pass(ago_s=60, expires_in_s=-1)
    gate.room(room_name).touch_soon(replace(expired, expires_at_s=gate.now_s() + 600))
    streaming = {"Cookie": f"{gate.cookie_name}={sign_token(expired)}"}

    async def is_touched() -> bool:
        return (await gate.queue.read_state()).active == 2

    await eventually(is_touched)
    await eventually(private_store.is_written)
    break_store(private_store)
    status, _ = await admitted.get("/still-here")
    assert status == 200
    during = await waiting.status()
    assert (during["state"], during["position"], during["eta_seconds"]) == (
        "waiting",
        None,
        None,
    )
    assert during["arrived_at"] == before["arrived_at"]
    status, page = await waiting.get()
    assert status == 503
    assert 'data-position=""' in page
    kept = await gate.visitor().request("GET", headers=streaming)
    assert kept.status == 503
    assert "Set-Cookie" not in kept.headers
    unknown = await gate.visitor().request("GET", "/.gatekeeper/status", headers=streaming)
    assert (unknown.json["state"], unknown.json["reason"]) == ("waiting", "reconnecting")
    assert "Set-Cookie" not in unknown.headers
    status, _ = await new.get()
    assert status == 503
    assert (await new.status())["position"] is None
    recover(private_store)
    await eventually(lambda: gate.room(room_name).view.store_up)
    assert (await waiting.status())["position"] == 1
    assert (await new.status())["position"] == 2
    assert len(gate.origin.requests) == 1
    inside = await gate.visitor().request("GET", headers=streaming)
    assert inside.json["visitor"] == expired.visitor


async def test_cancelled_requests_in_outage_leave_no_task(
    private_store: StoreServer, room_name: RoomName, start_gate: GateStarter
) -> None:
    loop_errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, fault: loop_errors.append(fault))
    gate = await start_gate('[store]\ntimeout = "500ms"\n', rate="0")
    async with AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(Visitor(gate)) for _ in range(12)]
        for visitor in visitors:
            await visitor.get()
        for replies_late in (
            False,
            True,
        ):  # the store never replies, or after the clients have left
            private_store.pause()
            calls = [
                asyncio.create_task(visitor.request(*how))
                for visitor in visitors
                for how in (("GET", "/.gatekeeper/status"), ("POST", "/.gatekeeper/enqueue"))
            ]
            await asyncio.sleep(0.1)
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            if not replies_late:
                await eventually(lambda: not gate.room(room_name).view.store_up)
            private_store.resume()
            await eventually(lambda: gate.room(room_name).view.store_up)
        positions = [(await visitor.status())["position"] for visitor in visitors]
        assert positions == [*range(1, 13)]
    gc.collect()  # reports exceptions that were never retrieved
    assert loop_errors == []


async def test_released_visitor_is_admitted_without_store(
    private_store: StoreServer, break_store: Outage, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY)
    replica = await room.replica()
    visitors = await line_up(3, replica)
    async with room.running_operator() as operator:
        await operator.allow(2)
    await eventually(lambda: replica.state.watermark_us == visitors[1].arrival_us)
    break_store(private_store)
    await request_all(visitors, replica)
    assert admitted_indexes(visitors) == [0, 1]


async def test_visitor_admitted_in_outage_holds_slot_later(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY, max_active=1, claim_timeout="4s")
    replica = await room.replica()
    operator = await room.operator()
    visitors = await line_up(2, replica)
    await operator.allow(2)
    await eventually(lambda: replica.state.watermark_us == visitors[0].arrival_us)
    private_store.pause()
    await request_all(visitors, replica)
    assert admitted_indexes(visitors) == [0]
    await asyncio.sleep(5)  # the claim window ends meanwhile
    private_store.resume()
    await wait_until_recovered(replica)
    await request_all(visitors, replica)
    assert admitted_indexes(visitors) == [0]
    state = await operator.status()
    assert (state.active, state.queue_length) == (1, 1)


async def test_newcomers_in_outage_queue_by_their_arrival(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    """Their turn is the time of their arrival, before later newcomers."""
    room = start_room(rate="600/min", burst=10, **SHORT_TIMEOUTS)
    first, second = await room.replicas(2)
    operator = await room.operator()
    private_store.pause()
    await RoomVisitor().request(first)
    await RoomVisitor().request(second)
    await wait_until_unreachable(first, second)
    held = []
    for turn in range(40):
        held.append(RoomVisitor())
        await held[-1].request((first, second)[turn % 2])
        await pass_clock_error(first, second)
    assert all(visitor.is_waiting and visitor.position is None for visitor in held)
    assert all(one.arrival_us < next_.arrival_us for one, next_ in pairwise(held))
    await request_all(held, second, first)
    await asyncio.sleep(3)
    private_store.resume()
    await wait_until_recovered(first)  # the other replica may still hold arrivals
    newcomers = await line_up(10, first)
    assert admitted_indexes(newcomers) == []
    await wait_until_recovered(first, second)
    # None of the held visitors has polled since: their replicas reported them. The first two
    # never returned their tickets. On a slow machine some are released by now.
    state = await operator.status()
    assert state.queue_length + state.released_total == 50
    entered: list[int] = []
    async with asyncio.timeout(40):
        while len(entered) < 50:
            await request_all([*held, *newcomers], first, second)
            entered += [at for at in admitted_indexes([*held, *newcomers]) if at not in entered]
            await asyncio.sleep(0.05)
    assert max(entered[:30]) < 40
    assert sorted(entered[:40]) == [*range(40)]


async def test_fail_open_admits_share_of_the_rate(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate="600/min", burst=6, store_failure_mode="open", **SHORT_TIMEOUTS)
    first, second, third = await room.replicas(3)
    replicas = (first, second, third)
    await eventually(lambda: all(each.state.replicas == 3 for each in replicas))
    # The bucket is empty, and some visitors wait.
    await request_all([RoomVisitor() for _ in range(30)], first)
    # A remaining share of the first outage does not count for the second.
    for break_store in (StoreServer.pause, StoreServer.kill):
        start_s = now_s = time.monotonic()
        break_store(private_store)
        await request_all([RoomVisitor() for _ in range(3)], *replicas)
        await wait_until_unreachable(*replicas)
        admitted, due_s = 0, 0.0
        while due_s < 2:
            crowd = [RoomVisitor() for _ in range(60)]
            await request_all(crowd, *replicas)
            admitted += len(admitted_indexes(crowd))
            await asyncio.sleep(0.02)
            earlier_s, now_s = now_s, time.monotonic()
            due_s += min(now_s - earlier_s, 0.2)  # a share fills in 0.6 s
            assert admitted <= (now_s - start_s) * 10
        assert admitted > due_s * 10 * 0.5
        recover(private_store)
        await wait_until_recovered(*replicas)
        await asyncio.sleep(1)
        await eventually(lambda: all(each.state.replicas == 3 for each in replicas))


async def test_newcomer_let_in_without_store_counts_until_seen(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    """Clients without cookies fill the slots only for `confirm_timeout`."""
    room = start_room(
        rate="6000/min", burst=40, max_active=4, store_failure_mode="open", confirm_timeout="3s"
    )
    replica = await room.replica()
    operator = await room.operator()
    private_store.pause()
    await RoomVisitor().request(replica)
    await wait_until_unreachable(replica)
    guesses: list[RoomVisitor] = []

    async def are_more_than_slots() -> bool:
        guesses.append(RoomVisitor())
        await guesses[-1].request(replica)
        return len(admitted_indexes(guesses)) > 4

    await eventually(are_more_than_slots)
    seen = next(each for each in guesses if each.is_admitted)
    await seen.request(replica)
    private_store.resume()
    await wait_until_recovered(replica)
    assert (await operator.status()).active == 4
    newcomer = RoomVisitor()
    await newcomer.request(replica)
    assert newcomer.is_waiting

    async def is_only_seen() -> bool:
        return (await operator.status()).active == 1

    await eventually(is_only_seen)
    assert seen.is_admitted


# Longer than any data is kept


async def test_long_outage_keeps_all_waiting_visitors(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    """Longer than both timeouts, with and without polls of the visitors meanwhile."""
    room = start_room(**GRANTS_ONLY, heartbeat_timeout="6s", confirm_timeout="1s")
    first, second = await room.replicas(2)
    operator = await room.operator()
    visitors = await line_up(300, first, second)
    await request_all(visitors, first, second)
    polling = visitors[::2]
    private_store.pause()
    for _ in range(3):
        await asyncio.sleep(2.2)  # in total longer than `heartbeat_timeout`
        await request_all(polling, first)
        assert all(visitor.is_waiting and visitor.position is None for visitor in polling)
    private_store.resume()
    await wait_until_recovered(first, second)
    state = await operator.allow(100)
    assert state.abandoned_total == 0
    await request_all(reversed(visitors), first, second)  # the last arrivals poll first
    await eventually(lambda: first.state.released_total == 100)
    await request_all(visitors, first, second)
    assert admitted_indexes(visitors) == [*range(100)]
    assert [visitor.position for visitor in visitors[100:]] == [*range(1, 201)]
    state = await operator.status()
    assert (state.abandoned_total, state.arrived_total) == (0, 300)


async def test_queue_survives_a_long_stop_of_all_replicas(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY, **SHORT_TIMEOUTS)
    async with room.running_replica() as replica:
        visitors = await line_up(50, replica)
        await request_all(visitors, replica)
    await asyncio.sleep(4)  # longer than `heartbeat_timeout`
    replica = await room.replica()
    operator = await room.operator()
    await operator.allow(20)
    await request_all(reversed(visitors), replica)
    await request_all(visitors, replica)
    assert admitted_indexes(visitors) == [*range(20)]
    assert (await operator.status()).abandoned_total == 0


async def test_restarted_replica_admits_newcomers_at_once(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room()
    async with room.running_replica():
        pass
    await asyncio.sleep(4)
    replica = await room.replica()
    newcomer = RoomVisitor()
    await newcomer.request(replica)
    assert newcomer.is_admitted


# A slow store


async def test_recovery_follows_the_next_calls_of_the_pacer(
    private_store: StoreServer, monkeypatch: pytest.MonkeyPatch, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY)
    replica = await room.replica()
    [visitor] = await line_up(1, replica)
    private_store.pause()
    await wait_until_unreachable(replica)
    counter = CallCounter(replica.room, monkeypatch)
    private_store.resume()
    await wait_until_recovered(replica)
    assert counter.calls <= 2  # one of them may have begun before
    await visitor.request(replica)
    assert visitor.position == 1


async def test_only_the_pacer_calls_an_unreachable_store(
    private_store: StoreServer, monkeypatch: pytest.MonkeyPatch, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY)
    replica = await room.replica()
    visitors = await line_up(500, replica)
    private_store.pause()
    await wait_until_unreachable(replica)
    await replica.room._stop_pacing()  # it calls too, also for returned tickets
    counter = CallCounter(replica.room, monkeypatch)
    for _ in range(20):
        await request_all([*visitors, RoomVisitor()], replica)
        await replica.room.leave([visitors.pop().visitor])
    assert counter.calls == 0


async def test_open_requests_wait_for_the_store_together(
    private_store: StoreServer, monkeypatch: pytest.MonkeyPatch, start_room: RoomStarter
) -> None:
    """All of them return after one timeout, instead of batch after batch."""
    room = start_room(**GRANTS_ONLY)
    replica = await room.replica()
    visitors = await line_up(2000, replica)
    private_store.pause()
    counter = CallCounter(replica.room, monkeypatch)
    await request_all([*visitors, *(RoomVisitor() for _ in range(500))], replica)
    assert counter.most_open >= 2500 / BATCH_LIMIT
    assert all(isinstance(visitor.token, Ticket) for visitor in visitors)
    await eventually(lambda: calls_in_flight(replica) == 0)


async def test_replica_reports_offline_arrival_without_claiming(start_room: RoomStarter) -> None:
    room = start_room(**GRANTS_ONLY, claim_timeout="2s")
    replica = await room.replica()
    [visitor] = await line_up(1, replica)
    token = visitor.token
    assert token is not None
    queue = replica.room.queue
    await queue.allow(1)
    await eventually(lambda: replica.state.released_total == 1)
    arrived_offline = PollRequest(token.visitor, token.arrival_us, has_pass=False, by_proxy=True)
    await queue.poll(arrived_offline)
    assert (replica.state.active, replica.state.admitted_total) == (1, 0)
    await eventually(lambda: replica.state.active == 0, what="the end of the claim window")
    assert replica.state.abandoned_total == 1
