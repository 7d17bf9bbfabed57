"""The rooms of this gate in the admin API: by name, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiohttp import web

from gatekeeper.admin.autotune_status import autotune_json
from gatekeeper.config.event_schema import spell_time
from gatekeeper.config.problems import shown
from gatekeeper.config.types import DEFAULT_ROOM, RoomName
from gatekeeper.errors import BadRequest
from gatekeeper.policy.event_changes import stage_of
from gatekeeper.policy.schedule import Event
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord

NO_BODY: Mapping[str, object] = {}
NO_LANES: Mapping[str, int] = {}


class Rooms:
    """All rooms by name, in the order of the configuration."""

    def __init__(self, operators: Mapping[RoomName, Operator]) -> None:
        self._operators = operators

    def configure(self, operators: Mapping[RoomName, Operator]) -> None:
        """Replace the rooms."""
        self._operators = operators

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._operators.values())

    def find(self, name: RoomName) -> Operator | None:
        return self._operators.get(name)

    def requested(self, request: web.Request, *, body: Mapping[str, object] = NO_BODY) -> Operator:
        """The room of `?room=` or of the body; `default` without both. Raises BadRequest for an
        unknown room."""
        in_query, in_body = request.query.get("room"), body.get("room")
        if in_query is not None and in_body not in (None, in_query):
            raise BadRequest(
                f"room: {shown(in_body)} in the body and {shown(in_query)} in the query"
            )
        given = in_body if in_query is None else in_query
        name = DEFAULT_ROOM if given is None else given
        if not isinstance(name, str) or name not in self._operators:
            raise BadRequest(
                f"room: {shown(name)} is unknown; expected one of {', '.join(self._operators)}"
            )
        return self._operators[RoomName(name)]


def room_json(
    operator: Operator,
    state: RoomState,
    *,
    lanes: Mapping[str, int] = NO_LANES,
    steering: SteeringRecord | None = None,
) -> dict[str, object]:
    """The JSON of a room. `lanes`: how many visitors of each lane are in line; a room without lanes
    has no such key. `steering`: what autotune did; a room that it does not steer has no key
    `autotune`."""
    found: dict[str, object] = {
        "room": operator.rules.room,
        "mode": state.mode.value,
        "rate_per_minute": state.current_rate_per_minute,
        "message": state.shown_message,
        "queue_length": state.queue_length,
        "queue_limit": operator.rules.queue_limit,
        "active": state.active,
        "max_active": operator.rules.max_active,
        "watermark": state.watermark_us,
        "arrived_total": state.arrived_total,
        "released_total": state.released_total,
        "admitted_total": state.admitted_total,
        "abandoned_total": state.abandoned_total,
        "phase": state.phase.value,
        "event": _current_event(state),
    }
    if lanes:
        found["lanes"] = dict(lanes)
    targets = operator.rules.autotune
    if targets is not None and steering is not None:
        found["autotune"] = autotune_json(targets, steering)
    return found


def event_json(operator: Operator, event: Event, *, now_us: int) -> dict[str, object]:
    """An event in the format of the file, with its stage and its commitment."""
    return {
        "name": event.name,
        "room": operator.rules.room,
        "stage": stage_of(event, now_us),
        "prequeue": _time(event.prequeue_us),
        "start": _time(event.start_us),
        "end": _time(event.end_us),
        "order": event.order,
        "before": event.before,
        "after": event.after,
        "beacon": event.beacon,
        **event.settings,
        "announced": _time(event.announced_us),
        "commitment": event.commitment,
        "drawn": event.drawn is not None,
        "file": bool(event.file),
    }


def _current_event(state: RoomState) -> dict[str, object] | None:
    """The current or the next event of the room. `seconds` is the time until `next`."""
    event, now_us = state.window.event, state.now_us
    if event is None or event.last_us <= now_us:
        event = state.schedule.next_start(now_us) or event
    if event is None:
        return None
    stage = stage_of(event, now_us)
    next_, at_us = {
        "planned": ("start", event.start_us),
        "prequeue": ("start", event.start_us),
        "running": ("end", event.end_us),
    }.get(stage, ("", None))
    if stage == "planned" and event.prequeue_us is not None:
        next_, at_us = "prequeue", event.prequeue_us
    return {
        "name": event.name,
        "stage": stage,
        "starts_at": _time(event.start_us),
        "ends_at": _time(event.end_us),
        "next": next_ if at_us is not None else "",
        "seconds": None if at_us is None else max(round((at_us - now_us) / 1_000_000), 0),
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else spell_time(at_us)
