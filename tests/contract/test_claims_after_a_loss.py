"""Slots that were held or released before the store lost everything: on every store."""

import asyncio

from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import (
    Ground,
    Open,
    admitted_names,
    crowd,
    line_up,
    poll,
    poll_request,
)
from tests.contract.lost_store import WINDOW_S, lose_everything


async def test_visitor_released_before_a_loss_enters_after_it(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="60/min", burst=2, max_active=3)
    replies = await line_up(replica, crowd(6))
    assert len(admitted_names(replies)) == 2
    await ground.pass_time(1)
    assert await replica.released() == 1  # v0002, which is the third inside
    await lose_everything(ground)
    standings = await poll(replica, {name: replies[name] for name in ("v0003", "v0002")})
    assert admitted_names(standings) == ["v0002"]
    assert admitted_names(await poll(replica, {"v0002": replies["v0002"]})) == ["v0002"]
    state = await replica.look()
    assert (state.active, state.queue_length, state.admitted_total) == (1, 1, 3)
    await ground.pass_time(WINDOW_S)
    assert admitted_names(await poll(replica, {"v0003": replies["v0003"]})) == ["v0003"]


async def test_claim_after_a_loss_beside_connected_polls_counts_once(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, ["v0000", "v0001"])
    await replica.allow(2)
    await replica.released()
    await lose_everything(ground)
    for_others = poll_request("v0001", replies["v0001"].turn_us)
    itself = poll_request("v0000", replies["v0000"].turn_us)
    for_it = itself._replace(connected=True)
    await asyncio.gather(*map(replica.queue.poll, (for_it, for_others, for_it, itself, itself)))
    assert (await ground.read()).get("deadlines", {}) == {}
    assert (await replica.look()).admitted_total == 2


async def test_claims_after_a_loss_are_those_open_before_it(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(6))
    await replica.allow(4)
    await replica.released()
    claimed = {name: replies[name] for name in crowd(1)}
    assert admitted_names(await poll(replica, claimed)) == crowd(1)
    assert (await replica.look()).expected == 3
    await lose_everything(ground)
    late = await open_room(rate=0)  # knows no state, and admits no visitor for it
    assert admitted_names(await poll(late, replies)) == []
    # The loss forgot which ticket was spent, so this visitor may be the first to claim.
    assert admitted_names(await poll(replica, replies)) == crowd(3)
    assert (await replica.look()).expected == 0
    await lose_everything(ground)
    assert admitted_names(await poll(replica, replies)) == []


async def test_absent_visitors_take_no_claims_after_a_loss(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="60/min", burst=3, heartbeat_timeout="9s", confirm_timeout="9s")
    await replica.set_mode(Mode.HOLD)
    replies = await line_up(replica, crowd(6))
    await ground.pass_time(8)
    await poll(replica, {name: replies[name] for name in crowd(6)[2:]})
    await ground.pass_time(2)  # v0000 and v0001 are absent
    await replica.set_mode(Mode.AUTO)
    assert await replica.released() == 3
    await lose_everything(ground)
    assert admitted_names(await poll(replica, {"v0005": replies["v0005"]})) == []
    await ground.pass_time(1.01)
    back = {name: replies[name] for name in crowd(5)}
    assert admitted_names(await poll(replica, back)) == crowd(
        4
    )  # three expected, and one by the rate
    assert (await replica.look()).released_total == 4
    await replica.set_mode(Mode.HOLD)
    await ground.pass_time(1)
    assert admitted_names(await poll(replica, back)) == crowd(4)
    await replica.set_mode(Mode.AUTO)
    assert admitted_names(await poll(replica, back)) == crowd(5)


async def test_claims_after_a_loss_are_in_the_order_of_turns(
    ground: Ground, open_room: Open
) -> None:
    """Visitors who were released, or absent at their turn, enter as admissions fall due: an earlier
    turn that waits comes first, also when a later one polls at the right moment."""
    replica = await open_room(rate="60/min", burst=3, heartbeat_timeout="9s", confirm_timeout="9s")
    await replica.set_mode(Mode.HOLD)
    replies = await line_up(replica, crowd(4))
    await ground.pass_time(8)
    await poll(replica, {"v0003": replies["v0003"]})
    await ground.pass_time(2)  # the others are absent
    await replica.set_mode(Mode.AUTO)
    assert await replica.released() == 1
    await lose_everything(ground)
    at = {name: {name: replies[name]} for name in crowd(4)}
    assert admitted_names(await poll(replica, at["v0001"])) == ["v0001"]  # what v0003 left
    assert admitted_names(await poll(replica, at["v0002"])) == []
    await ground.pass_time(1.01)
    assert admitted_names(await poll(replica, at["v0003"])) == []  # v0002 was first, and waits
    assert admitted_names(await poll(replica, at["v0000"])) == ["v0000"]  # earlier than any
    await ground.pass_time(1)
    assert admitted_names(await poll(replica, at["v0003"])) == []
    assert admitted_names(await poll(replica, at["v0002"])) == ["v0002"]
    await ground.pass_time(1)
    assert admitted_names(await poll(replica, at["v0003"])) == ["v0003"]


async def test_claims_after_a_loss_fill_slots_in_the_order_of_turns(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, max_active=2)
    replies = await line_up(replica, crowd(2))
    await replica.allow(2)
    await replica.released()
    await lose_everything(ground)
    until_us = (await replica.look()).now_us + 60_000_000
    for name in ("inside", "beside"):
        await replica.queue.touch(VisitorId(name), until_us=until_us, ends_us=until_us)
    assert admitted_names(await poll(replica, {"v0000": replies["v0000"]})) == []
    await replica.queue.leave([VisitorId("inside")])
    assert admitted_names(await poll(replica, {"v0001": replies["v0001"]})) == []
    assert admitted_names(await poll(replica, replies)) == ["v0000"]


async def test_claims_after_a_loss_stay_within_the_slots(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, max_active=2)
    replies = await line_up(replica, crowd(2))
    await replica.allow(2)
    await replica.released()
    await lose_everything(ground)
    state = await replica.look()
    until_us = state.now_us + 60_000_000
    await replica.queue.touch(VisitorId("inside"), until_us=until_us, ends_us=until_us)
    assert admitted_names(await poll(replica, replies)) == crowd(1)
