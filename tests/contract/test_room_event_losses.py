"""Events of a room through losses of the store, and the rate that they set."""

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.schedule import NO_EVENTS, Schedule
from gatekeeper.room.openings import FileEvents, Openings
from tests.contract.event_room import (
    KEYS,
    NAMES,
    change_event,
    draw,
    exact_room,
    exact_rules,
    gather,
    in_order,
    open_now,
    plan,
    turns,
)
from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    arrive,
    crowd,
    line_up,
    poll,
)

# Rates and limits of an event.


async def test_events_rate_counts_from_its_first_moment_to_its_end() -> None:
    times = {"start": 60, "end": 120}
    ground, file = exact_room(
        times=times, order="arrival", after="normal", settings={"rate": "60/min"}
    )
    replica = Replica(ground, exact_rules(ground, rate="6/min", burst=200), name="only")
    Openings(replica.queue, file=file)
    await replica.queue.join(starting=True)
    await replica.set_mode(Mode.HOLD)  # so that the bucket is spent at a known moment
    await line_up(replica, crowd(400))
    await replica.set_mode(Mode.AUTO)
    assert await replica.released() == 200
    counts = []
    for _ in range(6):  # 30 s each, in steps no longer than a pause of the pacer
        count = 0
        for _ in range(15):
            await ground.pass_time(2)
            count += await replica.released()
        counts.append(count)
    assert counts == [3, 3, 30, 30, 3, 3]


async def test_lowest_rate_of_an_event_counts(ground: Ground, open_room: Open) -> None:
    """The rate is written with an exponent; the room's own rate does not fill the bucket
    instead."""
    replica = await open_room(rate="6000/min", burst=10)
    await plan(replica, settings={"rate": "0.001/h"})
    await open_now(ground, replica)
    names = crowd(40)
    await line_up(replica, names)
    await replica.released()  # what fell due before
    await ground.pass_time(1)
    assert await replica.released() == 0


async def test_first_minute_after_a_prequeue_admits_burst_and_rate() -> None:
    ground, file = exact_room(
        times={"prequeue": 0, "start": 60}, settings={"rate": "60/min", "burst": 5}
    )
    replica = Replica(ground, exact_rules(ground, rate="600/min", burst=5), name="only")
    own = Openings(replica.queue, file=file)
    await replica.queue.join(starting=True)
    await gather(replica, crowd(400))
    counts = []
    for _ in range(4):
        count = 0
        for _ in range(15):
            await ground.pass_time(2)
            await own.step(await replica.read_state())
            count += await replica.released()
        counts.append(count)
    assert counts == [0, 0 + 5, 30, 30]  # the last step of the second one is the start


# Losses.


async def test_store_that_is_born_is_closed_by_the_files_event() -> None:
    ground, file = exact_room(times={"prequeue": -10, "start": 60}, before="closed")
    replica = Replica(ground, exact_rules(ground, rate="6000/min", burst=100), name="only")
    Openings(replica.queue, file=file)
    state = await replica.queue.join(starting=True)
    assert (state.phase, state.has_room) == (Phase.PREQUEUE, False)


async def test_emptied_store_gets_the_events_back_before_it_admits(
    ground: Ground, open_room: Open
) -> None:
    replica, other = await open_room(rate="6000/min", burst=100), await open_room()
    await plan(replica)
    arrivals_us = await gather(replica)
    await ground.write({})
    await ground.pass_time(1)
    state, count = await replica.queue.advance()
    assert (state.phase, count) == (Phase.PREQUEUE, 0)
    schedule = state.schedule
    await poll(other, {n: QueuePosition(us, 0) for n, us in turns(schedule, arrivals_us).items()})
    assert (await replica.read_state()).undrawn == len(NAMES)
    assert isinstance((await arrive(replica, ["new"]))["new"], QueuePosition)


async def test_store_emptied_after_the_opening_keeps_the_drawn_order(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate=0)
    await plan(replica)
    arrivals_us = await gather(replica)
    await open_now(ground, replica)
    schedule = await draw(replica)
    await ground.write({})
    await ground.pass_time(1)
    drawn_us = turns((await replica.read_state()).schedule, arrivals_us)
    assert drawn_us == turns(schedule, arrivals_us)
    standings = await poll(replica, {n: QueuePosition(us, 0) for n, us in drawn_us.items()})
    await replica.allow(100)
    state, count = await replica.queue.advance()
    assert count == 0  # not before visitors ahead had time to return
    assert state.recovering_until_us > state.now_us
    again = await poll(replica, {n: QueuePosition(us, 0) for n, us in drawn_us.items()})
    places = {each.ahead: n for n, each in again.items() if isinstance(each, QueuePosition)}
    assert [places[at] for at in range(len(NAMES))] == in_order(schedule, arrivals_us)
    assert len(standings) == len(NAMES)


async def test_returns_through_a_replica_without_the_event_are_drawn(
    ground: Ground, open_room: Open
) -> None:
    """The replica that joins an emptied store first may know less than another one."""
    replica, other = await open_room(rate=0), await open_room(rate=0)
    await plan(replica)
    arrivals_us = await gather(replica)
    await ground.write({})
    await ground.pass_time(1)
    await poll(other, {n: QueuePosition(us, 0) for n, us in arrivals_us.items()})
    assert (await other.read_state()).schedule == NO_EVENTS
    assert (await replica.read_state()).undrawn == len(NAMES)
    await open_now(ground, replica)
    schedule = await draw(replica)
    assert (await ground.read())["queue"] == turns(schedule, arrivals_us)


async def test_draw_of_a_replica_without_the_delay_is_undone(
    ground: Ground, open_room: Open
) -> None:
    replica, other = await open_room(rate=0), await open_room(rate=0)
    await plan(replica)
    arrivals_us = await gather(replica)
    await open_now(ground, other)
    delayed = await change_event(replica, start_us=(await replica.read_state()).now_us + 60_000_000)
    await ground.write({})
    await ground.pass_time(1)
    drawn_us = turns((await draw(other)), arrivals_us)
    await poll(other, {n: QueuePosition(us, 0) for n, us in drawn_us.items()})
    state = await replica.read_state()
    assert (state.schedule, state.phase) == (Schedule.of([delayed]), Phase.PREQUEUE)
    assert state.undrawn == len(NAMES)


async def test_change_of_other_events_than_stored_changes_nothing(open_room: Open) -> None:
    one, other = await open_room(), await open_room()
    event = await plan(one)
    assert await other.queue.change_events(NO_EVENTS, NO_EVENTS) is None
    assert (await other.read_state()).schedule == Schedule.of([event])


async def test_file_is_merged_once_and_keeps_what_operators_did(open_room: Open) -> None:
    replica = await open_room(rate=0)
    state = await replica.read_state()
    config = EventConfig.model_validate(
        {
            "name": "sale",
            "room": replica.queue.rules.room,
            "prequeue": spell_time(state.now_us + 60_000_000),
            "start": spell_time(state.now_us + 120_000_000),
        }
    )
    own = Openings(replica.queue, file=FileEvents((config,), KEYS))
    await own.merge(state)
    merged_at = await replica.read_state()
    assert [each.commitment != "" for each in merged_at.schedule.events] == [True]
    await own.merge(merged_at)
    assert (await replica.read_state()).version == merged_at.version
    delayed = await change_event(replica, start_us=state.now_us + 300_000_000)
    await own.merge(await replica.read_state())
    assert (await replica.read_state()).schedule == Schedule.of([delayed])
