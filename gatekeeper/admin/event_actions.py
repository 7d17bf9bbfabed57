"""The events of rooms in the admin API.

Rules. `POST` takes a JSON object with the keys of `[[event]]`, which makes an event (201); or of an
event that exists, its `name`, its `room` and either `start`, a time or "now", or `delay`, a
duration (200). `DELETE ?name=` cancels one. Responses have the event with times in UTC. An invalid
value is 400, an unknown event 404, and a change that the state of the room does not allow 409;
nothing was changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gatekeeper.admin.admin_input import json_object
from gatekeeper.admin.draw_entries import commitment_note
from gatekeeper.admin.recorder import OperatorAction, Recorder
from gatekeeper.admin.rooms import Rooms, event_json
from gatekeeper.config.event_schema import EventConfig, parse_time_us, spell_time
from gatekeeper.config.load import checked_event
from gatekeeper.config.problems import shown
from gatekeeper.config.types import parse_duration_s
from gatekeeper.errors import BadRequest, ConfigError
from gatekeeper.policy.event_changes import NewStart
from gatekeeper.policy.schedule import Event
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState

_EXAMPLE = '{"name": "sale", "start": "2026-12-01T10:00:00+01:00"}'
_NOW = "now"


class EventActions:
    """`GET`, `POST` and `DELETE /admin/events`."""

    def __init__(self, rooms: Rooms, *, recorder: Recorder) -> None:
        self._rooms = rooms
        self._recorder = recorder

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/events", self._events),
            web.post("/admin/events", self._post),
            web.delete("/admin/events", self._cancel),
        ]

    async def _events(self, request: web.Request) -> web.Response:
        operators = (
            [self._rooms.requested(request)] if "room" in request.query else list(self._rooms)
        )
        events = [
            event_json(operator, event, now_us=state.now_us)
            for operator in operators
            for state in [await operator.status()]
            for event in state.schedule.events
        ]
        return web.json_response({"events": events})

    async def _post(self, request: web.Request) -> web.Response:
        body = await json_object(request, example=_EXAMPLE)
        operator = self._rooms.requested(request, body=body)
        body["room"] = operator.rules.room
        start = requested_start(body)
        if start is None:
            return await self._add(request, operator, checked_table(body, self._rooms))
        name = str(body["name"])
        is_known = (await operator.status()).schedule.find(name) is not None
        if start.at_us is not None and not is_known:
            return await self._add(request, operator, checked_table(body, self._rooms))
        what = "event open" if start.is_now else "event delay"
        return await self._change(
            request, operator, name, what=what, change=lambda: operator.move_event(name, start)
        )

    async def _add(
        self, request: web.Request, operator: Operator, config: EventConfig
    ) -> web.Response:
        return await self._change(
            request,
            operator,
            config.name,
            what="event add",
            change=lambda: operator.add_event(config),
            status=201,
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        name = request.query.get("name", "")
        if not name:
            raise BadRequest("name: missing; expected as a query parameter")
        return await self._change(
            request,
            operator,
            name,
            what="event cancel",
            change=lambda: operator.cancel_event(name),
        )

    async def _change(
        self,
        request: web.Request,
        operator: Operator,
        name: str,
        *,
        what: str,
        change: Callable[[], Awaitable[RoomState]],
        status: int = 200,
    ) -> web.Response:
        action = OperatorAction(what, operator.rules.room, after=name[:100])

        async def run() -> web.Response:
            before = await operator.status()
            known = before.schedule.find(name)
            action.before = None if known is None else times_of(known)
            state = await change()
            event = state.schedule.find(name)
            if event is not None:
                action.after = f"{name} {times_of(event)}"
                action.note = commitment_note(event)
            shown_event = event or known
            assert shown_event is not None
            described = event_json(operator, shown_event, now_us=state.now_us)
            if event is None:
                described["stage"] = "cancelled"
            return web.json_response(described, status=status)

        return await self._recorder.run(request, [action], run())


def requested_start(body: dict[str, object]) -> NewStart | None:
    """The new start that a body requests; None: it describes a whole event. A body with only a name
    and a time may be either. Raises BadRequest."""
    others = sorted(body.keys() - {"name", "room", "start", "delay"})
    if "delay" in body:
        if others or "start" in body:
            beside = "start" if "start" in body else others[0]
            raise BadRequest(f"{beside}: set together with delay; expected delay alone")
        _check_name(body)
        return NewStart(by_us=_parsed("delay", _parse_delay_us, body["delay"]))
    if body.get("start") == _NOW:
        if others:
            raise BadRequest(
                f'{others[0]}: set together with start = "now"; expected an event that exists'
            )
        _check_name(body)
        return NewStart()
    if others or "start" not in body or not isinstance(body.get("name"), str):
        return None
    return NewStart(at_us=_parsed("start", parse_time_us, body["start"]))


def checked_table(table: dict[str, object], rooms: Rooms) -> EventConfig:
    """Parse an event. Raises ConfigError with every problem."""
    problems: list[str] = []
    configs = [operator.settings.file for operator in rooms]
    event = checked_event(table, configs, path="", problems=problems)
    if event is None or problems:
        raise ConfigError(sorted(problems), source="event")
    return event


def times_of(event: Event) -> str:
    """The start of an event, and its end if it has one, as the audit log shows them."""
    state = "cancelled, " if event.cancelled else ""
    end = "" if event.end_us is None else f", end {spell_time(event.end_us)}"
    return f"{state}start {spell_time(event.start_us)}{end}"


def _parsed(key: str, parse: Callable[[object], int], value: object) -> int:
    try:
        return parse(value)
    except ValueError as error:
        raise BadRequest(f"{key}: {error}") from error


def _parse_delay_us(value: object) -> int:
    delay_us = round(parse_duration_s(value) * 1_000_000)
    if delay_us <= 0:
        raise ValueError(f'{shown(value)} is not a delay; expected e.g. "10m"')
    return delay_us


def _check_name(body: dict[str, object]) -> None:
    if not isinstance(body.get("name"), str):
        raise BadRequest('name: missing; expected name = "…"')
