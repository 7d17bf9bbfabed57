"""Visitors leave while the store is unreachable: they stay out when it has recovered."""

import asyncio

import pytest

from gatekeeper.room import leaving
from tests.gates import GateStarter
from tests.integration.failure.outage import (
    GRANTS_ONLY,
    SHORT_TIMEOUTS,
    wait_until_recovered,
    wait_until_unreachable,
)
from tests.integration.replicas.replica_group import (
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    line_up,
    request_all,
)
from tests.servers import StoreServer, eventually


async def test_leave_during_outage_holds_at_all_replicas(
    private_store: StoreServer, events_url: str, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY, **SHORT_TIMEOUTS)
    other = await room.replica()
    operator = await room.operator(events_url="off")
    async with room.running_replica() as first:
        visitors = await line_up(2, first)
        tickets = [visitor.token for visitor in visitors]
        await operator.allow(2)
        await eventually(lambda: other.state.watermark_us == visitors[1].arrival_us)
        private_store.pause()
        await request_all(visitors, first)
        assert admitted_indexes(visitors) == [0, 1]
        await first.room.leave([visitors[0].visitor])
        await eventually(lambda: visitors[0].visitor in other.room.view.revoked())
        again = [RoomVisitor(ticket) for ticket in tickets]
        await request_all(again, other)
        assert admitted_indexes(again) == [1]
        assert again[0].token != tickets[0]
    private_store.resume()  # the first replica, which knew that the visitor left, has ended
    await wait_until_recovered(other)
    third = await room.replica()
    again = [RoomVisitor(ticket) for ticket in tickets]
    await request_all(again, third)
    assert admitted_indexes(again) == [1]


async def test_leaves_remembered_during_outage_are_bounded(
    private_store: StoreServer, monkeypatch: pytest.MonkeyPatch, start_room: RoomStarter
) -> None:
    monkeypatch.setattr(leaving, "MAX_LEFT_WITHOUT_STORE", 2)
    room = start_room(**GRANTS_ONLY)
    replica = await room.replica()
    operator = await room.operator()
    inside, *waiting = await line_up(6, replica)
    await operator.allow(1)
    await eventually(lambda: replica.state.watermark_us == inside.arrival_us)
    await inside.request(replica)
    assert inside.is_admitted
    private_store.pause()
    for visitor in waiting:
        assert visitor.token is not None
        await replica.admission.leave(visitor.token)
    assert inside.token is not None
    await replica.admission.leave(inside.token)
    known = replica.room.view.revoked()
    assert [*known] == [waiting[0].visitor, waiting[1].visitor, inside.visitor]
    private_store.resume()
    await wait_until_recovered(replica)
    state = await operator.status()
    assert (state.revocations, state.active, state.queue_length) == (3, 0, 3)


async def test_leave_that_does_nothing_is_503_and_keeps_the_pass(
    monkeypatch: pytest.MonkeyPatch, start_gate: GateStarter
) -> None:
    monkeypatch.setattr(leaving, "MAX_LEFT", 0)
    visitor = (await start_gate(rate="60/min", burst=10)).visitor()
    assert (await visitor.get())[0] == 200
    held = visitor.cookies()
    response = await visitor.leave()
    assert (response.status, visitor.cookies()) == (503, held)
    assert int(response.headers["Retry-After"]) > 0
    assert (await visitor.status())["state"] == "admitted"


async def test_absent_visitor_is_swept_after_time_to_return(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(**GRANTS_ONLY, **SHORT_TIMEOUTS)
    replica = await room.replica()
    gone, *visitors = await line_up(3, replica)
    await request_all([gone, *visitors], replica)
    private_store.pause()
    await asyncio.sleep(4)
    private_store.resume()
    await wait_until_recovered(replica)

    async with asyncio.timeout(40):
        while replica.state.queue_length != 2:
            await asyncio.sleep(0.1)
            await request_all(visitors, replica)
    await request_all(visitors, replica)
    assert [visitor.position for visitor in visitors] == [1, 2]
    assert gone.is_waiting
    await gone.request(replica)
    assert gone.position == 1  # the place lasts as long as the ticket


async def test_leave_during_outage_reaches_recovered_store(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    """The store is killed and restarts with its data."""
    room = start_room(**GRANTS_ONLY)
    first, second = await room.replicas(2)
    visitors = await line_up(5, first)
    await eventually(private_store.is_written)
    private_store.kill()
    await RoomVisitor().request(first)
    await wait_until_unreachable(first)
    visitor_ids = [visitor.token.visitor for visitor in visitors[:2] if visitor.token]
    await first.room.leave(visitor_ids)
    assert not first.store_up
    assert all(visitor_id in first.room.view.decisive.revoked for visitor_id in visitor_ids)
    private_store.start()
    await wait_until_recovered(first, second)
    await eventually(
        lambda: all(visitor_id in second.room.view.decisive.revoked for visitor_id in visitor_ids)
    )
    await request_all(visitors[2:], second)
    assert [visitor.position for visitor in visitors[2:]] == [1, 2, 3]
