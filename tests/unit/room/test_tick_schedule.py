"""When a replica's pacer calls the store again."""

import asyncio
from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import Event, Schedule
from gatekeeper.room.state import RoomState
from gatekeeper.room.tick_schedule import TickSchedule
from gatekeeper.room.view import ReplicaView
from tests.builders import room_state

pytestmark = pytest.mark.simulated_time

START_US = 1_700_000_000_000_000
EVENT = Event("sale", start_us=START_US, announced_us=START_US, before="closed")
RULES = Rules.of(RoomConfig())
IDLE = replace(room_state(), queue_length=0, events=Schedule.of([EVENT]).text)


async def _pause_s(state: RoomState) -> float:
    """The pause of the pacer after the store returned this state."""
    loop = asyncio.get_running_loop()
    view = ReplicaView(monotonic_s=loop.time)
    view.note_store_up()
    view.update_from_store(state)
    began_s = loop.time()
    await TickSchedule().pause(view, RULES)
    return loop.time() - began_s


async def test_idle_room_is_asked_once_a_second() -> None:
    assert 0.9 <= await _pause_s(replace(IDLE, now_us=START_US - 10_000_000)) <= 1


async def test_call_just_before_an_event_is_repeated_just_after_it() -> None:
    """The shortest pause ends after the start, while the state is still that of before."""
    for early_us in (1_000, 10_000, 19_000, 21_000):
        pause_s = await _pause_s(replace(IDLE, now_us=START_US - early_us))
        assert pause_s < 0.05
