"""After a loss, visitors are released as soon as everyone ahead of them had time to return."""

import pytest

from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.line_memory import Place, ReturnPlan
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    Responses,
    admitted_names,
    arrive,
    crowd,
    line_up,
    poll,
    stay,
)


async def lose_everything(ground: Ground, replica: Replica) -> None:
    await ground.write({})
    await ground.pass_time(1)
    await replica.queue.join()


def plan_for(
    replica: Replica, replies: Responses, *stages: tuple[str, float], line_s: float
) -> None:
    """Each visitor may be released so many seconds after the loss, with all ahead."""
    turns = "".join(f"{replies[name].turn_us} {round(s * 1000)};" for name, s in stages)
    replica.queue.plan_returns = lambda _window_s: ReturnPlan(turns, line_s)


async def test_front_is_released_while_the_rest_returns(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(30))
    await replica.allow(30)
    plan_for(replica, replies, ("v0003", 60), ("v0009", 120), line_s=240)
    await lose_everything(ground, replica)
    back = {name: replies[name] for name in ("v0000", "v0002", "v0007", "v0020")}
    await stay(replica, back)
    assert admitted_names(await poll(replica, back)) == []
    await ground.pass_time(50)
    await stay(replica, back)
    assert await replica.released() == 0
    await ground.pass_time(15)
    assert await replica.released() == 2  # v0000 and v0002; v0001 and v0003 did not return in time
    assert admitted_names(await poll(replica, back)) == ["v0000", "v0002"]
    await ground.pass_time(58)
    assert admitted_names(await poll(replica, {"v0020": replies["v0020"]})) == []
    assert admitted_names(await poll(replica, {"v0007": replies["v0007"]})) == ["v0007"]
    newcomer = await line_up(replica, ["new"])
    await ground.pass_time(60)
    await stay(replica, {"v0020": replies["v0020"]} | newcomer)
    assert await replica.released() == 0
    await ground.pass_time(70)
    assert await replica.released() == 2
    assert admitted_names(await poll(replica, newcomer)) == ["new"]


async def test_absent_visitors_open_the_line_no_further(ground: Ground, open_room: Open) -> None:
    """Visitors that returned and are absent since count as returned, and release nobody behind."""
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(6))
    await replica.allow(6)
    plan_for(replica, replies, ("v0002", 2.5), line_s=400)
    await lose_everything(ground, replica)
    await stay(replica, replies)
    await ground.pass_time(80)
    await stay(replica, {name: replies[name] for name in crowd(6)[2:]})
    await ground.pass_time(20)
    assert await replica.released() == 1
    assert (await ground.read())["queue"].keys() == set(crowd(6)[3:])


async def test_visitor_who_is_late_loses_no_turn(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(4))
    await replica.allow(3)
    plan_for(replica, replies, ("v0003", 2.5), line_s=2.5)
    await lose_everything(ground, replica)
    await stay(replica, {"v0001": replies["v0001"], "v0002": replies["v0002"]})
    await ground.pass_time(3)
    assert await replica.released() == 2
    # The watermark is past this turn, and others wait behind it.
    assert admitted_names(await poll(replica, {"v0000": replies["v0000"]})) == ["v0000"]
    last = await poll(replica, {"v0003": replies["v0003"]})
    assert last == {"v0003": QueuePosition(replies["v0003"].turn_us, 0)}


async def test_what_fell_due_meanwhile_is_made_up_within_the_burst(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6/min", burst=3)
    await replica.set_mode(Mode.HOLD)
    replies = await line_up(replica, crowd(30))
    await replica.set_mode(Mode.AUTO)
    plan_for(replica, replies, ("v0029", 23), line_s=23)
    await lose_everything(ground, replica)
    await stay(replica, replies)
    await ground.pass_time(23)
    assert await replica.released() == 2
    await ground.pass_time(60)
    assert await replica.released() == 3


async def test_newcomers_walk_in_only_after_the_line(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="600/min", burst=10)
    plan_for(replica, {}, line_s=30)
    await lose_everything(ground, replica)
    assert not (await replica.look()).has_room
    await ground.pass_time(20)
    assert admitted_names(await line_up(replica, ["early"])) == []
    await ground.pass_time(11)
    assert await replica.released() == 1
    assert (await replica.look()).has_room
    assert admitted_names(await arrive(replica, ["new"])) == ["new"]


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.ENDED, Mode.OPEN])
async def test_mode_counts_while_the_line_returns(
    ground: Ground, open_room: Open, mode: Mode
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(4))
    await replica.set_mode(mode)
    plan_for(replica, replies, ("v0001", 2.5), line_s=200)
    await lose_everything(ground, replica)
    await stay(replica, replies)
    await ground.pass_time(3)
    assert await replica.released() == (2 if mode is Mode.OPEN else 0)


async def test_slots_of_visitors_inside_are_kept_until_they_are_seen(
    ground: Ground, open_room: Open
) -> None:
    """The store has forgotten who is inside; the line must not take their slots."""
    replica = await open_room(rate=0, max_active=3)
    replies = await line_up(replica, crowd(9))
    await replica.allow(3)
    await replica.released()
    assert admitted_names(await poll(replica, replies)) == crowd(3)
    await replica.allow(6)
    plan_for(replica, replies, ("v0008", 2.5), line_s=2.5)
    await lose_everything(ground, replica)
    await stay(replica, {name: replies[name] for name in crowd(9)[3:]})
    await ground.pass_time(3)
    assert await replica.released() == 0
    until_us = (await replica.look()).now_us + 600_000_000
    for name in crowd(2):  # v0002 never returns
        await replica.queue.touch(VisitorId(name), until_us=until_us, ends_us=until_us)
        assert await replica.released() == 0
    assert (await replica.look()).active == 3
    await ground.pass_time(38)
    await stay(replica, {name: replies[name] for name in crowd(9)[3:]})
    assert await replica.released() == 1


async def test_best_informed_replica_says_who_may_be_released(
    ground: Ground, open_room: Open
) -> None:
    old, replica = await open_room(rate=0), await open_room(rate=0)
    replies = await line_up(replica, crowd(6))
    await replica.allow(6)
    plan_for(old, replies, ("v0000", 20), line_s=20)
    plan_for(replica, replies, ("v0001", 20), line_s=200)
    await lose_everything(ground, old)
    await ground.pass_time(15)
    await replica.queue.join()
    await stay(replica, replies)
    await ground.pass_time(6)  # the return counts from the first loss, 21 s ago
    assert await replica.released() == 2
    plan_for(old, replies, ("v0005", 0), line_s=0)
    await old.queue.join()
    assert await replica.released() == 0


@pytest.mark.parametrize("knows_more", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
async def test_caller_that_does_not_know_the_line_holds_up_nobody(
    ground: Ground, open_room: Open, *, knows_more: bool, is_first: bool
) -> None:
    """Such as an operator, or a replica that has just started."""
    operator, replica = await open_room(rate=0), await open_room(rate=0)
    replies = await line_up(replica, crowd(6))
    await operator.allow(6)
    await (operator if knows_more else replica).queue.set_message("news")
    plan_for(replica, replies, ("v0001", 2.5), line_s=300)
    await ground.write({})
    for each in (operator, replica) if is_first else (replica, operator):
        await ground.pass_time(1)
        await each.queue.join()
    await stay(replica, replies)
    await ground.pass_time(3)
    assert await replica.released() == 2


async def test_time_without_any_replica_is_no_time_to_return(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(6))
    await replica.allow(6)
    plan_for(replica, replies, ("v0001", 10), ("v0003", 30), line_s=300)
    await lose_everything(ground, replica)
    await replica.released()
    await stay(replica, replies)
    await ground.pass_time(12)
    contents = await ground.read()
    state = contents["state"]
    state["attended_at"] = str(int(state["attended_at"]) - 25_000_000)
    for moment in ("recovering_until", "returned_from", "line_from"):
        state[moment] = str(int(state[moment]) - 25_000_000)
    await ground.write(contents)  # 37 s after the loss, 25 of them without a replica
    assert await replica.released() == 2
    await stay(replica, replies)
    await ground.attend()
    await ground.pass_time(20)
    assert await replica.released() == 2


async def test_turns_at_some_places_are_those_of_the_line(open_room: Open) -> None:
    replica = await open_room(rate=0)
    assert (await replica.queue.line())[1] == []
    replies = await line_up(replica, crowd(60))
    _, places = await replica.queue.line()
    turns = [each.turn_us for each in replies.values()]
    assert [each.ahead for each in places[:8]] == [*range(8)]
    assert places[-1].ahead == 59
    assert len(places) < 40
    assert all(each.turn_us == turns[each.ahead] for each in places)
    assert [*map(Place._fields.index, ("ahead", "turn_us"))] == [0, 1]


async def test_positions_count_visitors_that_have_yet_to_return(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    replies = await line_up(replica, crowd(20))
    await lose_everything(ground, replica)
    turns = [each.turn_us for each in replies.values()]
    replica.queue.estimate_ahead = lambda turn_us, returned: max(turns.index(turn_us), returned)
    standings = await poll(replica, {name: replies[name] for name in ("v0009", "v0004")})
    assert standings == {
        "v0009": QueuePosition(turns[9], 9),
        "v0004": QueuePosition(turns[4], 4),
    }
    replica.queue.estimate_ahead = None
    assert await poll(replica, {"v0009": replies["v0009"]}) == {"v0009": QueuePosition(turns[9], 1)}
