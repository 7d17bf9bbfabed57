"""`gatekeeper preview`: the pages of a configuration, before any visitor waits.

Rules: any state and language, with sample data. There is no authentication, so it listens on
loopback only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from aiohttp import web

from gatekeeper.config.schema import Config, RoomConfig
from gatekeeper.errors import ConfigError, StartError
from gatekeeper.pages.content import Page
from gatekeeper.pages.event_view import EventView
from gatekeeper.pages.languages import SOURCE, preferred
from gatekeeper.pages.renderer import PUBLIC_ASSET_PREFIX, Pages
from gatekeeper.pages.samples import SAMPLE_EVENTS, SAMPLE_VIEWS
from gatekeeper.pages.states import STATE_ROWS
from gatekeeper.pages.waiting_view import WaitingView
from gatekeeper.policy.pacing import eta_s
from gatekeeper.policy.phase import Phase, reason_of
from gatekeeper.web.facts_reader import FactsReader
from gatekeeper.web.handler import ORIGIN_FAILED_IN_LINE
from gatekeeper.web.message import response_of
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import WaitingStatus, rfc3339

_VIEWS: Mapping[str, WaitingView] = dict((*SAMPLE_VIEWS.items(), *SAMPLE_EVENTS.items()))
PREVIEW_STATES = (*_VIEWS, "problem", "left", "not_sent")
_WAITED_S = 300.0
_PHASES = {  # by the reason that a page shows; visitors are in line while a room is running
    reason_of(phase, rate_per_minute=1, active=0, max_active=0): phase
    for phase in Phase
    if phase is not Phase.OPEN
}
_REFERENCE = "4Q7K-92ZD"
_HOST = "127.0.0.1"
_FACTS = FactsReader(trusted=(), tls=False)


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """Which page to show."""

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
        self._view = self.view(PreviewRequest())

    def view(self, requested: PreviewRequest) -> WaitingView:
        """The view of a sample visitor in line with this configuration."""
        room, now_s = self._room, time.time()
        view = replace(
            _VIEWS[requested.state],
            title=room.title,
            room=room.name,
            lang=requested.lang,
            message=requested.message,
            place_ttl_minutes=max(int(room.place_ttl // 60), 1),
            updates=room.updates,
            now_s=now_s,
        )
        if view.event is not None:
            view = replace(view, event=_from_now(view.event, now_s))
        if view.without_place:
            return view
        view = replace(view, arrived_at=rfc3339(now_s - _WAITED_S))
        if view.position is None:
            return view
        ahead = requested.position - 1
        view = replace(view, position=requested.position, ahead=ahead, queue_length=ahead + 20)
        if STATE_ROWS[view.state].speed == "stopped":
            return view
        eta = eta_s(ahead, rate_per_minute=room.rate)
        return replace(view, rate_per_minute=room.rate, eta_seconds=eta)

    def page(self, requested: PreviewRequest) -> Page:
        match requested.state:
            case "left":
                return self._pages.left(lang=requested.lang)
            case "not_sent":
                return self._pages.not_sent(lang=requested.lang)
            case "problem":
                return self._pages.problem(
                    status=502,
                    title="Bad Gateway",
                    message=ORIGIN_FAILED_IN_LINE,
                    retry_after_s=5,
                    lang=requested.lang,
                )
            case _:
                return self._pages.waiting(self.view(requested), self._room.template)

    # Served: any page by its query, and the status that its script polls for.

    async def serve(
        self, requested: PreviewRequest, port: int, *, on_ready: Callable[[str], None]
    ) -> None:
        """Serve until cancelled; `on_ready` gets the address. Port 0: any free one. Raises
        StartError when nothing can listen there."""
        app = web.Application()
        app.router.add_get("/", partial(self._show_page, requested))
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

    async def _show_page(self, requested: PreviewRequest, request: web.Request) -> web.Response:
        try:
            requested = parse_query(request.query, requested)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        if requested.state in _VIEWS:
            self._view = self.view(requested)
        facts = _FACTS.of_request(request)
        response = self._responses.page(facts, self.page(requested), state="waiting", status=200)
        return response_of(response)

    async def _asset(self, request: web.Request) -> web.Response:
        response = self._responses.asset(_FACTS.of_request(request), request.match_info["name"])
        return web.Response(status=404) if response is None else response_of(response)

    def _event(self) -> EventView | None:
        """The event of the last page, with the current remaining time."""
        event = self._view.event
        if event is None or event.starts_in_s is None:
            return event
        left_s = event.starts_in_s - (time.time() - self._view.now_s)
        return replace(event, starts_in_s=left_s if left_s > 0 else None)

    async def _status(self, _: web.Request) -> web.Response:
        view = self._view
        status = WaitingStatus(
            room=self._room.name,
            phase=_PHASES.get(view.reason, Phase.RUNNING),
            position=view.position,
            ahead=view.ahead,
            queue_length=view.queue_length,
            eta_seconds=view.eta_seconds,
            rate_per_minute=view.rate_per_minute,
            refresh_seconds=view.refresh_seconds,
            arrived_at=view.arrived_at,
            reason=view.reason,
            message=view.message or None,
            starts_at=view.event.starts_at if view.event and view.event.starts_in_s else None,
            reference=_REFERENCE,
            event=self._event(),
        )
        return response_of(self._responses.json(status.json, state="waiting"))


def preview(
    config: Config,
    *,
    room: str,
    query: Mapping[str, str],
    out: Path | None,
    port: int | None,
    say: Callable[[str], None],
    write: Callable[[str], None],
) -> None:
    """Write a page to `out`, or with `write`, or serve it at `port` until interrupted.
    Raises ConfigError for an unknown room or query, StartError when nothing can listen there."""
    rooms = {str(each.name): each for each in config.rooms}
    if room not in rooms:
        raise ConfigError([f"room: expected one of {', '.join(rooms)}"], source="preview")
    try:
        requested = parse_query(query, PreviewRequest())
    except ValueError as error:
        raise ConfigError([str(error)], source="preview") from error
    shown = Preview(config, rooms[room])
    if port is not None:
        asyncio.run(shown.serve(requested, port, on_ready=say))
    elif out is not None:
        out.write_bytes(shown.page(requested).body)
    else:
        write(shown.page(requested).body.decode())


def _from_now(event: EventView, now_s: float) -> EventView:
    """A sample event with times that match the remaining time."""
    starts_s = now_s + (event.starts_in_s if event.starts_in_s is not None else -60)
    joins_s = starts_s - 300
    return replace(
        event,
        starts_at=rfc3339(starts_s),
        prequeue_at=rfc3339(joins_s) if event.prequeue_at else "",
    )


def parse_query(query: Mapping[str, str], default: PreviewRequest) -> PreviewRequest:
    """The page that a query such as `state=held&lang=de` names. Raises ValueError."""
    position = query.get("position", str(default.position))
    if not position.isdecimal() or not 0 < int(position) < 10**9:
        raise ValueError("position: expected a number from 1")
    state = query.get("state", default.state)
    if state not in PREVIEW_STATES:
        raise ValueError(f"state: expected one of {', '.join(PREVIEW_STATES)}")
    return PreviewRequest(
        state,
        int(position),
        lang=preferred(query.get("lang", default.lang)).code,
        message=query.get("message", default.message),
    )
