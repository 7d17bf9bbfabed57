"""Which visitors are admitted, in which order and how many: held on every store.

Read with `grounds.py` (where a room is kept, and how its time passes) and `conftest.py`.
"""

import asyncio
from collections.abc import Sequence

from gatekeeper.policy.decision import LineFull, QueuePosition, SlotGrant, Standing
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import MAX_RELEASED_PER_CALL
from gatekeeper.room.visitor_calls import ArrivalRequest
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


async def at_once(replicas: Sequence[Replica]) -> int:
    """The number of released visitors when the pacers of all replicas call at the same time."""
    return sum(await asyncio.gather(*[replica.released() for replica in replicas]))


# Arrivals


async def test_arrivals_of_one_call_are_unique_and_rising(open_room: Open) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(100))
    arrivals = [each.turn_us for each in replies.values()]
    assert arrivals == sorted(set(arrivals))
    assert list(replies.values()) == [
        QueuePosition(arrival_us, ahead) for ahead, arrival_us in enumerate(arrivals)
    ]


async def test_concurrent_replicas_give_unique_arrivals_and_positions(open_room: Open) -> None:
    replicas = [await open_room(rate=0) for _ in range(4)]
    groups = await asyncio.gather(
        *[line_up(each, crowd(50, prefix=f"r{at}-")) for at, each in enumerate(replicas)]
    )
    standings = await poll(replicas[0], {n: each for group in groups for n, each in group.items()})
    waiting = [each for each in standings.values() if isinstance(each, QueuePosition)]
    everyone = sorted(waiting, key=lambda each: each.turn_us)
    assert len({each.turn_us for each in everyone}) == 200
    assert [each.ahead for each in everyone if isinstance(each, QueuePosition)] == list(range(200))
    for group in groups:
        arrivals = [each.turn_us for each in group.values()]
        assert arrivals == sorted(arrivals)


async def test_more_arrivals_than_a_batch_each_get_a_place(open_room: Open) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(350))
    assert sorted(each.ahead for each in replies.values() if isinstance(each, QueuePosition)) == [
        *range(350)
    ]
    state = await replica.read_state()
    assert (state.queue_length, state.arrived_total) == (350, 350)


async def test_arrival_is_the_stores_clock_in_microseconds(open_room: Open) -> None:
    replica = await open_room(rate=0)
    before = await replica.read_state()
    replies = await line_up(replica, ["ann"])
    after = await replica.read_state()
    assert before.now_us <= replies["ann"].turn_us <= after.now_us
    assert after.last_arrival_us == replies["ann"].turn_us


async def test_turn_of_sixteen_digits_is_kept_exactly(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    arrivals = {f"v{number}": PROVISIONAL_US - 20 + number for number in range(20)}
    contents = await ground.read()
    contents["state"]["last"] = str(PROVISIONAL_US - 1)  # else they are stamped ahead of it
    await ground.write(contents)
    for name, arrival_us in reversed(arrivals.items()):
        await replica.queue.poll(poll_request(name, arrival_us))
    assert (await ground.read())["queue"] == arrivals
    for ahead, (name, arrival_us) in enumerate(arrivals.items()):
        standing = await replica.queue.poll(poll_request(name, arrival_us))
        assert standing == QueuePosition(arrival_us, ahead)
    await replica.allow(20)
    assert await replica.released() == 20
    assert (await replica.read_state()).watermark_us == PROVISIONAL_US - 1


async def test_newcomer_arrives_behind_every_place(open_room: Open) -> None:
    replica = await open_room(rate=0)
    ahead_us = (await replica.read_state()).now_us + 60_000_000
    await replica.queue.poll(poll_request("stamped by a clock that runs ahead", ahead_us))
    replies = await line_up(replica, ["ann", "bob"])
    assert replies == {"ann": QueuePosition(ahead_us + 1, 1), "bob": QueuePosition(ahead_us + 2, 2)}


async def test_late_arrival_call_leaves_the_place(open_room: Open) -> None:
    replica = await open_room(rate=0)
    first = await line_up(replica, ["ann", "bob"])
    await arrive(replica, ["bob", "ann"])
    assert await poll(replica, first) == first
    assert (await replica.read_state()).queue_length == 2


async def test_second_arrival_keeps_the_slot(open_room: Open) -> None:
    replica = await open_room(burst=5)
    await line_up(replica, ["ann"])
    assert admitted_names(await line_up(replica, ["ann"])) == ["ann"]
    state = await replica.read_state()
    assert (state.active, state.arrived_total, state.admitted_total) == (1, 1, 1)


# Admission at once


async def test_newcomers_are_admitted_while_the_bucket_lasts(open_room: Open) -> None:
    replica = await open_room(burst=3)
    replies = await line_up(replica, crowd(5))
    assert admitted_names(replies) == crowd(3)
    state = await replica.read_state()
    assert (state.active, state.queue_length, state.admitted_total) == (3, 2, 3)


async def test_admitted_newcomer_is_unconfirmed_until_the_next_poll(
    open_room: Open,
) -> None:
    replica = await open_room()
    replies = await line_up(replica, ["ann"])
    assert replies["ann"] == SlotGrant(replies["ann"].turn_us, confirmed=False)
    again = await replica.queue.poll(poll_request("ann", replies["ann"].turn_us, has_pass=True))
    assert isinstance(again, SlotGrant)
    assert (again.turn_us, again.confirmed) == (replies["ann"].turn_us, True)
    assert (await replica.read_state()).admitted_total == 1


async def test_newcomer_waits_while_others_wait(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=3)
    await line_up(replica, crowd(4))
    await ground.pass_time(35)
    replies = await line_up(replica, ["late"])
    assert replies["late"] == QueuePosition(replies["late"].turn_us, 1)


async def test_bucket_holds_at_most_burst(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=3)
    await line_up(replica, crowd(3))
    await ground.pass_time(100_000)
    assert len(admitted_names(await line_up(replica, crowd(10, prefix="w")))) == 3


async def test_concurrent_replicas_stay_within_the_bucket(open_room: Open) -> None:
    replicas = [await open_room(burst=7) for _ in range(5)]
    groups = await asyncio.gather(
        *[line_up(each, crowd(20, prefix=f"r{at}-")) for at, each in enumerate(replicas)]
    )
    assert sum(len(admitted_names(group)) for group in groups) == 7


async def test_concurrent_replicas_stay_within_the_slots(open_room: Open) -> None:
    replicas = [await open_room(burst=100, max_active=5) for _ in range(5)]
    groups = await asyncio.gather(
        *[arrive(each, crowd(20, prefix=f"r{at}-")) for at, each in enumerate(replicas)]
    )
    inside = [VisitorId(name) for group in groups for name in admitted_names(group)]
    assert len(inside) == 5
    await confirm(replicas[0], inside)
    waiting = {n: r for group in groups for n, r in group.items() if n not in inside}
    assert admitted_names(await poll(replicas[0], waiting)) == []
    assert await at_once(replicas) == 0
    await replicas[0].queue.leave(inside[:2])
    assert await at_once(replicas) == 2
    assert (await replicas[0].read_state()).active == 5


# Releases


async def test_releases_follow_the_order_of_turns(open_room: Open) -> None:
    replicas = [await open_room(rate=0) for _ in range(5)]
    replies = await line_up(replicas[0], crowd(50))
    await replicas[0].allow(20)
    assert await at_once(replicas) == 20
    state = await replicas[0].read_state()
    assert state.watermark_us == replies["v0019"].turn_us
    standings = await poll(replicas[1], replies)
    assert admitted_names(standings) == crowd(50)[:20]
    assert [each.ahead for each in standings.values() if isinstance(each, QueuePosition)] == [
        *range(30)
    ]


async def test_concurrent_replicas_release_what_is_due_once(
    ground: Ground, open_room: Open
) -> None:
    replicas = [await open_room(burst=10) for _ in range(5)]
    replies = await line_up(replicas[0], crowd(50))
    assert len(admitted_names(replies)) == 10
    assert await at_once(replicas) == 0
    await ground.pass_time(15)
    assert await at_once(replicas) == 1
    await poll(replicas[0], replies)
    await ground.pass_time(40)
    assert await at_once(replicas) == 4  # 1.5 and 4.0 were due; the fraction is kept
    await poll(replicas[0], replies)
    await ground.pass_time(89)
    await stay(replicas[0], replies)
    await ground.pass_time(89)
    assert await at_once(replicas) == 10  # no more than burst


async def test_concurrent_calls_admit_no_more_than_is_due(
    open_room: Open,
) -> None:
    replicas = [await open_room(burst=20, max_active=30) for _ in range(4)]
    await replicas[0].allow(25)

    async def visit(replica: Replica, name: str) -> Standing:
        reply = await replica.queue.arrive(ArrivalRequest(VisitorId(name)))
        assert not isinstance(reply, LineFull)
        await replica.released()
        return await replica.queue.poll(poll_request(name, reply.turn_us))

    standings = await asyncio.gather(
        *[visit(replicas[number % 4], name) for number, name in enumerate(crowd(120))]
    )
    await at_once(replicas)
    state = await replicas[0].read_state()
    assert state.active == 30
    assert state.queue_length == 90
    # 20 were taken from the bucket before any grant was used. A visitor who gave up an unconfirmed
    # slot to a confirmed visitor may have been admitted twice.
    assert 15 >= state.pending_grants == 45 - state.admitted_total - state.expected
    assert sum(isinstance(each, SlotGrant) for each in standings) <= 30


async def test_one_call_releases_at_most_a_thousand(
    open_room: Open,
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(MAX_RELEASED_PER_CALL + 50))
    await replica.allow(5000)
    assert await replica.released() == MAX_RELEASED_PER_CALL
    assert await replica.released() == 50
    state = await replica.read_state()
    assert state.watermark_us == max(each.turn_us for each in replies.values())
    assert (state.released_total, state.pending_grants, state.queue_length) == (1050, 3950, 0)


async def test_one_call_releases_for_the_rate_and_for_grants(
    ground: Ground, open_room: Open
) -> None:
    """120 by the rate and 90 by grants, in three chunks, with absent visitors that the sweep has
    not reached. In `deadlines`, -1 means that a release cost a grant."""
    replica = await open_room(burst=120, heartbeat_timeout="10m")
    hasty = await open_room(burst=120, heartbeat_timeout="20s")
    await replica.set_mode(Mode.HOLD)
    names, ghosts = crowd(260), crowd(30, prefix="ghost")
    await line_up(replica, names[:150])
    await line_up(hasty, ghosts)
    await line_up(replica, names[150:])
    await replica.released()  # the sweep has read the whole line
    await ground.pass_time(21)
    before = await ground.read()
    before["state"]["swept_at"] = before["state"]["attended_at"]
    await ground.write(before)
    await replica.set_mode(Mode.AUTO)
    await replica.allow(90)
    assert await replica.released() == 210
    contents = await ground.read()
    assert contents["active"].keys() == {*names[:210]}
    assert contents["queue"].keys() == {*names[210:]}
    costs = contents["deadlines"]
    assert [name for name in names if costs[name] == "-1"] == names[120:210]
    state = await replica.read_state()
    assert (state.abandoned_total, state.pending_grants) == (30, 0)


async def test_returned_slot_is_free_at_once(open_room: Open) -> None:
    replica = await open_room(burst=10, max_active=1)
    assert admitted_names(await arrive(replica, ["ann"])) == ["ann"]
    await confirm(replica, ["ann"])
    replies = await line_up(replica, ["bob"])
    assert await replica.released() == 0
    await replica.queue.leave([VisitorId("ann")])
    assert await replica.released() == 1
    assert admitted_names(await poll(replica, replies)) == ["bob"]


# Replicas


async def test_replicas_are_counted_while_they_call(ground: Ground, open_room: Open) -> None:
    replicas = [await open_room() for _ in range(3)]
    await at_once(replicas)
    assert (await replicas[0].read_state()).replicas == 3
    await ground.pass_time(6)
    await replicas[0].released()
    assert (await replicas[0].read_state()).replicas == 1
