"""Visitors of lanes with their tickets: in line, at a draw, and after a loss; on every store."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.draw import lane_spans, participant_of
from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.schedule import Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.contract.event_room import draw, gather, open_now, plan, turns
from tests.contract.grounds import Ground, Open, Replica, crowd, line_up, poll, poll_request

MINUTE_US = 60_000_000
MEMBERS, FRIENDS = Lane("members", 15 * MINUTE_US), Lane("friends", MINUTE_US)
WINDOW_S = 40  # longer than the recovery window of these rooms


class Members:
    """Visitors of one lane, and the replica that they call."""

    def __init__(self, replica: Replica, lane: Lane = MEMBERS) -> None:
        self.replica, self.lane = replica, lane
        self.places: dict[str, QueuePosition] = {}
        self.returned: set[str] = set()

    async def arrive(self, *names: str) -> None:
        for name in names:
            request = ArrivalRequest(VisitorId(name), head_start_us=self.lane.head_start_us)
            place = await self.replica.queue.arrive(request)
            assert isinstance(place, QueuePosition)
            self.places[name] = place

    def arrival_us(self, name: str) -> int:
        place = self.places[name]
        return place.arrival_us or place.turn_us

    def request(self, name: str, *, turn_us: int | None = None) -> PollRequest:
        return PollRequest(
            VisitorId(name),
            self.places[name].turn_us if turn_us is None else turn_us,
            has_pass=False,
            lane=self.lane.name,
            arrival_us=self.arrival_us(name),
            confirmed=name in self.returned,
        )

    async def poll(self, name: str) -> QueuePosition | SlotGrant:
        standing = await self.replica.queue.poll(self.request(name))
        assert isinstance(standing, QueuePosition | SlotGrant)
        self.returned.add(name)
        if isinstance(standing, QueuePosition) and standing.is_moved:
            arrived_us = self.arrival_us(name)
            self.places[name] = replace(standing, arrival_us=arrived_us)
        return standing

    async def join(self, *names: str) -> None:
        await self.arrive(*names)
        for name in names:
            assert isinstance(await self.poll(name), QueuePosition)


async def release(replica: Replica, count: int) -> int:
    """The watermark after a call that releases `count` visitors."""
    await replica.allow(count)
    assert await replica.released() == count
    return (await replica.read_state()).watermark_us


async def test_member_of_a_young_room_starts_no_recovery(open_room: Open) -> None:
    """The turn is before the epoch of the store, but the arrival is not."""
    replica = await open_room(rate=0)
    await line_up(replica, ["ann"])
    members = Members(replica)
    await members.join("member")
    state = await replica.read_state()
    assert members.places["member"].turn_us < state.epoch
    assert state.recovering_until_us <= state.now_us
    assert await release(replica, 1) == members.places["member"].turn_us
    assert isinstance(await members.poll("member"), SlotGrant)


async def test_member_confirms_behind_what_was_released_meanwhile(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["walt", "wanda", "will"])
    members = Members(replica)
    await members.arrive("member")
    watermark_us = await release(replica, 2)
    standing = await members.poll("member")
    assert standing == QueuePosition(watermark_us + 1, 0, is_moved=True)
    assert await members.poll("member") == QueuePosition(watermark_us + 1, 0)


async def test_absent_member_returns_behind_what_was_released(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0, heartbeat_timeout="30s")
    members = Members(replica)
    await members.join("member")
    await ground.pass_time(31)
    await replica.queue.advance()
    others = await line_up(replica, ["walt", "wanda"])
    watermark_us = await release(replica, 1)
    assert watermark_us == others["walt"].turn_us
    assert await members.poll("member") == QueuePosition(watermark_us + 1, 0, is_moved=True)


async def test_second_ticket_of_a_member_names_the_place(open_room: Open) -> None:
    replica = await open_room(rate=0)
    members = Members(replica)
    await members.join("member")
    first_us = members.places["member"].turn_us
    await members.arrive("member")
    assert members.places["member"].turn_us > first_us
    assert await members.poll("member") == QueuePosition(first_us, 0, is_moved=True)


async def test_lanes_with_other_head_starts_stand_apart(open_room: Open) -> None:
    replica = await open_room(rate=0)
    await line_up(replica, ["ann"])
    friends, members = Members(replica, FRIENDS), Members(replica)
    await friends.join("friend")
    await members.join("member")
    assert await friends.poll("friend") == QueuePosition(friends.places["friend"].turn_us, 1)
    assert await members.poll("member") == QueuePosition(members.places["member"].turn_us, 0)


async def test_members_keep_their_turns_after_a_loss(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    others = await line_up(replica, ["ann", "bob"])
    members = Members(replica)
    await members.join("m1", "m2")
    await ground.write({})
    await ground.pass_time(1)
    await poll(replica, others)
    assert await members.poll("m2") == QueuePosition(members.places["m2"].turn_us, 0)
    assert await members.poll("m1") == QueuePosition(members.places["m1"].turn_us, 0)
    assert await members.poll("m2") == QueuePosition(members.places["m2"].turn_us, 1)
    state = await replica.read_state()
    assert state.recovering_until_us > state.now_us


async def test_watermark_admits_no_member_that_was_not_in_line(
    ground: Ground, open_room: Open
) -> None:
    """After a loss the watermark shows which turns were released. It passed the turn of this
    member, who was not in line then."""
    replica = await open_room(rate="60/min", burst=10, max_active=0)
    await line_up(replica, ["in"])
    others = await line_up(replica, ["ann", "bob"])
    assert others
    members = Members(replica)
    await replica.queue.set_rate(0)
    await members.arrive("late")
    await line_up(replica, ["cat"])
    await replica.allow(3)
    await replica.released()
    assert (await replica.read_state()).watermark_us > members.places["late"].turn_us
    await ground.write({})
    await ground.pass_time(1)
    await replica.read_state()
    await replica.queue.set_rate(6000)
    await ground.pass_time(1)
    assert isinstance(await members.poll("late"), QueuePosition)


# Draws.


async def gather_with_lanes(replica: Replica) -> tuple[dict[str, int], Members, Members]:
    """A prequeue of members, friends and other visitors. Twelve members are drawn in the order of
    their arrival once in 479 million draws."""
    replica.queue.rules = replace(replica.queue.rules, lanes=(FRIENDS, MEMBERS))
    arrivals_us = await gather(replica)
    members, friends = Members(replica), Members(replica, FRIENDS)
    for lane, names in ((friends, crowd(5, prefix="f")), (members, crowd(12, prefix="m"))):
        await lane.arrive(*names)
        for name in names:
            turn_us = PROVISIONAL_US + lane.arrival_us(name)
            await replica.queue.poll(lane.request(name, turn_us=turn_us))
    return arrivals_us, members, friends


def drawn(schedule: Schedule, lane: Members) -> dict[str, int]:
    return {
        name: schedule.drawn_turn_us(VisitorId(name), lane.arrival_us(name), lane.lane.name)
        for name in lane.places
    }


async def line_of(replica: Replica) -> list[str]:
    found = await replica.queue._store.scores(replica.queue._keys[0], since=0, limit=1000)
    return sorted(found, key=lambda name: (found[name], name))


def by_turn(turns_us: dict[str, int]) -> list[str]:
    return sorted(turns_us, key=lambda name: (turns_us[name], name))


async def test_draw_keeps_lanes_apart_and_before_the_rest(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    await plan(replica)
    arrivals_us, members, friends = await gather_with_lanes(replica)
    await open_now(ground, replica)
    schedule = await draw(replica)
    orders: Sequence[dict[str, int]] = (
        drawn(schedule, members),
        drawn(schedule, friends),
        turns(schedule, arrivals_us),
    )
    assert await line_of(replica) == [name for turns_us in orders for name in by_turn(turns_us)]
    assert by_turn(orders[0]) != [*members.places]  # drawn, not in the order of arrival


async def test_participants_are_listed_with_their_lane(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    event = await plan(replica)
    arrivals_us, members, friends = await gather_with_lanes(replica)
    await open_now(ground, replica)
    await draw(replica)
    listed = [
        line
        async for portion in replica.queue.participants.portions(event.draw_id, limit=3)
        for line in portion
    ]
    expected = [participant_of(name) for name in arrivals_us]
    expected += [participant_of(name, lane="members") for name in members.places]
    expected += [participant_of(name, lane="friends") for name in friends.places]
    assert listed == sorted(expected)
    assert "lanes" not in await ground.read()


async def test_draw_spans_are_of_the_head_starts(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    event = await plan(replica)
    await gather_with_lanes(replica)
    await open_now(ground, replica)
    [drawn_event] = (await draw(replica)).events
    assert drawn_event.drawn is not None
    assert drawn_event.drawn.lanes == lane_spans(
        {"members": MEMBERS.head_start_us, "friends": FRIENDS.head_start_us},
        prequeue_us=event.first_us,
        released_us=1,
    )


async def test_lane_that_the_gate_does_not_have_is_drawn_with_the_rest(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    event = await plan(replica)
    await gather_with_lanes(replica)
    replica.queue.rules = replace(replica.queue.rules, lanes=(FRIENDS,))
    await open_now(ground, replica)
    schedule = await draw(replica)
    listed = [
        each async for some in replica.queue.participants.portions(event.draw_id) for each in some
    ]
    assert participant_of("m0000") in listed
    turn_us = schedule.drawn_turn_us(VisitorId("m0000"), event.first_us + 1, "members")
    assert turn_us >= event.first_us


async def test_no_turn_of_a_draw_is_before_a_released_one(ground: Ground, open_room: Open) -> None:
    """Visitors waited before the prequeue, and one of them was released just before it."""
    replica = await open_room(rate=0)
    before = await line_up(replica, ["before", "waits"])
    watermark_us = await release(replica, 1)
    assert watermark_us == before["before"].turn_us
    await ground.pass_time(0.01)
    prequeue_us = watermark_us + 5
    await plan(replica, prequeue_us=prequeue_us)
    _, members, friends = await gather_with_lanes(replica)
    await open_now(ground, replica)
    schedule = await draw(replica)
    lowest_us = min([*drawn(schedule, members).values(), *drawn(schedule, friends).values()])
    assert watermark_us < lowest_us < prequeue_us
    assert min(drawn(schedule, friends).values()) > max(drawn(schedule, members).values())


async def test_lanes_of_a_draw_survive_a_loss(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    await plan(replica)
    arrivals_us, members, friends = await gather_with_lanes(replica)
    await ground.write({})
    await ground.pass_time(1)
    await poll(replica, {n: QueuePosition(PROVISIONAL_US + us, 0) for n, us in arrivals_us.items()})
    for lane in (members, friends):
        lane.returned.update(lane.places)
        for name in lane.places:
            turn_us = PROVISIONAL_US + lane.arrival_us(name)
            await replica.queue.poll(lane.request(name, turn_us=turn_us))
    await open_now(ground, replica)
    schedule = await draw(replica)
    expected = [*by_turn(drawn(schedule, members)), *by_turn(drawn(schedule, friends))]
    assert (await line_of(replica))[: len(expected)] == expected


async def test_member_is_drawn_though_the_replica_knows_no_event(
    ground: Ground, open_room: Open
) -> None:
    """The ticket names the turn with the head start; the store knows the prequeue."""
    replica = await open_room(rate=0)
    members = Members(replica)
    await plan(replica)
    await members.arrive("member")
    arrival_us = members.arrival_us("member")
    members.places["member"] = QueuePosition(
        arrival_us - MEMBERS.head_start_us, 0, arrival_us=arrival_us
    )
    await members.poll("member")
    assert (await ground.read())["queue"] == {"member": PROVISIONAL_US + arrival_us}
    standing = await members.poll("member")
    assert standing == QueuePosition(PROVISIONAL_US + arrival_us, 0, is_moved=True)


async def test_batch_may_hold_visitors_of_lanes_and_others(open_room: Open) -> None:
    replica = await open_room(rate=0)
    others = await line_up(replica, ["ann"])
    members = Members(replica)
    await members.arrive("member")
    requests = [poll_request("ann", others["ann"].turn_us), members.request("member")]
    standings = await asyncio.gather(*map(replica.queue.poll, requests))
    assert standings[1] == QueuePosition(members.places["member"].turn_us, 0)
