"""The rooms of this gate as the admin API names and tells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiohttp import web

from gatekeeper.config.schema import DEFAULT_ROOM
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState


class Rooms:
    """All rooms by their names, in the order of the configuration."""

    def __init__(self, operators: Mapping[RoomName, Operator]) -> None:
        self._operators = operators

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._operators.values())

    def asked(self, request: web.Request) -> Operator:
        """The room that `?room=` names, else `default`; raises BadRequest."""
        name = RoomName(request.query.get("room", DEFAULT_ROOM))
        if name not in self._operators:
            raise BadRequest(f"room: expected one of {', '.join(self._operators)}")
        return self._operators[name]


def room_json(operator: Operator, state: RoomState) -> dict[str, object]:
    return {
        "room": operator.rules.room,
        "mode": state.mode.value,
        "rate_per_minute": state.rate_per_minute,
        "message": state.message,
        "queue_length": state.queue_length,
        "active": state.active,
        "max_active": operator.rules.max_active,
        "watermark": state.watermark_us,
        "arrived_total": state.arrived_total,
        "released_total": state.released_total,
        "admitted_total": state.admitted_total,
        "abandoned_total": state.abandoned_total,
    }
