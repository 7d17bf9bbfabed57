"""Pages to look at before anyone has to wait: `gatekeeper preview`.

Rules: the pages of the configuration, in any state and language, of a line that does not exist. It
is shown to whoever sits at this machine, so it listens on loopback alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

from aiohttp import web

from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.errors import ConfigError, StartError
from gatekeeper.pages.content import Page
from gatekeeper.pages.languages import SOURCE, preferred
from gatekeeper.pages.renderer import PUBLIC_ASSET_PREFIX, Pages
from gatekeeper.pages.samples import STATES
from gatekeeper.pages.states import STATES as ROWS
from gatekeeper.pages.states import WaitingState
from gatekeeper.pages.waiting_view import WaitingView
from gatekeeper.policy.pacing import eta_s
from gatekeeper.web.facts import FactsReader
from gatekeeper.web.handler import ORIGIN_AWAY_IN_LINE
from gatekeeper.web.message import response_of
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import WaitingStatus, rfc3339

SHOWN = (*get_args(WaitingState), "problem", "left")
_ARRIVED_AGO_S = 300.0
_HOST = "127.0.0.1"


_FACTS = FactsReader(trusted=(), tls=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page."""

    state: str = "waiting"
    position: int = 1284
    lang: str = SOURCE
    message: str = ""


class Preview:
    """The pages of one room."""

    def __init__(self, config: Config, room: RoomConfig) -> None:
        self._pages = Pages.of(config)
        self._responses = Responses(self._pages)
        self._room = room
        self._view = self.view(Wanted())

    def view(self, wanted: Wanted) -> WaitingView:
        """One of those who wait, as they would be with this configuration."""
        room, now_s = self._room, time.time()
        view = replace(
            STATES[wanted.state],  # type: ignore[index]
            title=room.title,
            room=room.name,
            lang=wanted.lang,
            message=wanted.message,
            place_ttl_minutes=max(int(room.place_ttl // 60), 1),
            updates=room.updates,
            arrived_at=rfc3339(now_s - _ARRIVED_AGO_S),
            now_s=now_s,
        )
        if view.position is None:
            return view
        ahead = wanted.position - 1
        view = replace(view, position=wanted.position, ahead=ahead, queue_length=ahead + 20)
        if ROWS[view.state].speed == "stopped":
            return view
        eta = eta_s(ahead, rate_per_minute=room.rate)
        return replace(view, rate_per_minute=room.rate, eta_seconds=eta)

    def page(self, wanted: Wanted) -> Page:
        match wanted.state:
            case "left":
                return self._pages.left(lang=wanted.lang)
            case "problem":
                return self._pages.problem(
                    status=502,
                    title="Bad Gateway",
                    message=ORIGIN_AWAY_IN_LINE,
                    retry_after_s=5,
                    lang=wanted.lang,
                )
        return self._pages.waiting(self.view(wanted), self._room.template)

    # Served: any page by its query, and to its script the answers that go with it.

    async def serve(self, wanted: Wanted, port: int, *, on_ready: Callable[[str], None]) -> None:
        """Until cancelled."""
        app = web.Application()
        app.router.add_get("/", partial(self._shown, wanted))
        app.router.add_get(f"{PUBLIC_ASSET_PREFIX}{{name}}", self._asset)
        app.router.add_get("/.gatekeeper/status", self._status)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, _HOST, port).start()
            on_ready(f"http://{_HOST}:{runner.addresses[0][1]}/")
            await asyncio.Event().wait()
        except OSError as error:
            raise StartError(f"cannot listen on port {port}: {error.strerror}") from error
        finally:
            await runner.cleanup()

    async def _shown(self, wanted: Wanted, request: web.Request) -> web.Response:
        try:
            wanted = asked_for(request.query, wanted)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        if wanted.state in STATES:
            self._view = self.view(wanted)
        response = self._responses.page(_FACTS.of_request(request), self.page(wanted), status=200)
        return response_of(response)

    async def _asset(self, request: web.Request) -> web.Response:
        response = self._responses.asset(_FACTS.of_request(request), request.match_info["name"])
        return web.Response(status=404) if response is None else response_of(response)

    async def _status(self, _: web.Request) -> web.Response:
        view = self._view
        told = WaitingStatus(
            room=self._room.name,
            position=view.position,
            ahead=view.ahead,
            queue_length=view.queue_length,
            eta_seconds=view.eta_seconds,
            rate_per_minute=view.rate_per_minute,
            refresh_seconds=view.refresh_seconds,
            arrived_at=view.arrived_at,
            reason=view.reason,
            message=view.message or None,
        )
        return response_of(self._responses.json(told.json))


def preview(
    config: Config,
    *,
    room: str,
    wanted: Mapping[str, str],
    out: Path | None,
    port: int | None,
    say: Callable[[str], None],
) -> None:
    """Write a page to `out`, or say it, or serve it at `port` until interrupted."""
    rooms = {str(each.name): each for each in config.rooms}
    if room not in rooms:
        raise ConfigError([f"room: expected one of {', '.join(rooms)}"], source="preview")
    try:
        facts = asked_for(wanted, Wanted())
    except ValueError as error:
        raise ConfigError([str(error)], source="preview") from error
    shown = Preview(config, rooms[room])
    if port is not None:
        asyncio.run(shown.serve(facts, port, on_ready=say))
    elif out is not None:
        out.write_bytes(shown.page(facts).body)
    else:
        say(shown.page(facts).body.decode())


def asked_for(query: Mapping[str, str], otherwise: Wanted) -> Wanted:
    """What a query such as `state=held&lang=de` asks for. Raises ValueError."""
    position = query.get("position", str(otherwise.position))
    if not position.isdecimal() or not 0 < int(position) < 10**9:
        raise ValueError("position: expected a number from 1")
    state = query.get("state", otherwise.state)
    if state not in SHOWN:
        raise ValueError(f"state: expected one of {', '.join(SHOWN)}")
    return Wanted(
        state,
        int(position),
        lang=preferred(query.get("lang", otherwise.lang)).code,
        message=query.get("message", otherwise.message),
    )
