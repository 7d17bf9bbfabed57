"""What an operator sets: the rate, grants, the mode and the message. Held on every store."""

import pytest

from gatekeeper.policy.phase import Mode, is_moving, phase_of
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import Ground, Open, admitted_names, confirm, crowd, line_up, poll


async def test_rate_of_zero_admits_only_grants(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, burst=10)
    await ground.pass_time(100_000)
    await replica.allow(2)
    replies = await line_up(replica, crowd(5))
    assert admitted_names(replies) == crowd(2)
    await ground.pass_time(10)
    assert await replica.released() == 0


async def test_grants_add_up_beyond_burst(open_room: Open) -> None:
    replica = await open_room(rate=0, burst=1)
    await line_up(replica, crowd(25))
    assert (await replica.allow(10)).pending_grants == 10
    assert (await replica.allow(10)).pending_grants == 20
    assert await replica.released() == 20
    assert await replica.released() == 0


async def test_unused_grants_are_kept(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, burst=1)
    await line_up(replica, crowd(3))
    await replica.allow(10)
    assert await replica.released() == 3
    await ground.pass_time(100_000)
    assert (await replica.read_state()).pending_grants == 7
    assert len(admitted_names(await line_up(replica, crowd(9, prefix="w")))) == 7


async def test_grants_stay_within_the_slots(open_room: Open) -> None:
    replica = await open_room(rate=0, max_active=4)
    await line_up(replica, crowd(10))
    await replica.allow(10)
    assert await replica.released() == 4
    assert (await replica.read_state()).pending_grants == 6


SHUT = pytest.mark.parametrize("shut", [mode for mode in Mode if not is_moving(phase_of(mode))])


@SHUT
async def test_held_or_ended_room_releases_no_visitor(
    ground: Ground, open_room: Open, shut: Mode
) -> None:
    replica = await open_room(burst=5)
    replies = await line_up(replica, crowd(8))
    await replica.set_mode(shut)
    await replica.allow(10)
    await ground.pass_time(15)
    assert await replica.released() == 0
    assert admitted_names(await poll(replica, replies)) == crowd(5)
    await replica.set_mode(Mode.AUTO)
    assert await replica.released() == 3


@SHUT
async def test_held_or_ended_room_admits_no_newcomer(open_room: Open, shut: Mode) -> None:
    replica = await open_room(burst=5)
    await replica.set_mode(shut)
    await replica.allow(10)
    assert admitted_names(await line_up(replica, crowd(5))) == []
    assert (await replica.read_state()).pending_grants == 10


async def test_open_room_releases_every_visitor(
    open_room: Open,
) -> None:
    replica = await open_room(rate=0, max_active=1)
    replies = await line_up(replica, crowd(30))
    await replica.allow(3)
    await replica.set_mode(Mode.OPEN)
    assert await replica.released() == 30
    assert admitted_names(await poll(replica, replies)) == crowd(30)
    assert admitted_names(await line_up(replica, ["late"])) == ["late"]
    assert (await replica.read_state()).pending_grants == 3  # an open gate costs none


async def test_room_stays_within_its_slots_after_being_open(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(burst=5, max_active=2)
    await replica.set_mode(Mode.OPEN)
    inside = admitted_names(await line_up(replica, crowd(10)))
    await confirm(replica, inside)
    await replica.set_mode(Mode.AUTO)
    await replica.allow(5)
    assert admitted_names(await line_up(replica, ["late"])) == []
    await replica.queue.leave([VisitorId(name) for name in inside[:8]])
    assert await replica.released() == 0
    await replica.queue.leave([VisitorId(inside[8])])
    assert await replica.released() == 1


async def test_new_rate_keeps_what_fell_due_before(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10)
    await line_up(replica, crowd(20))
    await ground.pass_time(15)
    state = await replica.queue.set_rate(60)
    assert state.rate_per_minute == 60
    await ground.pass_time(1)
    assert await replica.released() == 2


async def test_rate_of_zero_empties_the_bucket(open_room: Open) -> None:
    replica = await open_room(burst=10)
    await replica.queue.set_rate(0)
    await replica.queue.set_rate(6)
    assert admitted_names(await line_up(replica, ["ann"])) == []


async def test_setting_reaches_other_replicas_with_their_next_call(open_room: Open) -> None:
    one, other = await open_room(), await open_room()
    await one.queue.set_rate(123.25)
    await one.set_mode(Mode.HOLD)
    await other.released()
    assert other.newest is not None
    assert (other.newest.rate_per_minute, other.newest.mode) == (123.25, Mode.HOLD)
    assert other.newest.replicas == 1  # the other one has not paced yet


async def test_message_is_kept_until_it_is_removed(ground: Ground, open_room: Open) -> None:
    one, other = await open_room(), await open_room()
    assert (await one.read_state()).message == ""
    state = await one.queue.set_message("Türen um 12 – doors at noon 🎟")
    assert other.newest is not None
    assert state.version > other.newest.version  # so that every replica accepts it
    await line_up(other, ["ann"])
    await other.released()
    assert other.newest.message == "Türen um 12 – doors at noon 🎟"
    await one.queue.set_message("")
    assert (await other.read_state()).message == ""
