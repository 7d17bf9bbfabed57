"""Releases while the store recovers from a loss: held on every store."""

import pytest

from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.told_intervals import ToldIntervals
from tests.contract.grounds import (
    EmulatedGround,
    Ground,
    Open,
    Replica,
    Responses,
    admitted_names,
    crowd,
    poll,
)
from tests.contract.grounds import line_up as line_up_visitors
from tests.contract.lost_store import WINDOW_S, lose_everything


class Clock:
    """The monotonic clock of the replicas, which the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def attach(replica: Replica, clock: Clock) -> None:
    replica.queue.told = ToldIntervals(monotonic_s=lambda: clock.now_s)


async def pass_time(ground: Ground, clock: Clock, replicas: list[Replica], seconds: float) -> int:
    """Replicas call four times a second. How many visitors they released."""
    released = 0
    for _ in range(round(seconds * 4)):
        clock.now_s += 0.25
        await ground.pass_time(0.25)
        for replica in replicas:
            released += await replica.released()
    return released


async def line_up(
    ground: Ground,
    open_room: Open,
    clock: Clock,
    *,
    replicas: int = 2,
    age_s: float = 200,
    **keys: object,
) -> tuple[list[Replica], Responses]:
    """Twelve visitors in line, of whom the first two are released."""
    rooms = [await open_room(**{"rate": "60/min", "burst": 2} | keys) for _ in range(replicas)]
    for room in rooms:
        attach(room, clock)
    await pass_time(ground, clock, rooms, 0.25)
    await ground.pass_time(age_s)
    await rooms[0].queue.set_rate(0)
    replies = await line_up_visitors(rooms[0], crowd(12))
    await rooms[0].queue.set_rate(60)
    waiting = {name: each for name, each in replies.items() if name not in admitted_names(replies)}
    await pass_time(ground, clock, rooms, 1)
    return rooms, waiting


def tell(replica: Replica, replies: Responses, intervals_s: dict[str, float]) -> None:
    for name, interval_s in intervals_s.items():
        replica.queue.told.note(replies[name].turn_us, interval_s, in_store=True)


async def test_front_is_released_before_the_rest_has_returned(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    rooms, waiting = await line_up(ground, open_room, clock)
    names = list(waiting)
    tell(rooms[0], waiting, {names[1]: 1, names[5]: 20})
    tell(rooms[1], waiting, {names[2]: 1})
    await lose_everything(ground)
    assert await pass_time(ground, clock, rooms, 2) == 0
    await poll(rooms[0], waiting)
    assert 1 <= await pass_time(ground, clock, rooms, 1.5) <= 3  # a burst, and as time passes
    # No further than the first visitor who may not have returned.
    assert await pass_time(ground, clock, rooms, 6) <= 4
    state = await rooms[0].look()
    assert state.recovering_until_us > state.now_us
    assert state.watermark_us == waiting[names[4]].turn_us
    await pass_time(ground, clock, rooms, WINDOW_S)
    assert (await rooms[0].look()).watermark_us > waiting[names[5]].turn_us


async def test_nobody_is_released_before_every_replica_reports(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    rooms, waiting = await line_up(ground, open_room, clock)
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    assert await pass_time(ground, clock, rooms[:1], 8) == 0
    assert await pass_time(ground, clock, rooms, 2) > 0


async def test_replica_that_started_since_replaces_no_other(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    """The one that ended may have sent any interval."""
    rooms, waiting = await line_up(ground, open_room, clock)
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    late = await open_room(rate="60/min", burst=2)
    attach(late, clock)
    assert await pass_time(ground, clock, [rooms[0], late], 8) == 0


async def test_visitors_of_a_replica_that_started_since_are_waited_for(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    """It may have told one to come back later, while the store was unreachable again."""
    rooms, waiting = await line_up(ground, open_room, clock)
    names = list(waiting)
    await lose_everything(ground)
    await poll(rooms[0], {name: waiting[name] for name in names[1:]})
    late = await open_room(rate="60/min", burst=2)
    attach(late, clock)
    await pass_time(ground, clock, [*rooms, late], 0.5)
    late.queue.told.note(waiting[names[0]].turn_us, 6, in_store=False)
    assert await pass_time(ground, clock, [*rooms, late], 6) == 0
    assert await pass_time(ground, clock, [*rooms, late], 4) > 0


async def test_young_store_is_waited_for_as_a_whole(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    """It does not know yet of all replicas that served the room."""
    rooms, waiting = await line_up(ground, open_room, clock, age_s=20)
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    assert await pass_time(ground, clock, rooms, 8) == 0


async def test_silent_replica_ends_early_releases(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    rooms, waiting = await line_up(ground, open_room, clock)
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    assert await pass_time(ground, clock, rooms, 3) > 0
    await pass_time(ground, clock, rooms[:1], 1.25)
    assert await pass_time(ground, clock, rooms[:1], 3) == 0


async def test_second_loss_waits_for_the_whole_line(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    rooms, waiting = await line_up(ground, open_room, clock)
    await lose_everything(ground)
    await pass_time(ground, clock, rooms, 1)
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    assert await pass_time(ground, clock, rooms, 6) == 0


async def test_rolled_back_store_waits_for_the_whole_line(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    rooms, waiting = await line_up(ground, open_room, clock)
    contents = await ground.read()
    await rooms[0].allow(1)
    await rooms[0].released()
    await ground.write(contents)
    await ground.attend()
    await poll(rooms[0], waiting)
    assert await pass_time(ground, clock, rooms, 6) == 0


async def test_slots_of_visitors_inside_are_kept(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    """The store knows them again only when they use their passes."""
    rooms, waiting = await line_up(ground, open_room, clock, max_active=4)
    state = await rooms[0].look()
    assert state.active < 4
    free = 4 - state.active
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    released = await pass_time(ground, clock, rooms, 8)
    entered = (await rooms[0].look()).active
    assert released + entered <= 2 * free + state.active
    assert released <= free


async def test_rate_of_early_releases_is_exact(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    """What fell due since the loss, at most the burst at once."""
    rooms, waiting = await line_up(ground, open_room, clock)
    await lose_everything(ground)
    await poll(rooms[0], waiting)
    before = await rooms[0].look()
    await pass_time(ground, clock, rooms, 8)
    state = await rooms[0].look()
    assert state.recovering_until_us > state.now_us
    # On a server its own time passes too.
    passed_s = (
        8 if isinstance(ground, EmulatedGround) else 8 + (state.now_us - before.now_us) / 1_000_000
    )
    assert passed_s - 1.5 <= state.released_total - before.released_total <= passed_s + 1


async def test_absent_visitor_returns_to_the_head(
    ground: Ground, open_room: Open, clock: Clock
) -> None:
    rooms, waiting = await line_up(ground, open_room, clock)
    names = list(waiting)
    await lose_everything(ground)
    await poll(rooms[0], {name: waiting[name] for name in names[2:]})
    assert await pass_time(ground, clock, rooms, 4) > 0
    await poll(rooms[0], {names[0]: waiting[names[0]]})
    assert await pass_time(ground, clock, rooms, 1.25) >= 1
    assert VisitorId(names[0]) not in (await ground.read())["queue"]
