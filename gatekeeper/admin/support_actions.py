"""Operators' actions on one visitor: find, admit, revoke.

Rules. `?visitor=` is a visitor id, or the reference that the visitor reads on the waiting page. A
reference that several visitors share changes nothing (409 with their ids); an unknown reference is
404. `GET /admin/find` looks in every room, or in `?room=`, and changes nothing. No token and no
secret is shown.
"""

from __future__ import annotations

from typing import assert_never

from aiohttp import web

from gatekeeper.admin.recorder import OperatorAction, Recorder
from gatekeeper.admin.rooms import Rooms
from gatekeeper.config.event_schema import spell_time
from gatekeeper.config.problems import shown
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest, Conflict, NotFound
from gatekeeper.policy.draw import id_hash
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.reference import parse_reference, reference_of
from gatekeeper.policy.schedule import Event
from gatekeeper.policy.tokens import VisitorId, is_visitor_id
from gatekeeper.room.operator import Operator
from gatekeeper.room.standings import Whereabouts
from gatekeeper.room.state import RoomState


class SupportActions:
    """`GET /admin/find`, `POST /admin/admit` and `/admin/revoke`."""

    def __init__(self, rooms: Rooms, *, recorder: Recorder) -> None:
        self._rooms = rooms
        self._recorder = recorder

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/find", self._find),
            web.post("/admin/admit", self._admit),
            web.post("/admin/revoke", self._revoke),
        ]

    async def _find(self, request: web.Request) -> web.Response:
        asked = parse_visitor(request)
        operators = (
            [self._rooms.requested(request)] if "room" in request.query else list(self._rooms)
        )
        found = [each for operator in operators for each in await _found_in(operator, asked)]
        known = [each for each in found if each["state"] != "unknown"]
        return web.json_response({"visitors": known or [_unknown(asked)]})

    async def _admit(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        visitor = await _resolved(operator, parse_visitor(request))
        room = operator.rules.room
        action = OperatorAction("admit", room, visitor=visitor, after="released")

        async def admit() -> web.Response:
            _, [before] = await operator.find([visitor])
            action.before = before.state
            state, result = await operator.admit(visitor)
            match result:
                case "unknown":
                    raise NotFound(_not_in_line(visitor, room))
                case "closed":
                    raise Conflict(_closed(state))
                case "held":
                    action.after = before.state
                case "released":
                    pass
                case _:
                    assert_never(result)
            now = "released" if result == "released" else before.state
            body = {"room": room, "visitor": visitor, "state": now, "was": before.state}
            return web.json_response(body)

        return await self._recorder.run(request, [action], admit())

    async def _revoke(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        visitor = await _resolved(operator, parse_visitor(request))
        action = OperatorAction("revoke", operator.rules.room, visitor=visitor, after="nothing")

        async def revoke() -> web.Response:
            held = action.before = await operator.revoke(visitor)
            return web.json_response(
                {"room": operator.rules.room, "visitor": visitor, "held": held}
            )

        return await self._recorder.run(request, [action], revoke())


def parse_visitor(request: web.Request) -> str:
    """The requested visitor id or reference, in canonical form."""
    text = request.query.get("visitor")
    if text is None:
        raise BadRequest("visitor: missing; expected as a query parameter")
    try:
        return parse_visitor_text(text)
    except ValueError as error:
        raise BadRequest(f"visitor: {error}") from error


def parse_visitor_text(text: str) -> str:
    """A visitor id, or a reference in canonical form. Raises ValueError."""
    if is_visitor_id(text):
        return text
    reference = parse_reference(text)
    if reference is None:
        raise ValueError(
            f"{shown(text)} is neither a visitor id nor a reference; "
            "expected 22 characters, or eight such as 4Q7K-92ZD"
        )
    return reference


async def _visitors(operator: Operator, asked: str) -> list[VisitorId]:
    return [VisitorId(asked)] if is_visitor_id(asked) else await operator.search(asked)


async def _resolved(operator: Operator, asked: str) -> VisitorId:
    """The visitor of an id or reference. Raises NotFound, or Conflict for several."""
    visitors = await _visitors(operator, asked)
    if not visitors:
        raise NotFound(_not_in_line(asked, operator.rules.room))
    if len(visitors) > 1:
        ids = ", ".join(visitors[:5])
        raise Conflict(f"{asked} is the reference of {len(visitors)} visitors: {ids}")
    return visitors[0]


async def _found_in(operator: Operator, asked: str) -> list[dict[str, object]]:
    visitors = await _visitors(operator, asked)
    if not visitors:
        return []
    state, found = await operator.find(visitors[:20])
    return [
        visitor_json(operator.rules.room, state, visitor, each)
        for visitor, each in zip(visitors, found, strict=False)
    ]


def visitor_json(
    room: RoomName, state: RoomState, visitor: VisitorId, found: Whereabouts
) -> dict[str, object]:
    """The standing of a visitor. Before a draw there is no position and no turn; after it the store
    no longer has the arrival."""
    turn_us, event = found.turn_us, None
    is_provisional = turn_us is not None and turn_us >= PROVISIONAL_US
    if turn_us is not None:
        event = _draw_of(state, visitor, turn_us)
    arrival_us = turn_us - PROVISIONAL_US if turn_us is not None and is_provisional else turn_us
    return {
        "room": room,
        "visitor": visitor,
        "reference": reference_of(visitor),
        "state": found.state,
        "position": None if found.ahead is None or is_provisional else found.ahead + 1,
        "turn": None if is_provisional else turn_us,
        "arrived_at": None if arrival_us is None or event else spell_time(arrival_us),
        "until": None if found.until_us is None else spell_time(found.until_us),
        "ends_at": None if found.ends_us is None else spell_time(found.ends_us),
        "draw": None
        if event is None
        else {"event": event.name, "id_hash": id_hash(visitor).hex(), "turn": turn_us},
    }


def _unknown(asked: str) -> dict[str, object]:
    is_id = is_visitor_id(asked)
    return {
        "room": None,
        "visitor": asked if is_id else None,
        "reference": reference_of(VisitorId(asked)) if is_id else asked,
        "state": "unknown",
    }


def _draw_of(state: RoomState, visitor: VisitorId, turn_us: int) -> Event | None:
    """The event whose draw gave the visitor this turn."""
    for event in state.schedule.events:
        if event.drawn is not None and event.has_draw:
            lanes = ("", *(span.lane for span in event.drawn.lanes))
            if turn_us in [event.turn_us(visitor, event.first_us, lane) for lane in lanes]:
                return event
    return None


def _not_in_line(name: str, room: str) -> str:
    return f"{name} is not in line in room {room}; expected a visitor that waits"


def _closed(state: RoomState) -> str:
    return (
        f"the room admits no visitor now, its phase is {state.phase.value}; "
        "expected the mode auto or open, and an event that has started"
    )
