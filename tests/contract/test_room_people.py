"""Newcomers and unconfirmed visitors: only confirmed visitors count, on every store."""

from dataclasses import replace

import pytest

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import (
    Ground,
    Open,
    admitted_names,
    arrive,
    confirm,
    crowd,
    line_up,
    poll,
    poll_request,
)

ANN, BOB = VisitorId("ann"), VisitorId("bob")


# Admission at once


async def test_half_the_bucket_is_kept_for_confirmed_visitors(open_room: Open) -> None:
    replica = await open_room(burst=10)
    newcomers = await arrive(replica, crowd(20))
    assert admitted_names(newcomers) == crowd(5)
    waiting = {name: newcomers[name] for name in crowd(20)[5:]}
    assert admitted_names(await poll(replica, waiting)) == crowd(20)[5:10]


@pytest.mark.parametrize("burst", [2, 3])
async def test_small_bucket_reserves_an_admission_for_confirmed(
    burst: int, ground: Ground, open_room: Open
) -> None:
    """Otherwise a flood takes each admission when it falls due, and visitors wait for the next
    one."""
    replica = await open_room(rate="6/min", burst=burst)
    assert admitted_names(await arrive(replica, crowd(9))) == crowd(burst - 1)
    await ground.pass_time(9)  # 1.9 admissions, which is more than half of either bucket
    assert not (await replica.read_state()).has_room
    assert admitted_names(await arrive(replica, ["guess"])) == []
    assert admitted_names(await line_up(replica, ["ann"])) == ["ann"]


async def test_straight_through_needs_a_whole_admission(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1)
    assert admitted_names(await arrive(replica, ["ann"])) == ["ann"]
    await ground.pass_time(9)  # nine tenths, which is more than half of the bucket
    assert admitted_names(await arrive(replica, ["bob"])) == []
    await ground.pass_time(2.1)  # bob may be about to confirm for two seconds
    assert admitted_names(await arrive(replica, ["cat"])) == ["cat"]


async def test_grants_are_not_spent_on_guesses(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await replica.allow(5)
    newcomers = await arrive(replica, ["ann", "bob"])
    assert admitted_names(newcomers) == []
    assert not (await replica.read_state()).has_room
    assert admitted_names(await poll(replica, newcomers)) == ["ann", "bob"]
    assert (await replica.read_state()).pending_grants == 3


async def test_state_has_whether_there_is_room(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=3, max_active=3)
    assert (await replica.read_state()).has_room
    await arrive(replica, ["ann", "cat"])
    assert not (await replica.read_state()).has_room  # a third of the bucket is left
    await ground.pass_time(10)
    assert (await replica.read_state()).has_room
    await arrive(replica, ["bob"])
    await ground.pass_time(20)
    assert not (await replica.read_state()).has_room  # all slots are held
    await replica.queue.leave([BOB])
    assert (await replica.read_state()).has_room
    await replica.set_mode(Mode.HOLD)
    assert not (await replica.read_state()).has_room
    await replica.set_mode(Mode.OPEN)
    assert (await replica.read_state()).has_room


async def test_room_is_none_while_a_visitor_waits(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1)
    await line_up(replica, ["ann", "bob"])
    await ground.pass_time(10)
    assert not (await replica.read_state()).has_room
    assert admitted_names(await arrive(replica, ["cat"])) == []
    assert not await replica.queue.take_admission()


async def test_unconfirmed_slots_yield_to_confirmed_visitors(open_room: Open) -> None:
    replica = await open_room(burst=20, max_active=3)
    assert admitted_names(await arrive(replica, crowd(3))) == crowd(3)
    waiting = await arrive(replica, ["ann", "bob", "cat", "dan"])
    assert admitted_names(waiting) == []
    assert admitted_names(await poll(replica, waiting)) == ["ann", "bob", "cat"]
    state = await replica.read_state()
    assert (state.active, state.queue_length, state.expected) == (3, 1, 0)


async def test_oldest_unconfirmed_slot_is_given_up_first(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=20, max_active=2)
    await arrive(replica, ["early"])
    await ground.pass_time(5)
    await arrive(replica, ["late"])
    assert admitted_names(await line_up(replica, ["ann"])) == ["ann"]
    assert (await ground.read())["unconfirmed"].keys() == {"late"}
    await confirm(replica, ["early"])  # the pass has not expired: the visitor counts again
    contents = await ground.read()
    assert contents["active"].keys() == {"ann", "early"}
    assert "unconfirmed" not in contents


async def test_used_pass_moves_the_slot_to_the_confirmed_ones(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(confirm_timeout="20s")
    await arrive(replica, ["ann"])
    assert (await ground.read()).keys() >= {"unconfirmed"}
    await confirm(replica, ["ann"])
    await ground.pass_time(300)
    await replica.released()
    contents = await ground.read()
    assert contents["active"].keys() == {"ann"}
    assert contents.keys() & {"unconfirmed", "deadlines", "missed"} == set()
    assert (await replica.read_state()).admitted_total == 1


async def test_unconfirmed_slot_that_ends_gives_nothing_back(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6/min", burst=3, confirm_timeout="1s")
    await replica.queue.set_rate(0.06)
    assert admitted_names(await arrive(replica, crowd(3))) == crowd(2)
    await ground.pass_time(7)
    await replica.released()
    state = await replica.read_state()
    assert (state.active, state.abandoned_total) == (0, 0)
    assert not state.has_room  # these requests have used their share of the origin's rate
    assert (await ground.read()).keys() & {"missed", "unconfirmed"} == set()


# Requests that create no place


async def test_one_request_takes_an_admission_and_leaves_nothing(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(burst=3)
    before = await replica.read_state()
    assert await replica.queue.take_admission()
    assert await replica.queue.take_admission()
    assert not await replica.queue.take_admission()
    state = await replica.read_state()
    assert state.last_arrival_us == before.last_arrival_us
    assert (state.active, state.arrived_total, state.admitted_total) == (0, 0, 0)
    assert (await ground.read()).keys() == {"state"}
    waiting = await line_up(replica, ["ann", "bob"])
    assert admitted_names(waiting) == ["ann"]  # the bucket had three


async def test_one_request_needs_a_slot_but_holds_none(open_room: Open) -> None:
    replica = await open_room(burst=10, max_active=1)
    assert await replica.queue.take_admission()
    assert await replica.queue.take_admission()
    await arrive(replica, ["ann"])
    assert not await replica.queue.take_admission()


async def test_closed_gates_admit_no_single_request(open_room: Open) -> None:
    replica = await open_room(burst=10)
    for mode, admitted in {Mode.HOLD: False, Mode.ENDED: False, Mode.OPEN: True}.items():
        await replica.set_mode(mode)
        assert await replica.queue.take_admission() is admitted


# The claim of the first in the queue


async def test_first_in_the_queue_enters_with_its_poll(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1)
    waiting = await line_up(replica, ["inside", "ann", "bob"])
    del waiting["inside"]
    watermark_us = (await replica.read_state()).watermark_us
    await ground.pass_time(10)
    assert admitted_names(await poll(replica, dict(reversed(waiting.items())))) == ["ann"]
    state = await replica.read_state()
    assert (state.watermark_us, state.released_total) == (watermark_us, 1)
    assert (state.admitted_total, state.expected, state.queue_length) == (2, 0, 1)


async def test_first_in_the_queue_waits_for_a_slot(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10, max_active=1)
    await arrive(replica, ["ann"])
    await confirm(replica, ["ann"])
    waiting = await line_up(replica, ["bob"])
    assert waiting == {"bob": QueuePosition(waiting["bob"].turn_us, 0)}
    await replica.queue.leave([ANN])
    assert admitted_names(await poll(replica, waiting)) == ["bob"]


async def test_connected_or_stamped_first_in_the_queue_claims_nothing(open_room: Open) -> None:
    replica = await open_room(burst=10)
    ann = poll_request("ann", 5)
    for request in (replace(ann, connected=True), replace(ann, by_proxy=True)):
        assert await replica.queue.poll(request) == QueuePosition(5, 0)
    assert (await replica.read_state()).admitted_total == 0


async def test_closed_gate_admits_no_first_in_the_queue(open_room: Open) -> None:
    replica = await open_room(burst=10)
    await replica.set_mode(Mode.HOLD)
    waiting = await line_up(replica, ["ann"])
    assert (
        await poll(replica, waiting) == waiting == {"ann": QueuePosition(waiting["ann"].turn_us, 0)}
    )
    await replica.set_mode(Mode.OPEN)
    assert admitted_names(await poll(replica, waiting)) == ["ann"]
    assert (await replica.read_state()).released_total == 1
