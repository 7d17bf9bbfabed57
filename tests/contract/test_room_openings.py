"""Events of a room: closed before the opening, with a draw at the opening."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.draw import id_hash
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.policy.schedule import NO_EVENTS, Event, Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room import openings as room_openings
from gatekeeper.room.openings import FileEvents, Openings
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.visitor_calls import DrawnTurn
from tests.contract.event_room import (
    KEYS,
    NAMES,
    change,
    change_event,
    draw,
    gather,
    in_order,
    open_now,
    openings,
    plan,
    released,
    turns,
)
from tests.contract.grounds import (
    Ground,
    Open,
    arrive,
    confirm,
    crowd,
    line_up,
    poll,
    poll_request,
)

# Before the opening.


@pytest.mark.parametrize("order", ["draw", "arrival"])
async def test_no_visitor_enters_in_the_prequeue(open_room: Open, order: str) -> None:
    replica = await open_room(rate="6000/min", burst=100)
    await plan(replica, order=order)
    arrivals_us = await gather(replica)
    await replica.allow(5)
    state, count = await replica.queue.advance()
    assert (state.phase, count, state.has_room) == (Phase.PREQUEUE, 0, False)
    assert not await released(replica, turns(state.schedule, arrivals_us))
    assert not await replica.queue.take_admission()
    assert (state.queue_length, state.watermark_us) == (len(NAMES), 0)


@pytest.mark.parametrize(
    ("values", "phase"),
    [
        ({"prequeue_us": None, "before": "closed"}, Phase.BEFORE),
        ({"start_us": 10**15 + 2, "prequeue_us": 10**15, "end_us": 10**15 + 3}, Phase.ENDED),
    ],
)
async def test_no_visitor_enters_before_and_after_an_event(
    open_room: Open, values: dict[str, Any], phase: Phase
) -> None:
    replica = await open_room(rate="6000/min", burst=100)
    await plan(replica, **values)
    arrivals_us = await gather(replica)
    state, count = await replica.queue.advance()
    assert (state.phase, count, state.undrawn) == (phase, 0, 0)
    assert not await released(replica, arrivals_us)
    await change_event(replica, cancelled=True)
    assert await released(replica, arrivals_us) == NAMES


async def test_turn_is_provisional_though_the_replica_knows_no_event(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    await plan(replica)
    [reply] = (await arrive(replica, ["ann"])).values()
    await replica.queue.poll(poll_request("ann", reply.turn_us))
    assert (await ground.read())["queue"] == {"ann": PROVISIONAL_US + reply.turn_us}
    state = await replica.read_state()
    assert (state.undrawn, state.last_arrival_us) == (1, reply.turn_us)


async def test_visitors_in_line_before_stay_ahead_by_arrival(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6000/min", burst=100)
    await replica.set_mode(Mode.HOLD)
    early = await line_up(replica, ["early"])
    await replica.set_mode(Mode.AUTO)
    await plan(replica, prequeue_us=early["early"].turn_us + 1)
    await ground.pass_time(0.01)
    arrivals_us = await gather(replica) | {"early": early["early"].turn_us}
    await open_now(ground, replica)
    schedule = await draw(replica)
    assert in_order(schedule, arrivals_us)[0] == "early"
    assert schedule.drawn_turn_us(VisitorId("early"), arrivals_us["early"]) == arrivals_us["early"]


# The opening.


async def test_order_of_admission_is_the_drawn_order(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    await plan(replica)
    arrivals_us = await gather(replica)
    event = await open_now(ground, replica)
    late = await gather(replica, ["late"])
    state, count = await replica.queue.advance()
    assert (state.phase, state.undrawn, count) == (Phase.DRAW, len(NAMES), 0)

    schedule = await draw(replica)
    [drawn] = schedule.events
    assert drawn.drawn is not None
    state = await replica.read_state()
    assert (state.phase, state.undrawn) == (Phase.RUNNING, 0)
    drawn_us = turns(schedule, arrivals_us)
    assert (await ground.read())["queue"] == drawn_us | late
    assert all(drawn.first_us <= us < drawn.start_us for us in drawn_us.values())
    [sale] = schedule.events
    participants = replica.queue.participants
    portions = [portion async for portion in participants.portions(sale.draw_id, limit=5)]
    listed = [each for portion in portions for each in portion]
    assert listed == sorted(id_hash(name).hex() for name in NAMES)
    assert [len(portion) for portion in portions] == [5, 5, 2]
    assert await participants.count(sale.draw_id) == len(NAMES)
    assert await participants.count(f"{sale.name}:1") == 0  # of another sale with that name

    admitted: list[str] = []
    for _ in range(len(NAMES) + 1):
        await replica.allow(1)
        admitted += [
            name for name in await released(replica, drawn_us | late) if name not in admitted
        ]
    assert admitted == [*in_order(schedule, arrivals_us), "late"]
    assert in_order(schedule, arrivals_us) != NAMES
    assert (await replica.read_state()).watermark_us == late["late"]
    assert event.announced_us == drawn.announced_us


async def test_any_number_of_replicas_may_draw_at_once(ground: Ground, open_room: Open) -> None:
    replicas = [await open_room(rate=0) for _ in range(3)]
    await plan(replicas[0])
    arrivals_us = await gather(replicas[0], crowd(60))
    await open_now(ground, replicas[1])
    await asyncio.gather(*(draw(each) for each in replicas))
    state = await replicas[2].read_state()
    await openings(replicas[2]).step(state)  # as a replica that was not the first
    schedule = await draw(replicas[0])
    assert (await replicas[0].read_state()).undrawn == 0
    standings = await poll(
        replicas[1], {n: QueuePosition(us, 0) for n, us in turns(schedule, arrivals_us).items()}
    )
    places = {each.ahead: n for n, each in standings.items() if isinstance(each, QueuePosition)}
    assert [places[ahead] for ahead in range(60)] == in_order(schedule, arrivals_us)


async def test_replica_that_meets_another_goes_on_elsewhere(
    ground: Ground, open_room: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas that begin at the same visitor do not do the same work to the end."""
    replicas = [await open_room(rate=0) for _ in range(2)]
    await plan(replicas[0])
    arrivals_us = await gather(replicas[0], crowd(80))
    await open_now(ground, replicas[0])
    with monkeypatch.context() as context:
        context.setattr(room_openings, "_MAX_PORTIONS", 0)
        await draw(replicas[0])  # the draw is made, and no visitor is placed yet
    among_us = sorted(arrivals_us.values())
    starts_us = iter([among_us[0], among_us[0], *among_us[40:]])
    monkeypatch.setattr(room_openings, "_some_arrival_us", lambda _state: next(starts_us))
    monkeypatch.setattr(room_openings, "_PORTION", 2)
    asked = 0

    def counted(queue: Queue) -> None:
        place_drawn = queue.place_drawn

        async def count_and_place(
            turns: dict[VisitorId, DrawnTurn], *, draw: str | None
        ) -> tuple[RoomState, int]:
            nonlocal asked
            asked += len(turns)
            return await place_drawn(turns, draw=draw)

        monkeypatch.setattr(queue, "place_drawn", count_and_place)

    for replica in replicas:
        counted(replica.queue)
    await asyncio.gather(*(draw(each) for each in replicas))
    assert (await replicas[0].read_state()).undrawn == 0
    assert 80 <= asked < 120


async def test_visitors_of_the_next_event_are_left_to_its_draw(
    ground: Ground, open_room: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await open_room(rate=0)
    event = await plan(replica)
    now_us = event.announced_us
    past = replace(
        event, name="past", prequeue_us=now_us - 30_000_000, start_us=now_us - 20_000_000
    )
    past = KEYS.committed(
        replace(past, end_us=event.prequeue_us, commitment=""), room=replica.queue.rules.room
    )
    await change(replica, Schedule.of([past, event]))
    await gather(replica)
    asked: list[int] = []
    undrawn = replica.queue.participants.undrawn

    async def counted(*, since_us: int, limit: int) -> dict[VisitorId, int]:
        asked.append(since_us)
        return await undrawn(since_us=since_us, limit=limit)

    monkeypatch.setattr(replica.queue.participants, "undrawn", counted)
    schedule = await draw(replica)
    assert [each.drawn is not None for each in schedule.events] == [True, False]
    assert 1 <= len(asked) <= 2
    assert (await replica.read_state()).undrawn == len(NAMES)


async def test_unknown_key_leaves_the_draw_to_other_replicas(
    ground: Ground, open_room: Open
) -> None:
    replica, other = await open_room(rate="6000/min", burst=100), await open_room()
    await plan(replica)
    await gather(replica)
    await open_now(ground, replica)
    await openings(replica, SigningKeys((b"another" * 5,))).step(await replica.read_state())
    state, count = await replica.queue.advance()
    assert (state.phase, count) == (Phase.DRAW, 0)
    await draw(other)
    assert (await replica.read_state()).phase is Phase.RUNNING


async def test_beacon_is_asked_once_and_its_round_decides(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    asked: list[str] = []

    async def fetch_round(event: Event) -> tuple[int | None, str, str]:
        asked.append(event.name)
        await asyncio.sleep(0)
        return 7, "ab" * 32, ""

    await plan(replica, beacon="https://beacon.example")
    arrivals_us = await gather(replica)
    await open_now(ground, replica)
    own = Openings(replica.queue, file=FileEvents((), KEYS), fetch_round=fetch_round)
    await own.step(await replica.read_state())
    assert (await replica.read_state()).phase is Phase.DRAW
    await asyncio.sleep(0)  # the fetch begins, and takes a turn of the loop
    await asyncio.sleep(0)
    for _ in range(2):
        await own.step(await replica.read_state())
    [event] = (await replica.read_state()).schedule.events
    assert asked == ["sale"]
    assert event.drawn is not None
    assert (event.drawn.round, event.drawn.randomness) == (7, "ab" * 32)
    without = replace(event, drawn=replace(event.drawn, randomness=""))
    names = in_order(Schedule.of([event]), arrivals_us)
    assert names != in_order(Schedule.of([without]), arrivals_us)
    await own.close()


async def test_empty_prequeue_opens_at_once(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate="6000/min", burst=100)
    await plan(replica)
    await open_now(ground, replica)
    assert (await replica.read_state()).phase is Phase.RUNNING
    assert isinstance((await arrive(replica, ["ann"]))["ann"], SlotGrant)


async def test_absent_visitor_returns_to_the_drawn_turn(ground: Ground, open_room: Open) -> None:
    replica = await open_room(rate=0)
    await plan(replica)
    arrivals_us = await gather(replica)
    [absent] = (await arrive(replica, ["absent"])).values()  # never returned the ticket so far
    await open_now(ground, replica)
    schedule = await draw(replica)
    drawn_us = turns(schedule, arrivals_us)
    own_us = schedule.drawn_turn_us(VisitorId("absent"), absent.turn_us)
    ahead = sum(us < own_us for us in drawn_us.values())
    standing = await replica.queue.poll(poll_request("absent", own_us))
    assert standing == QueuePosition(own_us, ahead)


async def test_cancelled_event_gives_back_the_order_of_arrival(open_room: Open) -> None:
    replica = await open_room(rate="6000/min", burst=100)
    await plan(replica)
    arrivals_us = await gather(replica)
    await change_event(replica, cancelled=True)
    state, count = await replica.queue.advance()
    assert (state.phase, count) == (Phase.DRAW, 0)  # until no visitor has a provisional turn
    await draw(replica)
    assert await released(replica, arrivals_us) == NAMES


@pytest.mark.parametrize("is_lost", [False, True])
async def test_no_turn_is_provisional_without_events(
    ground: Ground, open_room: Open, is_lost: bool
) -> None:
    """An operator may remove the last event after the store's clock stepped back, or a replica that
    knows of its removal may return after a loss."""
    replica, other = await open_room(rate=0), await open_room(rate=0)
    await plan(replica)
    arrivals_us = await gather(replica)
    if is_lost:
        await other.read_state()
        await change(replica, NO_EVENTS)
        await ground.write({})
        await ground.pass_time(1)
        own_us = turns((await other.read_state()).schedule, arrivals_us)
        await poll(other, {n: QueuePosition(us, 0) for n, us in own_us.items()})
        assert (await other.read_state()).undrawn == len(NAMES)
        await replica.read_state()
    else:
        await change(replica, NO_EVENTS)
    assert (await ground.read())["queue"] == arrivals_us


async def test_open_mode_in_the_prequeue_lifts_no_watermark(open_room: Open) -> None:
    replica = await open_room(rate=0, burst=100)
    await plan(replica)
    arrivals_us = await gather(replica)
    await replica.set_mode(Mode.OPEN)
    schedule = (await replica.read_state()).schedule
    assert await released(replica, turns(schedule, arrivals_us)) == NAMES
    assert (await replica.read_state()).watermark_us < PROVISIONAL_US
    await confirm(replica, NAMES)
    await replica.set_mode(Mode.AUTO)
    await gather(replica, ["bob"])
    state, count = await replica.queue.advance()
    assert (state.phase, count, state.undrawn) == (Phase.PREQUEUE, 0, 1)
