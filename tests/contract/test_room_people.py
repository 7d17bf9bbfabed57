"""Newcomers, guesses and no-shows: only confirmed visitors count, on every store."""

import pytest

from gatekeeper.policy.decision import QueuePosition, SlotGrant, VoidToken
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    arrive,
    confirm,
    crowd,
    line_up,
    poll,
    poll_request,
    stay,
)

ANN, BOB = VisitorId("ann"), VisitorId("bob")


async def with_pass(replica: Replica, name: str, turn_us: int = 1) -> object:
    """The reply to a visitor whose pass has expired before its end."""
    return await replica.queue.poll(poll_request(name, turn_us, has_pass=True))


async def missed_release(
    ground: Ground, replica: Replica, name: str, turn_us: int, *, count: int = 1
) -> None:
    """This visitor waits, is released, and lets the claim window (30 s) pass; `count` times."""
    for _ in range(count):
        await stay(replica, {name: QueuePosition(turn_us, 0)})
        if not (await replica.look()).pending_grants:  # else the last one was given back
            await replica.allow(1)
        assert await replica.released() == 1
        await replica.set_mode(Mode.HOLD)
        await ground.pass_time(30.1)
        await replica.released()
        await replica.set_mode(Mode.AUTO)


# Straight through


async def test_half_the_bucket_is_kept_for_confirmed_visitors(open_room: Open) -> None:
    replica = await open_room(burst=10)
    newcomers = await arrive(replica, crowd(20))
    assert admitted_names(newcomers) == crowd(5)
    waiting = {name: newcomers[name] for name in crowd(20)[5:]}
    assert admitted_names(await poll(replica, waiting)) == crowd(20)[5:10]


@pytest.mark.parametrize("burst", [2, 3])
async def test_small_bucket_keeps_a_whole_admission_for_confirmed_visitors(
    burst: int, ground: Ground, open_room: Open
) -> None:
    """Else a flood takes each admission when it is due, and visitors wait for the next one."""
    replica = await open_room(rate="6/min", burst=burst)
    assert admitted_names(await arrive(replica, crowd(9))) == crowd(burst - 1)
    await ground.pass_time(9)  # 1.9 admissions, which is more than half of either bucket
    assert not (await replica.look()).has_room
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
    assert not (await replica.look()).has_room
    assert admitted_names(await poll(replica, newcomers)) == ["ann", "bob"]
    assert (await replica.look()).pending_grants == 3


async def test_state_has_whether_there_is_room(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=3, max_active=3)
    assert (await replica.look()).has_room
    await arrive(replica, ["ann", "cat"])
    assert not (await replica.look()).has_room  # a third of the bucket is left
    await ground.pass_time(10)
    assert (await replica.look()).has_room
    await arrive(replica, ["bob"])
    await ground.pass_time(20)
    assert not (await replica.look()).has_room  # all slots are held
    await replica.queue.leave([BOB])
    assert (await replica.look()).has_room
    await replica.set_mode(Mode.HOLD)
    assert not (await replica.look()).has_room
    await replica.set_mode(Mode.OPEN)
    assert (await replica.look()).has_room


async def test_room_is_none_while_a_visitor_waits(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1)
    await line_up(replica, ["ann", "bob"])
    await ground.pass_time(10)
    assert not (await replica.look()).has_room
    assert admitted_names(await arrive(replica, ["cat"])) == []
    assert not await replica.queue.take_admission()


async def test_unconfirmed_slots_yield_to_confirmed_visitors(open_room: Open) -> None:
    replica = await open_room(burst=20, max_active=3)
    assert admitted_names(await arrive(replica, crowd(3))) == crowd(3)
    waiting = await arrive(replica, ["ann", "bob", "cat", "dan"])
    assert admitted_names(waiting) == []
    assert admitted_names(await poll(replica, waiting)) == ["ann", "bob", "cat"]
    state = await replica.look()
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
    assert (await replica.look()).admitted_total == 1


async def test_unconfirmed_slot_that_ends_gives_nothing_back(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6/min", burst=3, confirm_timeout="1s")
    await replica.queue.set_rate(0.06)
    assert admitted_names(await arrive(replica, crowd(3))) == crowd(2)
    await ground.pass_time(7)
    await replica.released()
    state = await replica.look()
    assert (state.active, state.abandoned_total) == (0, 0)
    assert not state.has_room  # of the origin's rate these requests have used their share
    assert (await ground.read()).keys() & {"missed", "unconfirmed"} == set()


# Requests that create no place


async def test_one_request_takes_an_admission_and_leaves_nothing(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(burst=3)
    before = await replica.look()
    assert await replica.queue.take_admission()
    assert await replica.queue.take_admission()
    assert not await replica.queue.take_admission()
    state = await replica.look()
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
    watermark_us = (await replica.look()).watermark_us
    await ground.pass_time(10)
    assert admitted_names(await poll(replica, dict(reversed(waiting.items())))) == ["ann"]
    state = await replica.look()
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
    for request in (ann._replace(connected=True), ann._replace(by_proxy=True)):
        assert await replica.queue.poll(request) == QueuePosition(5, 0)
    assert (await replica.look()).admitted_total == 0


async def test_closed_gate_admits_no_first_in_the_queue(open_room: Open) -> None:
    replica = await open_room(burst=10)
    await replica.set_mode(Mode.HOLD)
    waiting = await line_up(replica, ["ann"])
    assert (
        await poll(replica, waiting) == waiting == {"ann": QueuePosition(waiting["ann"].turn_us, 0)}
    )
    await replica.set_mode(Mode.OPEN)
    assert admitted_names(await poll(replica, waiting)) == ["ann"]
    assert (await replica.look()).released_total == 1


# No-shows


async def test_no_show_gives_the_admission_back(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1, claim_timeout="9s", heartbeat_timeout="90s")
    waiting = await line_up(replica, ["inside", "ann", "bob"])
    await ground.pass_time(10)
    assert await replica.released() == 1
    await ground.pass_time(9.01)
    assert await replica.released() == 1  # by the one that ann gave back
    assert admitted_names(await poll(replica, {"bob": waiting["bob"]})) == ["bob"]
    await ground.pass_time(1)
    assert admitted_names(await poll(replica, {"ann": waiting["ann"]})) == ["ann"]
    state = await replica.look()
    assert (state.released_total, state.admitted_total, state.abandoned_total) == (3, 3, 1)
    assert await replica.queue.count_no_shows() == 1


async def test_given_back_admissions_are_bounded_by_burst(ground: Ground, open_room: Open) -> None:
    """Of the twelve that are given back at once three are handed on."""
    replica = await open_room(rate="6/min", burst=3, claim_timeout="30s", heartbeat_timeout="9m")
    await replica.queue.set_rate(0)
    await line_up(replica, crowd(30))
    await replica.queue.set_rate(6000)
    for _ in range(4):
        await ground.pass_time(1)
        assert await replica.released() == 3
    await replica.queue.set_rate(0)
    assert await replica.released() == 0  # what fell due since is gone
    await replica.queue.set_rate(0.06)
    await ground.pass_time(31)
    assert await replica.released() == 3
    assert await replica.released() == 0


async def test_fraction_is_kept_when_an_admission_is_given_back(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6/min", burst=1, claim_timeout="9s", heartbeat_timeout="90s")
    await line_up(replica, ["inside", *crowd(5)])
    await ground.pass_time(10)
    assert await replica.released() == 1
    await ground.pass_time(9.5)  # and 0.95 of the next one
    assert await replica.released() == 1
    await ground.pass_time(0.5)
    assert await replica.released() == 1


async def test_missed_grant_is_a_grant_again(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", heartbeat_timeout="90s")
    waiting = await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    assert await replica.released() == 1
    await ground.pass_time(30.1)
    assert await replica.released() == 1
    state = await replica.look()
    assert (state.pending_grants, state.expected) == (0, 1)
    assert admitted_names(await poll(replica, {"bob": waiting["bob"]})) == ["bob"]


async def test_missed_release_of_an_open_room_gives_nothing_back(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", heartbeat_timeout="90s")
    await line_up(replica, crowd(5))
    await replica.set_mode(Mode.OPEN)
    assert await replica.released() == 5
    await replica.set_mode(Mode.AUTO)
    await ground.pass_time(30.1)
    await replica.released()
    state = await replica.look()
    assert (state.pending_grants, state.abandoned_total) == (0, 5)
    assert admitted_names(await line_up(replica, ["late"])) == []


async def test_claimed_slot_that_expires_gives_nothing_back(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, session_idle_timeout="60s")
    waiting = await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    assert admitted_names(await poll(replica, waiting)) == ["ann"]
    await ground.pass_time(80)
    assert await replica.released() == 0
    assert (await replica.look()).pending_grants == 0


async def test_released_visitor_who_leaves_gives_the_admission_back(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    assert await replica.released() == 1
    await replica.queue.leave([ANN], with_tickets=True)
    assert await replica.released() == 1
    await replica.queue.leave([BOB])
    assert (await replica.look()).pending_grants == 1


async def test_first_missed_release_keeps_the_turn(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", heartbeat_timeout="9m")
    waiting = await line_up(replica, ["ann", "bob"])
    await missed_release(ground, replica, "ann", waiting["ann"].turn_us)
    await replica.set_mode(Mode.HOLD)
    assert await poll(replica, waiting) == {
        "ann": QueuePosition(waiting["ann"].turn_us, 0, returned_at=1),
        "bob": QueuePosition(waiting["bob"].turn_us, 1),
    }


async def test_second_missed_release_goes_to_the_end(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", heartbeat_timeout="9m")
    waiting = await line_up(replica, ["ann", "bob", "cat"])
    turn_us = waiting["ann"].turn_us
    await missed_release(ground, replica, "ann", turn_us, count=2)
    await replica.set_mode(Mode.HOLD)
    late = await line_up(replica, ["late"])
    moved = (await poll(replica, {"ann": waiting["ann"]}))["ann"]
    assert isinstance(moved, QueuePosition)
    assert waiting["cat"].turn_us < moved.turn_us < late["late"].turn_us
    assert (moved.ahead, moved.is_moved) == (2, True)
    # The reply is lost: the old ticket has the new place all the same.
    at_end = QueuePosition(turn_us, 2, returned_at=2)  # nobody enters by a turn that is lost
    assert await poll(replica, {"ann": waiting["ann"]}) == {"ann": at_end}
    assert await poll(replica, {"ann": moved}) == {"ann": moved._replace(is_moved=False)}


async def test_every_further_missed_release_moves_the_turn_again(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", heartbeat_timeout="9m")
    waiting = await line_up(replica, ["ann"])
    turns = [waiting["ann"].turn_us]
    for count in (2, 1, 1):
        await missed_release(ground, replica, "ann", turns[-1], count=count)
        await replica.set_mode(Mode.HOLD)
        standing = (await poll(replica, {"ann": QueuePosition(turns[-1], 0)}))["ann"]
        await replica.set_mode(Mode.AUTO)
        assert isinstance(standing, QueuePosition)
        turns.append(standing.turn_us)
    assert turns == sorted(set(turns))


async def test_missed_release_is_forgotten_with_the_ticket(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0, claim_timeout="30s", heartbeat_timeout="90s", place_ttl="10m")
    waiting = await line_up(replica, ["ann", "bob"])
    await missed_release(ground, replica, "ann", waiting["ann"].turn_us)
    assert (await ground.read())["missed"].keys() == {"ann"}
    await ground.pass_time(719)
    await replica.released()
    assert "missed" in await ground.read()
    await ground.pass_time(2)
    await replica.released()
    assert "missed" not in await ground.read()


# A pass that expired before its end


async def test_expired_pass_counts_while_its_slot_is_held(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10)
    await arrive(replica, ["ann", "bob"])
    await confirm(replica, ["bob"])
    for name in ("ann", "bob"):  # one unconfirmed until now
        grant = await with_pass(replica, name)
        assert isinstance(grant, SlotGrant)
        assert grant.confirmed
    contents = await ground.read()
    assert contents["active"].keys() == {"ann", "bob"}
    assert "unconfirmed" not in contents
    assert (await replica.look()).admitted_total == 2


async def test_expired_pass_without_slot_is_void(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=10, confirm_timeout="20s")
    await replica.allow(10)
    await arrive(replica, ["ann"])
    assert await with_pass(replica, "unknown") == VoidToken()
    await ground.pass_time(26)  # the slot has ended, and no pacer has looked since
    assert await with_pass(replica, "ann") == VoidToken()
    await replica.set_mode(Mode.OPEN)
    assert await with_pass(replica, "ann") == VoidToken()
    state = await replica.look()
    assert (state.queue_length, state.pending_grants) == (0, 10)


async def test_expired_pass_is_no_place_in_the_queue(open_room: Open) -> None:
    replica = await open_room(rate=0)
    waiting = await line_up(replica, ["ann"])
    assert await with_pass(replica, "ann", waiting["ann"].turn_us) == VoidToken()
    assert (await replica.look()).queue_length == 1


async def test_revoked_visitor_has_no_expired_pass(open_room: Open) -> None:
    replica = await open_room(burst=10)
    await arrive(replica, ["ann"])
    await replica.queue.leave([ANN])
    assert await with_pass(replica, "ann") == VoidToken()
