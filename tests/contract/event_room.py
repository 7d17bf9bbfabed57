"""An event in a room on a store of the contract: planned, opened, drawn.

Rules: a ground on a server cannot set its clock, so an event opens when a test moves its start to
the store's current time, as an operator could.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import QueuePosition, SlotGrant
from gatekeeper.policy.planned_events import SigningKeys
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import Event, Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.openings import FileEvents, Openings
from tests.contract.grounds import (
    EmulatedGround,
    Ground,
    Replica,
    arrive,
    crowd,
    poll,
)

KEYS = SigningKeys((b"signing" * 5,))
NAMES = crowd(12)


async def plan(replica: Replica, *, opens_in_s: float = 600, **values: Any) -> Event:
    """An event whose prequeue has begun; `values` replace its fields."""
    state = await replica.read_state()
    now_us = state.now_us
    event = Event(
        "sale",
        start_us=now_us + round(opens_in_s * 1_000_000),
        announced_us=now_us,
        prequeue_us=now_us - 10_000_000,
    )
    event = KEYS.committed(replace(event, **values), room=replica.queue.rules.room)
    await change(replica, state.schedule.with_event(event))
    return event


async def change(replica: Replica, schedule: Schedule) -> None:
    before = (await replica.read_state()).schedule
    assert await replica.queue.change_events(before, schedule) is not None


async def change_event(replica: Replica, **values: Any) -> Event:
    [event] = (await replica.read_state()).schedule.events
    changed = replace(event, **values)
    await change(replica, Schedule.of([changed]))
    return changed


async def open_now(ground: Ground, replica: Replica) -> Event:
    """After the last arrival so far."""
    state = await replica.read_state()
    await ground.pass_time(0.01)
    return await change_event(replica, start_us=max(state.now_us, state.last_arrival_us + 1))


def openings(replica: Replica, keys: SigningKeys = KEYS) -> Openings:
    return Openings(replica.queue, file=FileEvents((), keys))


async def draw(replica: Replica) -> Schedule:
    """The draw, as a replica does it at its tick."""
    state = await replica.read_state()
    await openings(replica).step(state)
    return (await replica.read_state()).schedule


async def released(replica: Replica, turns_us: dict[str, int]) -> list[str]:
    """The visitors that one release admits, by their next poll."""
    await replica.queue.advance()
    standings = await poll(replica, {n: QueuePosition(us, 0) for n, us in turns_us.items()})
    return [name for name, each in standings.items() if isinstance(each, SlotGrant)]


def in_order(schedule: Schedule, arrivals_us: dict[str, int]) -> list[str]:
    drawn_us = turns(schedule, arrivals_us)
    return sorted(arrivals_us, key=lambda name: (drawn_us[name], name))


def turns(schedule: Schedule, arrivals_us: dict[str, int]) -> dict[str, int]:
    return {name: schedule.drawn_turn_us(VisitorId(name), us) for name, us in arrivals_us.items()}


async def gather(replica: Replica, names: Sequence[str] = NAMES) -> dict[str, int]:
    """Visitors arrive and return their tickets. Returns their arrivals."""
    arrivals = await arrive(replica, names)
    schedule = (await replica.read_state()).schedule
    placed = {
        name: QueuePosition(schedule.drawn_turn_us(VisitorId(name), each.turn_us), 0)
        for name, each in arrivals.items()
    }
    await poll(replica, placed)
    return {name: each.turn_us for name, each in arrivals.items()}


def exact_room(**keys: Any) -> tuple[EmulatedGround, FileEvents]:
    ground = EmulatedGround(RoomName("exact"))
    now_us = ground.rules.clock_us
    times = {name: spell_time(now_us + s * 1_000_000) for name, s in keys.pop("times").items()}
    event = EventConfig.model_validate({"name": "sale", "room": "exact"} | times | keys)
    return ground, FileEvents((event,), KEYS)


def exact_rules(ground: Ground, **keys: Any) -> Rules:
    from gatekeeper.policy.rules import Rules

    return Rules.of(
        RoomConfig.model_validate(
            {"name": ground.room, "heartbeat_timeout": "1h", "claim_timeout": "1h"} | keys
        )
    )
