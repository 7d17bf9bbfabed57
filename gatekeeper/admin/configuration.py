"""Settings and reload in the admin API.

Rules. `POST /admin/settings` takes a JSON object of settings: all of them are changed, or none. A
value of null, or "" for any key but `message`, returns to the file's value. An invalid value, a
conflict, a duplicate name and a file with a problem are 400 with `{"error": …}`, and change
nothing; the first, second and last also have `"problems": […]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gatekeeper.admin.admin_input import json_object
from gatekeeper.admin.recorder import OperatorAction, Recorder
from gatekeeper.admin.rooms import Rooms
from gatekeeper.config.schema import Config
from gatekeeper.config.settings import Setting, parse_changes
from gatekeeper.policy.proof_of_work import phone_seconds
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState

_EXAMPLE = '{"rate": "800/min"}'

Reload = Callable[[], Awaitable[Config]]


class ConfigurationActions:
    """`GET` and `POST /admin/settings`, and `POST /admin/reload`."""

    def __init__(self, rooms: Rooms, *, recorder: Recorder, reload: Reload) -> None:
        self._rooms = rooms
        self._recorder = recorder
        self._reload = reload

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/settings", self._settings),
            web.post("/admin/settings", self._change_settings),
            web.post("/admin/reload", self._reload_file),
        ]

    async def _settings(self, request: web.Request) -> web.Response:
        operators = (
            [self._rooms.requested(request)] if "room" in request.query else list(self._rooms)
        )
        rooms = [settings_json(each, await each.status()) for each in operators]
        return web.json_response({"rooms": rooms})

    async def _change_settings(self, request: web.Request) -> web.Response:
        operator = self._rooms.requested(request)
        changes = parse_changes(await json_object(request, example=_EXAMPLE))
        actions = {key: OperatorAction(f"set {key}", operator.rules.room) for key in changes}

        async def change() -> web.Response:
            before = _by_key(operator, await operator.status())
            for key, value in changes.items():
                actions[key].before = before[key].value
                actions[key].after = before[key].file if value is None else value
            state = await operator.change_settings(changes)
            return web.json_response({"rooms": [settings_json(operator, state)]})

        return await self._recorder.run(request, list(actions.values()), change())

    async def _reload_file(self, request: web.Request) -> web.Response:
        async def reload() -> web.Response:
            config = await self._reload()
            return web.json_response(
                {
                    "reloaded": True,
                    "rooms": [room.name for room in config.rooms],
                    "rules": [rule.name for rule in config.rules],
                }
            )

        return await self._recorder.run(request, [OperatorAction("reload")], reload())


def settings_json(operator: Operator, state: RoomState) -> dict[str, object]:
    """The settings of a room: each with its value, the file's, and whether it was set live."""
    return {
        "room": operator.rules.room,
        "settings": {
            each.key: {"value": each.value, "file": each.file, "live": each.is_live, **_note(each)}
            for each in operator.shown_settings(state)
        },
    }


def _note(setting: Setting) -> dict[str, str]:
    """An explanation of a value, where it needs one."""
    if setting.key != "challenge_difficulty":
        return {}
    return {"note": f"{phone_seconds(int(setting.value)):.2g} s on a phone, on average"}


def _by_key(operator: Operator, state: RoomState) -> dict[str, Setting]:
    return {each.key: each for each in operator.shown_settings(state)}
