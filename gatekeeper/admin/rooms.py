"""The rooms of this gate in the admin API: by name, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiohttp import web

from gatekeeper.config.problems import shown
from gatekeeper.config.types import DEFAULT_ROOM, RoomName
from gatekeeper.errors import BadRequest
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState


class Rooms:
    """All rooms by name, in the order of the configuration."""

    def __init__(self, operators: Mapping[RoomName, Operator]) -> None:
        self._operators = operators

    def follow(self, operators: Mapping[RoomName, Operator]) -> None:
        """The rooms of another configuration."""
        self._operators = operators

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._operators.values())

    def requested(self, request: web.Request) -> Operator:
        """The room of `?room=`, or `default` without it. Raises BadRequest for an unknown room."""
        name = RoomName(request.query.get("room", DEFAULT_ROOM))
        if name not in self._operators:
            raise BadRequest(
                f"room: {shown(name)} is unknown; expected one of {', '.join(self._operators)}"
            )
        return self._operators[name]


def room_json(operator: Operator, state: RoomState) -> dict[str, object]:
    return {
        "room": operator.rules.room,
        "mode": state.mode.value,
        "rate_per_minute": state.current_rate_per_minute,
        "message": state.shown_message,
        "queue_length": state.queue_length,
        "active": state.active,
        "max_active": operator.rules.max_active,
        "watermark": state.watermark_us,
        "arrived_total": state.arrived_total,
        "released_total": state.released_total,
        "admitted_total": state.admitted_total,
        "abandoned_total": state.abandoned_total,
    }
