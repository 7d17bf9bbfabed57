"""The operator's changes to a room. Each is recorded in the audit log.

Rules. An invalid value is 400 with `{"error": …}` and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from gatekeeper.admin.recorder import OperatorAction, Recorder
from gatekeeper.admin.rooms import Rooms, room_json
from gatekeeper.config.problems import shown
from gatekeeper.config.types import parse_message, parse_rate_per_minute
from gatekeeper.errors import BadRequest
from gatekeeper.policy.phase import Mode
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState

_MAX_GRANT = 1_000_000
_DIGITS = re.compile(r"[0-9]{1,9}")
_MODES = ", ".join(Mode)

Parsed = TypeVar("Parsed")


class AdminActions:
    """The `POST`s of the admin API."""

    def __init__(self, rooms: Rooms, *, recorder: Recorder) -> None:
        self._rooms = rooms
        self._recorder = recorder

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/admin/allow", self._allow),
            web.post("/admin/rate", self._rate),
            web.post("/admin/mode", self._mode),
            web.post("/admin/message", self._message),
        ]

    async def _allow(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        count = _value(request, "n", _count)
        action = OperatorAction("allow", operator.rules.room, after=count)

        async def grant() -> web.Response:
            state = await operator.allow(count)
            return web.json_response(
                {
                    "room": operator.rules.room,
                    "granted": count,
                    "pending": state.pending_grants,
                }
            )

        return await self._recorder.run(request, [action], grant())

    async def _rate(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        rate = _value(request, "rate", parse_rate_per_minute)
        action = OperatorAction("rate", operator.rules.room, after=rate)

        async def set_rate() -> web.Response:
            action.before = (await operator.status()).current_rate_per_minute
            return _rooms_response(operator, await operator.set_rate(rate))

        return await self._recorder.run(request, [action], set_rate())

    async def _mode(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        mode = _value(request, "mode", _mode)
        action = OperatorAction("mode", operator.rules.room, after=mode.value)

        async def set_mode() -> web.Response:
            action.before = (await operator.status()).mode.value
            return _rooms_response(operator, await operator.set_mode(mode))

        return await self._recorder.run(request, [action], set_mode())

    async def _message(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        message = _value(request, "text", parse_message)
        action = OperatorAction("message", operator.rules.room, after=message)

        async def set_message() -> web.Response:
            action.before = (await operator.status()).shown_message
            return _rooms_response(operator, await operator.set_message(message))

        return await self._recorder.run(request, [action], set_message())


def _rooms_response(operator: Operator, state: RoomState) -> web.Response:
    return web.json_response({"rooms": [room_json(operator, state)]})


def _value(request: web.Request, name: str, parse: Callable[[str], Parsed]) -> Parsed:
    """The query parameter `name`, parsed. Raises BadRequest, which names the parameter."""
    try:
        return parse(request.query[name])
    except KeyError:
        raise BadRequest(f"{name}: missing; expected as a query parameter") from None
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from error


def _count(text: str) -> int:
    if not _DIGITS.fullmatch(text) or not 0 < int(text) <= _MAX_GRANT:
        raise ValueError(f"{shown(text)} is not valid; expected a whole number, 1 to {_MAX_GRANT}")
    return int(text)


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a mode; expected one of {_MODES}") from None
