"""No-shows: the admission returns to the bucket, and the visitor to the line; on every store."""

from dataclasses import replace

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import Ground, Open, Replica, admitted_names, crowd, line_up, poll, stay

ANN, BOB = VisitorId("ann"), VisitorId("bob")


async def missed_release(
    ground: Ground, replica: Replica, name: str, turn_us: int, *, count: int = 1
) -> None:
    """This visitor waits, is released, and does not claim within 30 s; `count` times."""
    for _ in range(count):
        await stay(replica, {name: QueuePosition(turn_us, 0)})
        if not (await replica.read_state()).pending_grants:  # else the last grant was given back
            await replica.allow(1)
        assert await replica.released() == 1
        await replica.set_mode(Mode.HOLD)
        await ground.pass_time(30.1)
        await replica.released()
        await replica.set_mode(Mode.AUTO)


async def test_no_show_gives_the_admission_back(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6/min", burst=1, claim_timeout="9s", heartbeat_timeout="90s")
    waiting = await line_up(replica, ["inside", "ann", "bob"])
    await ground.pass_time(10)
    assert await replica.released() == 1
    await ground.pass_time(9.01)
    assert await replica.released() == 1  # by the admission that ann gave back
    assert admitted_names(await poll(replica, {"bob": waiting["bob"]})) == ["bob"]
    await ground.pass_time(1)
    assert admitted_names(await poll(replica, {"ann": waiting["ann"]})) == ["ann"]
    state = await replica.read_state()
    assert (state.released_total, state.admitted_total, state.abandoned_total) == (3, 3, 1)
    assert await replica.queue.count_no_shows() == 1


async def test_given_back_admissions_are_bounded_by_burst(ground: Ground, open_room: Open) -> None:
    """Of twelve admissions that are given back at once three are used again."""
    replica = await open_room(rate="6/min", burst=3, claim_timeout="30s", heartbeat_timeout="9m")
    await replica.queue.set_rate(0)
    await line_up(replica, crowd(30))
    await replica.queue.set_rate(6000)
    for _ in range(4):
        await ground.pass_time(1)
        assert await replica.released() == 3
    await replica.queue.set_rate(0)
    assert await replica.released() == 0  # a rate of 0 has emptied the bucket
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
    state = await replica.read_state()
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
    state = await replica.read_state()
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
    assert (await replica.read_state()).pending_grants == 0


async def test_released_visitor_who_leaves_gives_the_admission_back(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann", "bob"])
    await replica.allow(1)
    assert await replica.released() == 1
    await replica.queue.leave([ANN], with_tickets=True)
    assert await replica.released() == 1
    await replica.queue.leave([BOB])
    assert (await replica.read_state()).pending_grants == 1


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
    # The reply is lost: the old ticket gives the new place too.
    at_end = QueuePosition(turn_us, 2, returned_at=2)  # a lost turn admits no visitor
    assert await poll(replica, {"ann": waiting["ann"]}) == {"ann": at_end}
    assert await poll(replica, {"ann": moved}) == {"ann": replace(moved, is_moved=False)}


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
