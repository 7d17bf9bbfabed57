"""Slots that were held or released before the store lost everything: on every store."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    crowd,
    line_up,
    poll,
    poll_request,
)
from tests.contract.lost_store import WINDOW_S, lose_everything


class Return(NamedTuple):
    """A line with a visitor who returned to a turn that was released before."""

    replica: Replica
    line: Mapping[str, SlotGrant | QueuePosition]


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
    state = await replica.read_state()
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
    for_it = replace(itself, connected=True)
    await asyncio.gather(*map(replica.queue.poll, (for_it, for_others, for_it, itself, itself)))
    assert (await ground.read()).get("deadlines", {}) == {}
    assert (await replica.read_state()).admitted_total == 2


async def test_claims_after_a_loss_are_those_open_before_it(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(6))
    await replica.allow(4)
    await replica.released()
    claimed = {name: replies[name] for name in crowd(1)}
    assert admitted_names(await poll(replica, claimed)) == crowd(1)
    assert (await replica.read_state()).expected == 3
    await lose_everything(ground)
    late = await open_room(rate=0)  # knows no state, so it admits no visitor
    assert admitted_names(await poll(late, replies)) == []
    # The store lost which ticket was spent, so this visitor may be the first to claim.
    assert admitted_names(await poll(replica, replies)) == crowd(3)
    assert (await replica.read_state()).expected == 0
    await lose_everything(ground)
    assert admitted_names(await poll(replica, replies)) == []


async def released_past_two(ground: Ground, open_room: Open, **keys: object) -> Return:
    """A line of six. The first two were absent when two others were released; one of these two has
    returned and waits."""
    replica = await open_room(
        rate=0, claim_timeout="20s", heartbeat_timeout="9s", confirm_timeout="9s", **keys
    )
    line = await line_up(replica, crowd(6))
    await ground.pass_time(8)
    await poll(replica, {name: line[name] for name in crowd(6)[2:]})
    await ground.pass_time(2)
    await replica.allow(2)
    assert await replica.released() == 2
    back = await poll(replica, {"v0001": line["v0001"]})
    returned = back["v0001"]
    assert isinstance(returned, QueuePosition)
    assert returned.returned_at == 2
    return Return(replica, line | {"v0001": returned})


async def test_returned_visitor_takes_no_claim_after_a_loss(
    ground: Ground, open_room: Open
) -> None:
    """In every order of polls: released visitors enter, and the returned one waits."""
    replica, line = await released_past_two(ground, open_room)
    await lose_everything(ground)
    for name, enters in (("v0001", False), ("v0003", True), ("v0001", False), ("v0002", True)):
        standings = await poll(replica, {name: line[name]})
        assert admitted_names(standings) == ([name] if enters else [])
    assert (await replica.read_state()).expected == 0


async def test_visitor_absent_for_long_takes_no_claim_after_a_loss(
    ground: Ground, open_room: Open
) -> None:
    """The turn was released longer ago than claims stay open, and other turns since."""
    replica, line = await released_past_two(ground, open_room)
    assert admitted_names(await poll(replica, {n: line[n] for n in ("v0002", "v0003")}))
    await ground.pass_time(7)
    await poll(replica, {name: line[name] for name in ("v0004", "v0005")})
    await ground.pass_time(7)
    await poll(replica, {name: line[name] for name in ("v0004", "v0005")})
    await ground.pass_time(8.6)
    await replica.allow(1)
    assert await replica.released() == 1
    await lose_everything(ground)
    for name, enters in (("v0000", False), ("v0004", True), ("v0005", False)):
        standings = await poll(replica, {name: line[name]})
        assert admitted_names(standings) == ([name] if enters else [])


async def test_visitor_released_again_enters_after_a_loss(ground: Ground, open_room: Open) -> None:
    """The ticket records that the visitor returned to a released turn. Only the store knew that it
    was released again."""
    replica, line = await released_past_two(ground, open_room)
    await replica.allow(1)
    assert await replica.released() == 1  # v0001
    await lose_everything(ground)
    standings = await poll(replica, {name: line[name] for name in ("v0003", "v0001")})
    assert admitted_names(standings) == ["v0003", "v0001"]
    later = line["v0002"]
    assert isinstance(later, QueuePosition)
    returned = {"later": replace(later, returned_at=2)}  # after all second releases
    assert admitted_names(await poll(replica, returned)) == []
    # Returned later than `later`, to an earlier turn.
    earlier = {"early": QueuePosition(line["v0001"].turn_us - 1, 0, returned_at=3)}
    assert admitted_names(await poll(replica, earlier)) == []


async def test_claims_are_bounded_through_a_second_loss(ground: Ground, open_room: Open) -> None:
    replica, line = await released_past_two(ground, open_room)
    for names in (["v0003"], ["v0002"]):
        await lose_everything(ground)
        admitted = await poll(replica, {name: line[name] for name in ["v0001", *names]})
        assert admitted_names(admitted) == names
    await lose_everything(ground)
    assert admitted_names(await poll(replica, {n: line[n] for n in ("v0001", "v0002")})) == []


async def test_claim_stays_open_beside_absent_visitors(ground: Ground, open_room: Open) -> None:
    """An absent visitor who was passed over just before the loss looks like a released one. It
    takes the claim of no other visitor: its admission is taken from the bucket in advance, at most
    a burst."""
    replica = await open_room(rate="60/min", burst=2, heartbeat_timeout="9s", confirm_timeout="9s")
    await replica.set_mode(Mode.HOLD)
    line = await line_up(replica, crowd(6))
    await ground.pass_time(8)
    await poll(replica, {name: line[name] for name in ("v0003", "v0004", "v0005")})
    await ground.pass_time(2)
    await replica.set_mode(Mode.AUTO)
    assert await replica.released() == 2  # v0003 and v0004, past three absent visitors
    await replica.queue.set_rate(3)
    await lose_everything(ground)
    entered = []
    for name in ("v0002", "v0001", "v0003", "v0004", "v0000"):
        entered += admitted_names(await poll(replica, {name: line[name]}))
    assert entered == ["v0002", "v0001", "v0003", "v0004"]
    await ground.pass_time(WINDOW_S)  # two admissions fall due; both were taken in advance
    waiting = {name: line[name] for name in ("v0000", "v0005")}
    assert admitted_names(await poll(replica, waiting)) == []
    assert await replica.released() == 0


async def test_returned_visitors_wait_for_the_recovery(ground: Ground, open_room: Open) -> None:
    """Also when admissions fall due meanwhile, since visitors at earlier turns may not have polled
    yet."""
    replica, line = await released_past_two(ground, open_room)
    await replica.queue.set_rate(60)
    await lose_everything(ground)
    await ground.pass_time(5)
    assert admitted_names(await poll(replica, {"v0001": line["v0001"]})) == []
    await ground.pass_time(WINDOW_S)
    assert admitted_names(await poll(replica, {"v0001": line["v0001"]})) == ["v0001"]


async def test_claims_after_a_loss_fill_slots_in_the_order_of_turns(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, max_active=2)
    replies = await line_up(replica, crowd(2))
    await replica.allow(2)
    await replica.released()
    await lose_everything(ground)
    until_us = (await replica.read_state()).now_us + 60_000_000
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
    state = await replica.read_state()
    until_us = state.now_us + 60_000_000
    await replica.queue.touch(VisitorId("inside"), until_us=until_us, ends_us=until_us)
    assert admitted_names(await poll(replica, replies)) == crowd(1)
