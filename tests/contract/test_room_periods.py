"""The periods of autotune in the store: measured by all replicas, ended by one of them."""

import asyncio

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.autotune import LATENCY_BOUNDS, PERIOD_S
from gatekeeper.policy.phase import Mode
from gatekeeper.room.origin_tally import OriginTally
from gatekeeper.room.store import StoreFull
from tests.contract.grounds import EmulatedGround, Ground, Open, crowd, line_up, poll
from tests.contract.steered_room import TARGETS, advance, ended_period, replica_of, steer, tally


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
    """Claims are counted: a released visitor who does not claim causes no load on the origin."""
    replica = await open_room(rate="60/min", burst=3)
    await line_up(replica, crowd(3, prefix="early"))  # admitted at once, or by the burst
    waiting = await line_up(replica, crowd(4))
    assert await advance(replica) is None
    await ground.pass_time(PERIOD_S + 0.1)
    before = (await replica.read_state()).admitted_total
    await poll(replica, waiting)
    claimed = (await replica.read_state()).admitted_total - before
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
    assert await advance(replica) is None  # the replica joined again
    assert (await replica.read_state()).recovering_until_us > (await replica.read_state()).now_us
    await ground.pass_time(PERIOD_S + 0.1)
    assert await advance(replica) is None


async def test_pause_of_several_periods_begins_again(ground: Ground, open_room: Open) -> None:
    """No replica was running, or autotune was off: the earlier measurements are outdated."""
    replica = await open_room()
    assert await advance(replica) is None
    assert await advance(replica, tally(responses=9)) is None
    await ground.pass_time(4 * PERIOD_S)
    assert await advance(replica, tally(responses=8)) is None
    await ground.pass_time(PERIOD_S + 0.1)
    end = await advance(replica)
    assert end is not None
    assert end.period.responses == 0


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


@pytest.mark.parametrize("measured", ["1 2 x", "-1", "1.5", "nan"])
async def test_numbers_that_are_not_whole_are_refused_before_any_write(
    measured: str, ground: Ground, open_room: Open
) -> None:
    replica = await open_room()
    before = await ground.read()
    with pytest.raises(StoreError):
        await advance(replica, measured)
    assert await ground.read() == before
