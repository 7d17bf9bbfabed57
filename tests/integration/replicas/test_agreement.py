"""Replicas agree after a late start, with wrong clocks, and after a restart of all."""

import asyncio
import time
from itertools import pairwise
from typing import NamedTuple

import pytest

from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room import leaving
from gatekeeper.room.operator import Operator
from gatekeeper.web.outcome import Deny
from tests.integration.replicas.replica_group import (
    Replica,
    ReplicatedRoom,
    RoomStarter,
    RoomVisitor,
    admitted_indexes,
    line_up,
    pass_clock_error,
    request_all,
)
from tests.servers import StoreServer, eventually

MINUTES_S = 60.0


class ReleaseScene(NamedTuple):
    first: Replica
    second: Replica
    operator: Operator
    ann: RoomVisitor
    bob: RoomVisitor


async def test_late_replica_is_current_at_once(
    events_url: str, closed_room: ReplicatedRoom
) -> None:
    first = await closed_room.replica()
    operator = await closed_room.operator()
    visitors = await line_up(10, first)
    await operator.set_rate(0.25)
    await operator.allow(3)
    for visitor in visitors[8:]:
        assert visitor.token is not None
        await operator.revoke(visitor.token.visitor)
    await operator.set_mode(Mode.HOLD)
    await eventually(lambda: first.state.mode is Mode.HOLD)
    late = await closed_room.replica()
    assert late.store_up
    view = late.room.view.decisive
    assert (view.phase, view.watermark_us) == (Phase.HELD, visitors[2].arrival_us)
    assert late.state.rate_per_minute == 0.25
    assert all(p.token and p.token.visitor in view.revoked for p in visitors[8:])
    await request_all(visitors[:8], late)
    assert admitted_indexes(visitors) == [0, 1, 2]
    assert [visitor.position for visitor in visitors[3:8]] == [1, 2, 3, 4, 5]


def expires_at_s(visitor: RoomVisitor) -> float:
    assert visitor.token is not None
    return visitor.token.expires_at_s


async def test_replicas_with_wrong_clocks_agree(
    private_store: StoreServer, start_room: RoomStarter
) -> None:
    room = start_room(rate=0, burst=1, session_idle_timeout="4s", place_ttl="10m")
    ahead = await room.replica(clock_error_s=7 * MINUTES_S)
    behind = await room.replica(clock_error_s=-9 * MINUTES_S)
    operator = await room.operator()
    visitors = [RoomVisitor() for _ in range(20)]
    for turn, visitor in enumerate(visitors):
        await visitor.request((ahead, behind)[turn % 2])
    assert all(one.arrival_us < next_.arrival_us for one, next_ in pairwise(visitors))
    await request_all(visitors, behind, ahead)  # confirms them
    assert abs(ahead.room.view.now_s() - behind.room.view.now_s()) < 5
    await operator.allow(5)
    await request_all(reversed(visitors), ahead, behind)
    await request_all(visitors, behind, ahead)
    assert admitted_indexes(visitors) == [*range(5)]
    first_end_s = max(expires_at_s(visitor) for visitor in visitors[:5])
    while ahead.room.view.now_s() < first_end_s:  # each replica renews passes of the other
        await asyncio.sleep(0.4)
        await request_all(visitors, ahead, behind)
        await request_all(visitors, behind, ahead)
        assert admitted_indexes(visitors) == [*range(5)]
    last_end_s = max(expires_at_s(visitor) for visitor in visitors[:5])
    await eventually(lambda: last_end_s < min(each.room.view.now_s() for each in (ahead, behind)))

    private_store.pause()
    await request_all(visitors[5:], ahead, behind)
    arrived_offline = [RoomVisitor() for _ in range(10)]
    for turn, visitor in enumerate(arrived_offline):
        await visitor.request((ahead, behind)[turn % 2])
        await pass_clock_error(ahead, behind)
    assert all(one.arrival_us < next_.arrival_us for one, next_ in pairwise(arrived_offline))
    assert visitors[-1].arrival_us < arrived_offline[0].arrival_us
    await request_all(arrived_offline, behind, ahead)
    private_store.resume()
    await eventually(lambda: ahead.store_up and behind.store_up)
    await request_all(arrived_offline, behind, ahead)
    assert [visitor.position for visitor in arrived_offline] == [*range(16, 26)]


async def test_release_follows_store_clock_with_wrong_clocks(
    events_url: str, start_room: RoomStarter
) -> None:
    room = start_room(rate="1200/min", burst=5)
    ahead = await room.replica(clock_error_s=7 * MINUTES_S)
    behind = await room.replica(clock_error_s=-9 * MINUTES_S)
    right = await room.replica()
    # A visitor who confirms first may enter before an earlier visitor who has not confirmed.
    await right.room.queue.set_mode(Mode.HOLD)
    visitors = await line_up(60, ahead, behind, right)
    start_s = time.monotonic()
    await right.room.queue.set_mode(Mode.AUTO)
    before: list[int] = []
    while len(before) < 60:
        await request_all(visitors, behind, right, ahead)
        now = admitted_indexes(visitors)
        outside = [at for at in range(60) if at not in now]
        assert not before or not outside or max(before) < min(outside)
        assert len(now) <= 5 + 20 * (time.monotonic() - start_s)
        before = now
        await asyncio.sleep(0.05)


@pytest.fixture
async def released(closed_room: ReplicatedRoom) -> ReleaseScene:
    """Two replicas of a room in which the operator released Ann, and Bob waits."""
    first, second = await closed_room.replicas(2)
    operator = await closed_room.operator()
    ann, bob = await line_up(2, first)
    await operator.allow(1)
    await eventually(lambda: second.state.watermark_us == ann.arrival_us)
    return ReleaseScene(first, second, operator, ann, bob)


async def test_ticket_claimed_at_all_replicas_takes_one_slot(released: ReleaseScene) -> None:
    browsers = [RoomVisitor(released.ann.token) for _ in range(6)]
    await request_all(browsers, released.first, released.second)
    assert admitted_indexes(browsers) == [*range(6)]
    assert {browser.visitor for browser in browsers} == {released.ann.visitor}
    state = await released.operator.status()
    assert (state.active, state.admitted_total, state.queue_length) == (1, 1, 1)


async def test_leave_concurrent_with_claims_frees_place_and_slot(released: ReleaseScene) -> None:
    first, second, operator, *visitors = released
    for visitor in visitors:  # a released visitor, and a waiting one
        assert visitor.token is not None
        old = visitor.token
        at_once = [RoomVisitor(old) for _ in range(4)]
        await asyncio.gather(request_all(at_once, first, second), first.admission.leave(old))
        outcome = await second.admission.admit(old, newcomers="denied")
        assert isinstance(outcome, Deny)
    assert (await operator.status()).active == 0


async def test_runtime_settings_outlive_every_replica(closed_room: ReplicatedRoom) -> None:
    async with (
        closed_room.running_replica() as first,
        closed_room.running_operator() as operator,
    ):
        visitors = await line_up(4, first)
        await operator.set_rate(0.5)
        await operator.set_mode(Mode.HOLD)
        await operator.allow(2)
    again = await closed_room.replica()
    assert (again.state.mode, again.state.rate_per_minute) == (Mode.HOLD, 0.5)
    assert again.state.pending_grants == 2
    await request_all(visitors, again)
    assert [visitor.position for visitor in visitors] == [1, 2, 3, 4]
    async with closed_room.running_operator() as operator:
        await operator.set_mode(Mode.AUTO)
    await eventually(lambda: again.state.released_total == 2)
    await request_all(visitors, again)
    assert admitted_indexes(visitors) == [0, 1]


async def test_revocation_reaches_replicas_by_event(
    events_url: str, closed_room: ReplicatedRoom
) -> None:
    first, second = await closed_room.replicas(2)
    await eventually(lambda: first.events.connected() and second.events.connected())
    await second.room._stop_pacing()
    [visitor] = await line_up(1, first)
    await first.room.queue.allow(1)
    await eventually(lambda: first.state.released_total == 1)
    await visitor.request(first)
    pass_ = visitor.token
    assert pass_ is not None
    assert visitor.is_admitted
    await first.room.leave([pass_.visitor])
    await eventually(lambda: pass_.visitor in second.room.view.decisive.revoked)
    assert isinstance(await second.admission.admit(pass_, newcomers="denied"), Deny)


async def test_leaves_from_the_queue_are_not_remembered(closed_room: ReplicatedRoom) -> None:
    first, second = await closed_room.replicas(2)
    visitors = await line_up(50, first)
    for visitor in visitors[:40]:
        assert visitor.token is not None
        await first.admission.leave(visitor.token)
    await eventually(lambda: second.state.queue_length == 10)
    for replica in (first, second):
        assert replica.state.revocations == 0
        assert not replica.room.view.revoked()
        assert isinstance(
            await replica.admission.admit(visitors[0].token, newcomers="denied"), Deny
        )
    await request_all(visitors[40:], second)
    assert [visitor.position for visitor in visitors[40:]] == [*range(1, 11)]


async def test_many_revocations_reach_replicas_without_events(closed_room: ReplicatedRoom) -> None:
    first, second = await closed_room.replicas(2)
    gone: list[VisitorId] = []
    for _ in range(3):
        gone += (batch := [new_visitor_id() for _ in range(2500)])
        for start in range(0, len(batch), 500):
            await first.room.leave(batch[start : start + 500])
        await eventually(lambda: second.room.view.revocations_known == len(gone))  # noqa: B023
        assert second.room.view.revoked().keys() == set(gone)
    async with closed_room.running_replica() as late:
        assert late.room.view.revoked().keys() == set(gone)


async def test_leaves_remembered_in_open_room_are_bounded(
    monkeypatch: pytest.MonkeyPatch, closed_room: ReplicatedRoom
) -> None:
    monkeypatch.setattr(leaving, "MAX_LEFT", 2)
    replica = await closed_room.replica()
    operator = await closed_room.operator()
    await operator.set_mode(Mode.OPEN)
    visitors = await line_up(5, replica)
    assert admitted_indexes(visitors) == [*range(5)]
    has_left = []
    for visitor in visitors[:4]:
        assert visitor.token is not None
        has_left.append(await replica.admission.leave(visitor.token))
    assert has_left == [True, True, False, False]
    again = [RoomVisitor(visitor.token) for visitor in visitors]
    await request_all(again, replica)
    kept = [one.visitor == each.visitor for one, each in zip(again, visitors, strict=True)]
    assert kept == [False, False, True, True, True]
    await operator.revoke(visitors[4].visitor)
    assert (await operator.status()).revocations == 3


async def test_revocation_updates_transfer_only_new_entries(
    private_store: StoreServer, closed_room: ReplicatedRoom
) -> None:
    first, second = await closed_room.replicas(2)
    many = [new_visitor_id() for _ in range(4000)]
    for start in range(0, len(many), 500):
        await first.room.leave(many[start : start + 500])
    await eventually(lambda: second.room.view.revocations_known == len(many))
    before = private_store.commands()["zrangebyscore"]
    for _ in range(5):
        visitor = new_visitor_id()
        await first.room.leave([visitor])
        await eventually(lambda: visitor in second.room.view.decisive.revoked)  # noqa: B023
    scripts = private_store.commands()
    reads = scripts["zrangebyscore"] - before
    # An `advance` reads two; a list read from its start would need five each time.
    assert reads <= 2 * scripts["evalsha"]
    assert second.room.view.revocations_known == 4005


async def test_replica_closes_at_any_moment_of_a_tick(
    events_url: str, start_room: RoomStarter
) -> None:
    room = start_room(rate="600/min", burst=1)
    for turns in range(40):
        async with asyncio.timeout(40):
            async with room.running_replica() as replica:
                await eventually(replica.events.connected)
                await replica.room.queue.set_rate(600 + turns)  # a change to publish
                await asyncio.sleep(0.03)  # until the pacer can be woken
                replica.room.wake()
                for _ in range(turns):
                    await asyncio.sleep(0)
