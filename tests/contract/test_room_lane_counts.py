"""The number of visitors of each lane in line, counted by their polls, on every store."""

from dataclasses import replace

from gatekeeper.policy.decision import Elsewhere, SlotGrant
from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.tokens import VisitorId
from tests.contract.grounds import Ground, Open, Replica, line_up
from tests.contract.test_room_lanes import FRIENDS, MEMBERS, Members


async def lanes_of(open_room: Open, *lanes: Lane) -> tuple[Replica, list[Members]]:
    """A room where visitors are admitted only by `allow`, and visitors of each lane."""
    replica = await open_room(rate=0)
    replica.queue.rules = replace(replica.queue.rules, lanes=lanes)
    return replica, [Members(replica, lane) for lane in lanes]


async def test_each_lane_is_counted_by_itself(open_room: Open) -> None:
    replica, [members, friends] = await lanes_of(open_room, MEMBERS, FRIENDS)
    assert await replica.queue.count_lanes() == {"members": 0, "friends": 0}
    await line_up(replica, ["bob", "cat"])
    await members.join("m1", "m2", "m3")
    await friends.join("f1")
    await members.arrive("m4")  # has not returned the ticket: not in line yet
    for _ in range(2):
        assert await replica.queue.count_lanes() == {"members": 3, "friends": 1}
        await members.poll("m1")
    assert (await replica.read_state()).queue_length == 6


async def test_room_without_lanes_counts_none(ground: Ground, open_room: Open) -> None:
    replica, _ = await lanes_of(open_room)
    await line_up(replica, ["bob"])
    assert await replica.queue.count_lanes() == {}
    assert "lane_polls" not in await ground.read()


async def test_member_that_left_or_entered_is_not_counted(open_room: Open) -> None:
    replica, [members] = await lanes_of(open_room, MEMBERS)
    await members.join("m1", "m2", "m3")
    await replica.queue.leave([VisitorId("m2")], with_tickets=True, devices=[None])
    assert await replica.queue.count_lanes() == {"members": 2}
    await replica.queue.leave([VisitorId("m3")])  # by an operator
    assert await replica.queue.count_lanes() == {"members": 1}
    await replica.allow(1)
    assert await replica.released() == 1
    assert isinstance(await members.poll("m1"), SlotGrant)
    assert await replica.queue.count_lanes() == {"members": 0}


async def test_silent_member_is_not_counted(ground: Ground, open_room: Open) -> None:
    """After `heartbeat_timeout`, when the place ends too; the ticket restores both."""
    replica, [members] = await lanes_of(open_room, MEMBERS)
    await members.join("m1", "m2")
    await ground.pass_time(60)
    await replica.released()
    await members.poll("m2")
    assert await replica.queue.count_lanes() == {"members": 2}
    await ground.pass_time(31)
    await replica.released()
    assert await replica.queue.count_lanes() == {"members": 1}
    await members.poll("m2")
    assert (await ground.read())["lane_polls"].keys() == {"m2"}
    await members.poll("m1")
    assert await replica.queue.count_lanes() == {"members": 2}


async def test_counts_return_after_a_loss_of_the_store(ground: Ground, open_room: Open) -> None:
    replica, [members, friends] = await lanes_of(open_room, MEMBERS, FRIENDS)
    await members.join("m1", "m2")
    await friends.join("f1")
    await ground.write({})
    await ground.pass_time(1)
    assert await replica.queue.count_lanes() == {"members": 0, "friends": 0}
    await members.poll("m1")
    await friends.poll("f1")
    assert await replica.queue.count_lanes() == {"members": 1, "friends": 1}


async def test_another_device_changes_no_count(open_room: Open) -> None:
    """Neither by the ticket of a device that does not hold the place, nor for that place."""
    replica, [members] = await lanes_of(open_room, MEMBERS)
    await members.join("m1")
    request = replace(members.request("m1"), device="phone-01", moved_us=1)
    await replica.queue.poll(request)
    other = replace(request, device="laptop01", moved_us=0)
    assert await replica.queue.poll(other) == Elsewhere()
    assert await replica.queue.count_lanes() == {"members": 1}


async def test_lane_that_the_room_has_no_more_is_not_counted(open_room: Open) -> None:
    """Its visitors keep their places. After a reload the numbers of lanes may be others."""
    replica, [members, friends] = await lanes_of(open_room, MEMBERS, FRIENDS)
    await members.join("m1", "m2")
    await friends.join("f1")
    replica.queue.rules = replace(replica.queue.rules, lanes=(FRIENDS,))
    for each in ("m1", "m2"):
        await members.poll(each)
    await friends.poll("f1")
    assert (await replica.read_state()).queue_length == 3
    assert await replica.queue.count_lanes() == {"friends": 1}
