"""Absent visitors and releases in a store that is full: only removals work."""

from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from tests.contract.grounds import EmulatedGround, Replica, admitted_names, crowd, line_up, poll


async def full_store_with_ghosts(room_name: RoomName) -> tuple[EmulatedGround, Replica]:
    """1200 visitors with distant deadlines, and 300 ghosts. Every write fails, also that of the
    time of a pacer's call. The replica has a pacer."""
    ground = EmulatedGround(room_name)
    rules = Rules.of(
        RoomConfig.model_validate({"name": room_name, "rate": 0, "heartbeat_timeout": "20s"})
    )
    replica = Replica(ground, replace(rules, heartbeat_timeout_s=600), name="patient")
    hasty = Replica(ground, rules, name="hasty")
    await replica.queue.join(starting=True)
    await line_up(replica, crowd(1200))
    await line_up(hasty, crowd(300, prefix="ghost"))
    await replica.released()
    ground.rules.is_full = True
    return ground, replica


async def attend_full_store(ground: EmulatedGround, replica: Replica, *, seconds: float) -> None:
    """A pacer calls every 137 ms; nothing else happens meanwhile."""
    for _ in range(round(seconds / 0.137)):
        ground.rules.clock_us += 137_000
        with pytest.raises(StoreError):
            await replica.released()


async def test_absent_visitors_are_swept_in_a_full_store(room_name: RoomName) -> None:
    ground, replica = await full_store_with_ghosts(room_name)
    await attend_full_store(ground, replica, seconds=40)
    assert set((await ground.read())["queue"]) == {*crowd(1200)}
    ground.rules.is_full = False
    assert await replica.released() == 0
    state = await replica.read_state()
    assert (state.queue_length, state.replicas) == (1200, 1)
    ground.rules.clock_us += 3_700_000_000
    await replica.released()
    assert (await replica.read_state()).replicas == 1, "and it does not expire later"


@pytest.mark.parametrize("room_for", range(6))
async def test_store_that_fills_in_a_release_releases_no_more(
    room_name: RoomName, room_for: int
) -> None:
    """Full from any command of the script on: no more visitors are released than granted, and none
    loses the place."""
    ground = EmulatedGround(room_name)
    rules = Rules.of(RoomConfig.model_validate({"name": room_name, "rate": 0}))
    replica = Replica(ground, rules, name="only")
    await replica.queue.join(starting=True)
    replies = await line_up(replica, crowd(60))
    await replica.allow(10)
    ground.rules.room_for = room_for
    for _ in range(20):
        ground.rules.clock_us += 100_000
        try:
            await replica.released()
        except StoreError:
            continue
    ground.rules.room_for = None
    held = (await ground.read()).get("active", {})
    assert len(held) == (await replica.read_state()).released_total <= 10
    await poll(replica, replies)  # visitors whose release was not counted return
    await replica.released()
    assert (await replica.read_state()).released_total == 10
    standings = await poll(replica, replies)
    entered, waiting = set(admitted_names(standings)), (await ground.read())["queue"]
    assert len(entered) == 10
    assert entered | waiting.keys() == {*crowd(60)}


async def test_pause_in_a_full_store_is_no_absence(room_name: RoomName) -> None:
    """No visitor could poll in the pause, and a full store cannot store its length: no visitor is
    removed until the store has room again and the clock of the deadlines continues."""
    ground, replica = await full_store_with_ghosts(room_name)
    await attend_full_store(ground, replica, seconds=5)
    ground.rules.clock_us += 60_000_000
    await attend_full_store(ground, replica, seconds=30)
    assert len((await ground.read())["queue"]) == 1500
    ground.rules.is_full = False
    for _ in range(12):
        await replica.released()
        ground.rules.clock_us += 1_000_000
    assert len((await ground.read())["queue"]) == 1500
    for _ in range(30):
        await replica.released()
        ground.rules.clock_us += 1_000_000
    assert set((await ground.read())["queue"]) == {*crowd(1200)}
