"""A room whose replicas restart, or whose store has a clock that steps back: on every store."""

import pytest

from tests.contract.grounds import (
    Ground,
    Open,
    Replica,
    admitted_names,
    crowd,
    line_up,
)
from tests.contract.lost_store import fell


async def test_rate_set_live_outlives_a_restart(
    open_room: Open,
) -> None:
    replica = await open_room(rate="6/min")
    await replica.queue.set_rate(77)
    restarted = await open_room(rate="6/min")
    assert (await restarted.read_state()).rate_per_minute == 77


async def test_rate_set_live_yields_to_a_changed_configuration(open_room: Open) -> None:
    replica = await open_room(rate="6/min")
    await replica.queue.set_rate(77)
    await open_room(rate="12/min")
    assert (await replica.read_state()).rate_per_minute == 12
    await replica.queue.set_rate(88)
    restarted = await open_room(rate="12/min")
    assert (await restarted.read_state()).rate_per_minute == 88


async def test_restart_adds_nothing_to_the_bucket(open_room: Open) -> None:
    replica = await open_room(burst=5)
    assert len(admitted_names(await line_up(replica, crowd(5)))) == 5
    restarted = await open_room(burst=5)
    assert admitted_names(await line_up(restarted, ["late"])) == []


async def test_same_rate_in_another_spelling_is_no_change(open_room: Open) -> None:
    replica = await open_room(rate="60/min")
    await replica.queue.set_rate(77)
    restarted = await open_room(rate="1/s")
    assert (await restarted.read_state()).rate_per_minute == 77


# The store's clock


async def test_clock_stepping_back_admits_no_visitor_twice(ground: Ground, open_room: Open) -> None:
    replica = await open_room(burst=5)
    replies = await line_up(replica, crowd(8))
    before = await replica.read_state()
    await ground.pass_time(-30)
    replies |= await line_up(replica, ["late"])
    arrivals = [each.turn_us for each in replies.values()]
    assert arrivals == sorted(set(arrivals))
    assert await replica.released() == 0
    state = await replica.read_state()
    assert fell(before, state) == []


async def test_rate_goes_on_while_the_clock_is_set_back(ground: Ground, open_room: Open) -> None:
    """As after a fail-over to a server whose clock is behind."""
    replica = await open_room(rate="60/min", burst=3)
    await line_up(replica, crowd(40))
    await replica.released()
    await ground.pass_time(-20)
    await replica.released()
    released = 0
    for _ in range(60):
        await ground.pass_time(0.5)
        released += await replica.released()
    assert released == 27  # the room's clock is a tenth slower


async def _ahead_s(ground: Ground, replica: Replica, *steps_s: float) -> float:
    """How far the room's clock is ahead of the store's, after these steps of the store's clock."""
    for step_s in steps_s:
        await ground.pass_time(step_s)
        await replica.released()
    return float((await ground.read())["state"]["clock_ahead"]) / 1_000_000


async def test_clock_of_the_room_returns_to_that_of_the_store(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="60/min")
    assert await _ahead_s(ground, replica, -20) == pytest.approx(20, abs=0.1)
    assert await _ahead_s(ground, replica, *[0.5] * 200) == pytest.approx(10, abs=0.1)
    assert await _ahead_s(ground, replica, *[0.5] * 202) == 0


@pytest.mark.parametrize("step_s", [20, 3600])
async def test_return_to_the_first_server_corrects_the_clock(
    ground: Ground, open_room: Open, step_s: int
) -> None:
    """The clock of the room is not ahead by the step for a second time."""
    replica = await open_room(rate="60/min")
    there_s = await _ahead_s(ground, replica, -step_s, *[0.5] * 20)
    assert there_s == pytest.approx(step_s - 1, abs=0.1)
    assert await _ahead_s(ground, replica, step_s + 1) == 0


async def test_return_to_the_first_server_adds_no_admissions(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="60/min", burst=10)
    await line_up(replica, crowd(60))
    for step_s in (-20, *[0.5] * 20):
        await ground.pass_time(step_s)
        await replica.released()
    released = 0
    for step_s in (24, *[0.5] * 6):  # the room's clock had missed four seconds
        await ground.pass_time(step_s)
        released += await replica.released()
    assert released == 3
    assert float((await ground.read())["state"]["clock_ahead"]) == 0


async def test_clock_stepping_back_and_forth_adds_no_admissions(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="60/min", burst=3)
    await line_up(replica, crowd(100))
    released = await replica.released()
    for _ in range(15):
        for step_s in (-1.75, 0.25, 0.25, 0.25, 2.25, 0.25, 0.25, 0.25):  # 2 s each second
            await ground.pass_time(step_s)
            released += await replica.released()
    assert released <= 30


async def test_replicas_have_time_to_call_after_a_step_back(
    ground: Ground, open_room: Open
) -> None:
    """The step may hide an outage, in which replicas stamped visitors of earlier turns."""
    replica = await open_room(rate="60/min", burst=3)
    await line_up(replica, crowd(9))
    await ground.pass_time(-20)
    await replica.released()
    released = []
    for _ in range(6):
        await ground.pass_time(0.5)
        released.append(await replica.released())
    assert released[:4] == [0, 0, 0, 0]
    assert sum(released) == 2
