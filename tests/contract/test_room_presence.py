"""Present, absent and returning visitors: held on every store."""

from dataclasses import replace

import pytest

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import (
    Ground,
    Open,
    admitted_names,
    arrive,
    crowd,
    enter,
    line_up,
    poll,
    poll_request,
    stay,
)

ANN = VisitorId("ann")

# Ghosts


async def test_newcomer_who_waits_leaves_nothing_in_the_store(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await arrive(replica, crowd(100))
    assert (await ground.read()).keys() == {"state"}
    state = await replica.read_state()
    assert (state.queue_length, state.arrived_total, state.active) == (0, 100, 0)
    assert set(replies.values()) == {
        QueuePosition(each.turn_us, ahead=0, confirmed=False) for each in replies.values()
    }


async def test_newcomer_who_returns_late_stands_where_they_came(open_room: Open) -> None:
    replica = await open_room(rate=0)
    early = (await arrive(replica, ["ann"]))["ann"]
    await line_up(replica, ["bob", "cat"])
    late = (await arrive(replica, ["dan"]))["dan"]
    assert late == QueuePosition(late.turn_us, ahead=2, confirmed=False)
    assert await poll(replica, {"ann": early}) == {"ann": QueuePosition(early.turn_us, ahead=0)}
    assert (await replica.read_state()).queue_length == 3


async def test_polling_visitor_is_kept_for_heartbeat_timeout(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="90s")
    replies = await line_up(replica, ["ann"])
    for _ in range(3):
        await poll(replica, replies)
        await ground.pass_time(80)
        await replica.released()
        assert (await replica.read_state()).queue_length == 1
    await ground.pass_time(10.1)
    await replica.released()
    assert (await replica.read_state()).queue_length == 0


async def test_visitor_past_the_deadline_is_not_released(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, max_active=1, heartbeat_timeout="20s")
    replies = await line_up(replica, ["ann", "bob"])
    await ground.pass_time(15)
    await poll(replica, {"bob": replies["bob"]})
    await ground.pass_time(15)
    await replica.allow(1)
    assert await replica.released() == 1
    assert (await ground.read())["active"].keys() == {"bob"}


async def test_absent_visitors_at_the_head_are_passed_in_portions(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="20s")
    await line_up(replica, crowd(3500))
    await ground.pass_time(21)
    there = await line_up(replica, ["ann"])
    await replica.allow(1)
    assert await replica.released() == 0
    left = (await replica.read_state()).queue_length
    assert 2000 < left < 2600
    assert [await replica.released() for _ in range(3)].count(1) == 1
    assert admitted_names(await poll(replica, there)) == ["ann"]
    assert (await replica.read_state()).abandoned_total == 3500


async def test_backlog_of_absent_visitors_is_reported_until_swept(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="20s")
    await line_up(replica, crowd(2500))
    await ground.pass_time(21)
    calls: list[int] = []
    replica.queue._on_backlog = lambda: calls.append(1)
    swept = []
    for _ in range(3):
        before = replica.newest.abandoned_total if replica.newest else 0
        await replica.released()
        swept.append((await replica.read_state()).abandoned_total - before)
    assert (swept, len(calls)) == ([1000, 1000, 500], 2)


async def test_absent_visitors_at_the_end_are_swept_within_a_lap(
    ground: Ground, open_room: Open
) -> None:
    patient = await open_room(rate=0, heartbeat_timeout="10m")
    hasty = await open_room(rate=0, heartbeat_timeout="20s")
    replies = await line_up(patient, crowd(2400))
    await line_up(hasty, crowd(100, prefix="ghost"))
    await ground.pass_time(21)
    for _ in range(3):
        await patient.released()
    state = await patient.read_state()
    assert (state.queue_length, state.abandoned_total) == (2400, 100)
    assert await poll(patient, {"v2399": replies["v2399"]}) == {"v2399": replies["v2399"]}


async def test_unclaimed_slot_is_free_after_claim_timeout(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, max_active=1, claim_timeout="30s")
    replies = await line_up(replica, ["ann", "bob"])
    await replica.allow(2)
    assert await replica.released() == 1
    await poll(replica, {"bob": replies["bob"]})
    await ground.pass_time(29)
    assert await replica.released() == 0
    await ground.pass_time(1.1)
    assert await replica.released() == 1
    state = await replica.read_state()
    assert (state.active, state.abandoned_total, state.released_total) == (1, 1, 2)
    assert (await ground.read())["active"].keys() == {"bob"}


async def test_claimed_slot_outlives_the_claim_window(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", session_idle_timeout="10m")
    await enter(replica, "ann")
    await ground.pass_time(500)
    await replica.released()
    state = await replica.read_state()
    assert (state.active, state.admitted_total, state.abandoned_total) == (1, 1, 0)


async def test_slot_of_an_unconfirmed_newcomer_is_freed(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10, max_active=1, confirm_timeout="20s")
    assert admitted_names(await arrive(replica, ["ann"])) == ["ann"]
    await ground.pass_time(24)
    assert admitted_names(await arrive(replica, ["bob"])) == []
    await ground.pass_time(1.1)
    assert admitted_names(await arrive(replica, ["cat"])) == ["cat"]
    assert (await replica.read_state()).active == 1


@pytest.mark.parametrize("proof", ["poll", "touch"])
async def test_confirmed_newcomer_keeps_the_slot(
    ground: Ground, open_room: Open, proof: str
) -> None:
    replica = await open_room(burst=10, max_active=1, session_idle_timeout="10m")
    replies = await line_up(replica, ["ann"])
    if proof == "poll":
        await replica.queue.poll(poll_request("ann", replies["ann"].turn_us, has_pass=True))
    else:
        until_us = (await replica.read_state()).now_us + 600_000_000
        assert await replica.queue.touch(ANN, until_us=until_us, ends_us=until_us)
    await ground.pass_time(500)
    await replica.released()
    assert (await replica.read_state()).active == 1
    assert admitted_names(await line_up(replica, ["bob"])) == []


async def test_slot_ends_with_the_pass(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, session_idle_timeout="10m")  # the pass lives for 11 minutes
    await enter(replica, "ann")
    await ground.pass_time(655)
    await replica.released()
    assert (await replica.read_state()).active == 1
    await ground.pass_time(6)
    await replica.released()
    state = await replica.read_state()
    assert (state.active, state.abandoned_total) == (0, 0)


# Returns


async def test_absent_visitor_returns_to_their_place(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="20s")
    replies = await line_up(replica, ["ann", "bob", "cat"])
    await ground.pass_time(15)
    await poll(replica, {"ann": replies["ann"], "cat": replies["cat"]})
    await ground.pass_time(15)
    await replica.released()
    assert (await replica.read_state()).queue_length == 2
    assert (await poll(replica, replies))["bob"] == QueuePosition(replies["bob"].turn_us, 1)
    assert (await replica.read_state()).arrived_total == 3


async def test_returning_and_present_visitors_share_one_call(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="20s")
    replies = await line_up(replica, crowd(6))
    await ground.pass_time(15)
    stayed = {name: replies[name] for name in crowd(6)[3:]}
    await poll(replica, stayed)
    await ground.pass_time(10)
    await replica.released()
    assert (await replica.read_state()).queue_length == 3
    await poll(replica, replies)  # the returned visitors are at the head
    await ground.pass_time(19)
    await replica.released()
    assert (await replica.read_state()).queue_length == 6
    await ground.pass_time(2)
    await replica.released()
    assert (await replica.read_state()).queue_length == 0


@pytest.mark.parametrize("by_ms", [-40, 40], ids=["earlier", "later"])
async def test_stamped_visitor_has_only_the_place_of_the_ticket(
    open_room: Open, by_ms: int
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, ["ann", "bob"])  # the reply to ann is lost
    stamp_us = replies["ann"].turn_us + by_ms * 1000
    for_ann = replace(poll_request("ann", stamp_us), by_proxy=True)
    for _ in range(2):
        assert await replica.queue.poll(for_ann) == QueuePosition(stamp_us, ahead=int(by_ms > 0))
        assert await replica.queue.poll(poll_request("ann", stamp_us)) == QueuePosition(
            stamp_us, by_ms > 0
        )
    await arrive(replica, ["ann"])  # the call arrives only now
    assert await replica.queue.poll(for_ann) == QueuePosition(stamp_us, ahead=int(by_ms > 0))
    assert (await replica.read_state()).queue_length == 2


async def test_visitor_released_while_absent_returns_to_the_head(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="20s")
    replies = await line_up(replica, ["ann", "bob", "cat", "dan"])
    await ground.pass_time(15)
    await poll(replica, {name: replies[name] for name in ("bob", "cat", "dan")})
    await ground.pass_time(15)
    await replica.allow(2)
    assert await replica.released() == 2
    watermark_us = (await replica.read_state()).watermark_us
    assert watermark_us == replies["cat"].turn_us
    assert await replica.queue.poll(poll_request("ann", replies["ann"].turn_us)) == QueuePosition(
        replies["ann"].turn_us, 0, returned_at=2
    )
    await stay(replica, {"ann": replies["ann"]})
    await replica.allow(1)
    assert await replica.released() == 1
    assert (await replica.read_state()).watermark_us == watermark_us
    assert admitted_names(await poll(replica, replies)) == ["ann", "bob", "cat"]


async def test_visitor_after_the_claim_window_waits_at_the_head(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, claim_timeout="30s")
    replies = await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    await replica.released()
    await ground.pass_time(15)
    await poll(replica, {"bob": replies["bob"]})
    await ground.pass_time(16)
    await replica.set_mode(Mode.HOLD)
    await replica.released()
    assert await poll(replica, replies) == {
        "ann": QueuePosition(replies["ann"].turn_us, 0, returned_at=1),
        "bob": QueuePosition(replies["bob"].turn_us, 1),
    }


# Visitors on a stream


async def test_connected_poll_keeps_the_place_and_claims_nothing(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(
        rate=0, confirm_timeout="20s", heartbeat_timeout="90s", claim_timeout="2m"
    )
    ann = (await line_up(replica, ["ann"]))["ann"]
    for_ann = replace(poll_request("ann", ann.turn_us), connected=True)
    assert await replica.queue.poll(for_ann) == QueuePosition(ann.turn_us, ahead=0)
    await ground.pass_time(80)
    await replica.released()
    assert await replica.queue.poll(for_ann) == QueuePosition(ann.turn_us, ahead=0)
    await replica.allow(1)
    assert await replica.released() == 1
    assert await replica.queue.poll(for_ann) == SlotGrant(ann.turn_us, confirmed=True)
    assert (await replica.read_state()).expected == 1
    await ground.pass_time(121)
    await replica.released()
    assert (await replica.read_state()).active == 0  # the visitor did not claim it
