"""The rate that autotune sets in the store: once a period, by a law with memory, together with
changes by an operator."""

from dataclasses import replace
from itertools import pairwise

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.policy.autotune import PERIOD_S
from gatekeeper.policy.event_changes import with_settings
from gatekeeper.room.period import PeriodEnd, SteerRequest
from gatekeeper.room.rate_steering import Autotune
from tests.contract.event_room import open_now, plan
from tests.contract.grounds import EmulatedGround, Ground, Open, Replica, crowd, line_up
from tests.contract.steered_room import (
    TARGETS,
    advance,
    ended_period,
    queue_of,
    replica_of,
    steer,
    tally,
)
from tests.origin_periods import count_all

SALE = '{"burst":[20,1]}'

FIELDS = {
    *("period_at", "period_counts", "period_admitted"),
    *("steered_by", "steering", "steering_memory"),
}


async def steering_of(ground: Ground) -> str | float:
    return (await ground.read())["state"].get("steering", "")


async def test_rate_of_a_period_is_set_once_and_as_an_operator_would(
    ground: Ground, open_room: Open
) -> None:
    one, other = await open_room(), await open_room()
    end = await ended_period(ground, one)
    before = await one.read_state()
    assert await steer(one, end, rate=300, known=before) is True
    state = await other.read_state()
    assert (state.rate_per_minute, state.version) == (300, before.version + 1)
    assert await steering_of(ground) == "record"
    assert await steer(other, end, rate=200, known=before) is False
    assert (await one.read_state()).rate_per_minute == 300


async def test_unchanged_rate_changes_no_state(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    end = await ended_period(ground, replica)
    before = await replica.read_state()
    assert await steer(replica, end, rate=None, steering="steady") is True
    after = await replica.read_state()
    assert (after.version, after.rate_per_minute) == (before.version, 6)
    assert await steering_of(ground) == "steady"


async def test_late_rate_is_refused(ground: Ground, open_room: Open) -> None:
    """The replica was paused, and another one has ended the next period."""
    slow, other = await open_room(), await open_room()
    end = await ended_period(ground, slow)
    await ground.pass_time(PERIOD_S + 0.1)
    newer = await advance(other)
    assert newer is not None
    assert await steer(slow, end) is False
    assert (await other.read_state()).rate_per_minute == 6
    assert await steer(other, newer) is True


async def test_operators_rate_survives_the_end_of_the_period(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    end = await ended_period(ground, replica)
    known = await replica.read_state()
    await replica.queue.set_rate(90)
    assert await steer(replica, end, known=known) is False
    assert (await replica.read_state()).rate_per_minute == 90


async def test_settings_that_changed_meanwhile_refuse_the_rate(
    ground: Ground, open_room: Open
) -> None:
    """`set autotune=false` freezes the rate at once, no matter what a replica has computed."""
    replica = await open_room()
    end = await ended_period(ground, replica)
    known = await replica.read_state()
    await ground.write(
        {**(contents := await ground.read()), "state": contents["state"] | {"overrides": SALE}}
    )
    assert await steer(replica, end, known=known) is False
    assert (await replica.read_state()).rate_per_minute == 6


async def test_without_autotune_nothing_of_it_is_stored(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await replica.queue.advance()
    state = (await ground.read())["state"]
    assert not FIELDS & state.keys()


async def remembering(ground: Ground, replica: Replica) -> PeriodEnd:
    """The end of a second period, when the law has a memory of the first."""
    await steer(replica, await ended_period(ground, replica))
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(replica)
    assert end is not None
    assert (end.steering, end.memory) == ("record", "memory")
    return end


@pytest.mark.parametrize("change", [{"latency_s": 0.5}, {"errors": 0.1}])
async def test_other_targets_drop_memory_and_period(
    change: dict[str, float], ground: Ground, open_room: Open
) -> None:
    """The load that an origin serves within 800 ms does not show what it serves within 500 ms. The
    record stays."""
    replica = await open_room()
    end = await remembering(ground, replica)
    targets = replace(TARGETS, **change)
    await ground.pass_time(0.1)
    assert await advance(replica, tally(responses=9), targets=targets) is None
    assert await steer(replica, end) is False
    await ground.pass_time(PERIOD_S + 0.1)
    newer = await advance(replica, tally(responses=2), targets=targets)
    assert newer is not None
    assert (newer.steering, newer.memory, newer.period.responses) == ("record", "", 2)


async def test_other_bounds_keep_the_memory(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await remembering(ground, replica)
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(replica, targets=replace(TARGETS, rate_min=1, rate_max=9))
    assert end is not None
    assert end.memory == "memory"


async def test_memory_ends_with_autotune(ground: Ground, open_room: Open) -> None:
    """Also if autotune is off for a moment only. A grant by an operator does not count as that."""
    replica = await open_room()
    await remembering(ground, replica)
    await queue_of(ground, name="").queue.advance()  # an operator
    assert (await ground.read())["state"]["steering_memory"] == "memory"
    await replica.queue.advance()
    assert FIELDS & (await ground.read())["state"].keys() == {"steering"}
    end = await ended_period(ground, replica)
    assert (end.steering, end.memory) == ("record", "")


async def test_steered_rate_returns_with_the_room_after_a_loss(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    assert await steer(replica, await ended_period(ground, replica), rate=300)
    await ground.write({})
    await ground.pass_time(1)
    assert (await replica.read_state()).rate_per_minute == 300
    assert await steering_of(ground) == ""


async def test_steered_rate_outlives_a_restart(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    assert await steer(replica, await ended_period(ground, replica), rate=300)
    assert (await (await open_room()).read_state()).rate_per_minute == 300


async def test_what_fell_due_under_the_old_rate_is_kept(room_name: RoomName) -> None:
    """The clock does not advance in between."""
    ground = EmulatedGround(room_name)
    replica = await replica_of(ground, rate="60/min", burst=100)
    await line_up(replica, crowd(130))
    await replica.released()  # the whole bucket
    end = await ended_period(ground, replica)
    await ground.pass_time(2)
    assert await steer(replica, end, rate=30)
    assert await replica.released() == 2


async def test_rate_of_an_event_is_steered_in_its_place(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await plan(replica, settings={"rate": "120/min"})
    await open_now(ground, replica)
    end = await ended_period(ground, replica)
    known = await replica.read_state()
    assert known.current_rate_per_minute == 120
    after = with_settings(known.schedule, "sale", {"rate": "90/min"})
    request = SteerRequest(end.begin_us, known, 90, "", "", after)
    assert await replica.queue.steer(request) is True
    state = await replica.read_state()
    assert (state.current_rate_per_minute, state.rate_per_minute) == (90, 6)
    assert await replica.queue.steer(request) is False


async def test_pacers_of_two_replicas_steer_once_a_period(ground: Ground, open_room: Open) -> None:
    """Each measures half of the slow responses; the rate falls once."""
    keys = {"rate": "600/min", "autotune": True, "autotune_latency": "100ms"}
    replicas = [await open_room(**keys) for _ in range(2)]
    tuned = [Autotune(each.queue) for each in replicas]
    for each in tuned:
        await each.advance()
    rates = [600.0]
    for _ in range(3):
        for each in tuned:
            count_all(each.tally, 50, seconds=0.4)
            await each.advance()
        await ground.pass_time(PERIOD_S + 0.1)
        for each in tuned:
            await each.advance()
        rates.append((await replicas[0].read_state()).rate_per_minute)
    falls = [after < before for before, after in pairwise(rates)]
    assert falls[0]
    assert rates[-1] >= 30


async def test_rate_of_an_event_falls_with_its_origin(ground: Ground, open_room: Open) -> None:
    """Like an operator's change: until the event ends, and without effect on the room's own
    rate."""
    keys: dict[str, object] = {"autotune": True, "autotune_latency": "100ms"}
    replica = await open_room(**keys)
    await plan(replica, settings={"rate": "600/min", "max_active": 900})
    await open_now(ground, replica)
    tuned = Autotune(replica.queue)
    await tuned.advance()
    count_all(tuned.tally, 50, seconds=0.4)
    await ground.pass_time(PERIOD_S + 0.1)
    await tuned.advance()
    state = await replica.read_state()
    assert 30 <= state.current_rate_per_minute < 600
    assert state.rate_per_minute == 6
    [event] = state.schedule.events
    assert event.settings["max_active"] == 900
    assert event.rate_per_minute == state.current_rate_per_minute


async def test_rate_outside_of_the_bounds_is_brought_within(
    ground: Ground, open_room: Open
) -> None:
    """The rate of the file, or a rate outside of bounds that an operator changed."""
    keys: dict[str, object] = {"autotune": True, "autotune_max": "300/min"}
    replica = await open_room(rate="600/min", **keys)
    tuned = Autotune(replica.queue)
    await tuned.advance()
    await ground.pass_time(PERIOD_S + 0.1)
    await tuned.advance()
    assert (await replica.read_state()).rate_per_minute == 300
