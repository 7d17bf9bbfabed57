"""The periods of autotune in the store: measured by all, ended by one, set at most once."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.autotune import LATENCY_BOUNDS, PERIOD_S, Targets
from gatekeeper.policy.event_changes import with_settings
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.room.origin_tally import OriginTally
from gatekeeper.room.period import PeriodEnd, SteerRequest
from gatekeeper.room.rate_steering import Autotune
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import StoreFull
from tests.contract.event_room import open_now, plan
from tests.contract.grounds import (
    EmulatedGround,
    Ground,
    Open,
    Replica,
    crowd,
    line_up,
    poll,
)
from tests.origin_periods import count_all

SALE = '{"burst":[20,1]}'


FIELDS = {
    *("period_at", "period_counts", "period_admitted"),
    *("steered_by", "steering", "steering_memory"),
}
TARGETS = Targets(rate_min=30, rate_max=3000, latency_s=0.8, errors=0.02)


async def advance(
    replica: Replica, measured: str = "", *, targets: Targets = TARGETS
) -> PeriodEnd | None:
    _, end = await replica.queue.advance_measured(measured, targets.measure)
    return end


async def ended_period(ground: Ground, replica: Replica, *, measured: str = "") -> PeriodEnd:
    assert await advance(replica) is None
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(replica, measured)
    assert end is not None
    return end


async def steer(
    replica: Replica,
    end: PeriodEnd,
    *,
    rate: float | None = 300.0,
    known: RoomState | None = None,
    steering: str = "record",
    memory: str = "memory",
) -> bool:
    known = known or await replica.look()
    return await replica.queue.steer(SteerRequest(end.begin_us, known, rate, steering, memory))


def tally(*, seconds: float = 0.1, responses: int = 0, failed: int = 0) -> str:
    counted = OriginTally()
    counted.measure_by(TARGETS.latency_s)
    count_all(counted, responses, seconds=seconds)
    count_all(counted, failed, status=500, seconds=seconds)
    return counted.take()


async def steering_of(ground: Ground) -> str | float:
    return (await ground.read())["state"].get("steering", "")


async def test_one_call_receives_what_all_replicas_measured(
    ground: Ground, open_room: Open
) -> None:
    one, other = await open_room(), await open_room()
    assert await advance(one, tally(responses=99)) is None  # before the first period began
    assert await advance(one, tally(responses=3)) is None
    assert await advance(other, tally(responses=4, failed=1)) is None
    assert await advance(other) is None
    await ground.pass_time(PERIOD_S + 0.1)
    ends = await asyncio.gather(advance(one, tally(responses=2)), advance(other))
    [end] = [each for each in ends if each is not None]
    in_both = end.period.responses, end.period.failed
    assert in_both in {(10, 1), (8, 1)}  # the call of `other` may have come first
    assert len(end.period.counts) == len(LATENCY_BOUNDS) + 1
    assert PERIOD_S <= end.period.seconds < PERIOD_S + 5
    assert await advance(one) is None


async def test_late_measurements_count_in_the_next_period(ground: Ground, open_room: Open) -> None:
    one, other = await open_room(), await open_room()
    await ended_period(ground, one, measured=tally(responses=5))
    assert await advance(other, tally(responses=7)) is None
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(one)
    assert end is not None
    assert end.period.responses == 7


async def test_period_without_responses_has_none(ground: Ground, open_room: Open) -> None:
    end = await ended_period(ground, await open_room())
    assert (end.period.responses, end.period.failed, sum(end.period.counts)) == (0, 0, 0)


async def test_failures_without_a_response_are_in_no_bucket(
    ground: Ground, open_room: Open
) -> None:
    counted = OriginTally()
    counted.measure_by(TARGETS.latency_s)
    counted.of("a").count_failure()
    counted.of("b").count(503, seconds=0.1)
    end = await ended_period(ground, await open_room(), measured=counted.take())
    assert (end.period.responses, end.period.failed, sum(end.period.counts)) == (2, 2, 1)
    assert not end.period.is_late


async def test_pause_of_one_replica_is_known_of_the_period(ground: Ground, open_room: Open) -> None:
    counted = OriginTally()
    end = await ended_period(ground, await open_room(), measured=counted.take(is_late=True))
    assert end.period.is_late
    assert end.period.responses == 0


async def test_visitors_admitted_in_the_period_are_counted(ground: Ground, open_room: Open) -> None:
    """By their claims: a released visitor who does not come puts no load on the origin."""
    replica = await open_room(rate="60/min", burst=3)
    await line_up(replica, crowd(3, prefix="early"))  # these go straight through or take the burst
    waiting = await line_up(replica, crowd(4))
    assert await advance(replica) is None
    await ground.pass_time(PERIOD_S + 0.1)
    before = (await replica.look()).admitted_total
    await ground.attend()
    await poll(replica, waiting)
    claimed = (await replica.look()).admitted_total - before
    end = await advance(replica)
    assert end is not None
    assert end.period.admitted == claimed


async def test_line_waits_for_the_rate_only_while_a_slot_is_free(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room(rate="6/min", max_active=1)
    await line_up(replica, crowd(4))
    await replica.allow(1)
    await advance(replica)  # releases the first in line: every slot is held
    end = await ended_period(ground, replica)
    assert end.period.waiting is False
    replica.queue.rules = (await open_room(rate="6/min", max_active=0)).queue.rules
    await ground.pass_time(PERIOD_S + 0.1)
    end_with_slots = await advance(replica)
    assert end_with_slots is not None
    assert end_with_slots.period.waiting is True


async def test_rate_of_a_period_is_set_once_and_as_an_operator_would(
    ground: Ground, open_room: Open
) -> None:
    one, other = await open_room(), await open_room()
    end = await ended_period(ground, one)
    before = await one.look()
    assert await steer(one, end, rate=300, known=before) is True
    state = await other.look()
    assert (state.rate_per_minute, state.version) == (300, before.version + 1)
    assert await steering_of(ground) == "record"
    assert await steer(other, end, rate=200, known=before) is False
    assert (await one.look()).rate_per_minute == 300


async def test_unchanged_rate_changes_no_state(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    end = await ended_period(ground, replica)
    before = await replica.look()
    assert await steer(replica, end, rate=None, steering="steady") is True
    after = await replica.look()
    assert (after.version, after.rate_per_minute) == (before.version, 6)
    assert await steering_of(ground) == "steady"


async def test_late_rate_is_refused(ground: Ground, open_room: Open) -> None:
    """The replica slept: another has ended the next period since."""
    slow, other = await open_room(), await open_room()
    end = await ended_period(ground, slow)
    await ground.pass_time(PERIOD_S + 0.1)
    newer = await advance(other)
    assert newer is not None
    assert await steer(slow, end) is False
    assert (await other.look()).rate_per_minute == 6
    assert await steer(other, newer) is True


async def test_rate_of_an_operator_outlives_the_period_that_it_was_set_in(
    ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    end = await ended_period(ground, replica)
    known = await replica.look()
    await replica.queue.set_rate(90)
    assert await steer(replica, end, known=known) is False
    assert (await replica.look()).rate_per_minute == 90


async def test_settings_that_changed_meanwhile_refuse_the_rate(
    ground: Ground, open_room: Open
) -> None:
    """`set autotune=false` freezes the rate at once, whatever a replica has computed."""
    replica = await open_room()
    end = await ended_period(ground, replica)
    known = await replica.look()
    await ground.write(
        {**(contents := await ground.read()), "state": contents["state"] | {"overrides": SALE}}
    )
    assert await steer(replica, end, known=known) is False
    assert (await replica.look()).rate_per_minute == 6


@pytest.mark.parametrize("mode", sorted(set(Mode) - {Mode.AUTO}))
async def test_no_period_runs_while_the_rate_releases_nobody(
    mode: Mode, ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    end = await ended_period(ground, replica)
    await replica.set_mode(mode)
    assert await steer(replica, end) is False
    for _ in range(2):
        assert await advance(replica, tally(responses=50)) is None
        await ground.pass_time(PERIOD_S + 0.1)
    await replica.set_mode(Mode.AUTO)
    end = await ended_period(ground, replica, measured=tally(responses=2))
    assert end.period.responses == 2


async def test_no_period_runs_at_rate_zero(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    end = await ended_period(ground, replica)
    await replica.queue.set_rate(0)
    assert await steer(replica, end) is False
    assert await advance(replica) is None
    await ground.pass_time(PERIOD_S + 0.1)
    assert await advance(replica) is None


async def test_no_period_runs_while_the_store_recovers(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await ended_period(ground, replica)
    await ground.write({})
    await ground.pass_time(1)
    assert await advance(replica) is None  # it was joined again
    assert (await replica.look()).recovering_until_us > (await replica.look()).now_us
    await ground.pass_time(PERIOD_S + 0.1)
    assert await advance(replica) is None


async def test_pause_of_several_periods_begins_again(ground: Ground, open_room: Open) -> None:
    """No replica was there, or autotune was off: what was measured before is of another time."""
    replica = await open_room()
    assert await advance(replica) is None
    assert await advance(replica, tally(responses=9)) is None
    await ground.pass_time(4 * PERIOD_S)
    assert await advance(replica, tally(responses=8)) is None
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(replica)
    assert end is not None
    assert end.period.responses == 0


async def test_without_autotune_nothing_of_it_is_stored(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    await replica.queue.advance()
    state = (await ground.read())["state"]
    assert not FIELDS & state.keys()


async def remembering(ground: Ground, replica: Replica) -> PeriodEnd:
    """The end of a second period, by which the law remembers the first."""
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
    """What the origin carries within 800 ms says nothing about 500 ms. The record stays."""
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
    """Also where it is off for a moment. An operator's grant is no sign of that."""
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
    assert (await replica.look()).rate_per_minute == 300
    assert await steering_of(ground) == ""


async def test_steered_rate_outlives_a_restart(ground: Ground, open_room: Open) -> None:
    replica = await open_room()
    assert await steer(replica, await ended_period(ground, replica), rate=300)
    assert (await (await open_room()).look()).rate_per_minute == 300


async def test_what_fell_due_under_the_old_rate_is_kept(room_name: RoomName) -> None:
    """Where the clock stands still in between."""
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
    known = await replica.look()
    assert known.current_rate_per_minute == 120
    after = with_settings(known.schedule, "sale", {"rate": "90/min"})
    request = SteerRequest(end.begin_us, known, 90, "", "", after)
    assert await replica.queue.steer(request) is True
    state = await replica.look()
    assert (state.current_rate_per_minute, state.rate_per_minute) == (90, 6)
    assert await replica.queue.steer(request) is False


async def test_full_store_steers_nothing(room_name: RoomName) -> None:
    ground = EmulatedGround(room_name)
    replica = await replica_of(ground)
    assert await advance(replica) is None
    await ground.pass_time(PERIOD_S + 0.1)
    ground.rules.is_full = True
    with pytest.raises(StoreFull):
        await advance(replica, tally(responses=3))
    ground.rules.is_full = False
    end = await advance(replica)
    assert end is not None
    assert end.period.responses == 0


def queue_of(ground: Ground, *, name: str, **keys: object) -> Replica:
    values = {"name": ground.room, "rate": "6/min", "burst": 1} | keys
    return Replica(ground, Rules.of(RoomConfig.model_validate(values)), name=name)


async def replica_of(ground: Ground, **keys: object) -> Replica:
    replica = queue_of(ground, name="only", **keys)
    await replica.queue.join(starting=True, is_first=True)
    return replica


@pytest.mark.parametrize("measured", ["1 2 x", "-1", "1.5", "nan"])
async def test_numbers_that_are_not_whole_are_refused_before_any_write(
    measured: str, ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    before = await ground.read()
    with pytest.raises(StoreError):
        await advance(replica, measured)
    assert await ground.read() == before


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
        rates.append((await replicas[0].look()).rate_per_minute)
    falls = [after < before for before, after in pairwise(rates)]
    assert falls[0]
    assert rates[-1] >= 30


async def test_rate_of_an_event_falls_with_its_origin(ground: Ground, open_room: Open) -> None:
    """As an operator's change would: until the event ends, and the room's own rate stays."""
    keys: dict[str, object] = {"autotune": True, "autotune_latency": "100ms"}
    replica = await open_room(**keys)
    await plan(replica, settings={"rate": "600/min", "max_active": 900})
    await open_now(ground, replica)
    tuned = Autotune(replica.queue)
    await tuned.advance()
    count_all(tuned.tally, 50, seconds=0.4)
    await ground.pass_time(PERIOD_S + 0.1)
    await tuned.advance()
    state = await replica.look()
    assert 30 <= state.current_rate_per_minute < 600
    assert state.rate_per_minute == 6
    [event] = state.schedule.events
    assert event.settings["max_active"] == 900
    assert event.rate_per_minute == state.current_rate_per_minute


async def test_rate_outside_of_the_bounds_is_brought_within(
    ground: Ground, open_room: Open
) -> None:
    """As one of the file, or bounds that an operator moved."""
    keys: dict[str, object] = {"autotune": True, "autotune_max": "300/min"}
    replica = await open_room(rate="600/min", **keys)
    tuned = Autotune(replica.queue)
    await tuned.advance()
    await ground.pass_time(PERIOD_S + 0.1)
    await tuned.advance()
    assert (await replica.look()).rate_per_minute == 300
