"""A room in the admin API, and the monitor's readings of its lanes."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, cast

from gatekeeper.admin.monitor import Monitor
from gatekeeper.admin.rooms import room_json
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.rules import Rules
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord
from tests.builders import room_state

SALE = RoomName("sale")
RULES = replace(Rules.of(RoomConfig(name=SALE)), lanes=(Lane("members", 60_000_000),))


@dataclass
class Room:
    """A room of one lane, as the monitor reads it."""

    rules: Rules = RULES
    lanes: dict[str, int] | None = None

    async def status(self) -> RoomState:
        return room_state()

    async def steering(self) -> SteeringRecord | None:
        return None

    async def count_lanes(self) -> dict[str, int]:
        if self.lanes is None:
            raise StoreError("the store did not respond")
        return self.lanes


def shown(room: Room, **keys: Any) -> dict[str, object]:
    return room_json(cast(Operator, room), room_state(), **keys)


def test_room_has_lanes_where_they_were_counted() -> None:
    assert shown(Room(), lanes={"members": 4})["lanes"] == {"members": 4}
    assert "lanes" not in shown(Room())


def test_monitor_keeps_the_newest_counts() -> None:
    room = Room(lanes={"members": 4})
    monitor = Monitor([room], NoEvents(), own=list)
    asyncio.run(monitor.refresh())
    assert monitor.lanes == {SALE: {"members": 4}}
    room.lanes = None
    asyncio.run(monitor.refresh())
    assert monitor.lanes == {SALE: {"members": 4}}
    assert monitor.store_lost_at_s is not None
    room.lanes = {"members": 0}
    asyncio.run(monitor.refresh())
    assert monitor.lanes == {SALE: {"members": 0}}
    monitor.configure([])
    assert monitor.lanes == {}
