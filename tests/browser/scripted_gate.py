"""A small gate with the real pages and assets, whose responses a test sets."""

import asyncio
from dataclasses import replace
from typing import Any, Self

from aiohttp import web

from gatekeeper.config.schema import Config
from gatekeeper.pages.event_view import EventView
from gatekeeper.pages.languages import preferred
from gatekeeper.pages.renderer import Page, Pages, WaitingView
from gatekeeper.web.waiting_status import event_json
from tests.unit.pages.page_reader import VIEW as SAMPLE

ORIGIN_PAGE = "<!doctype html><title>Shop</title><h1>Welcome to the shop</h1>"

VIEW = replace(SAMPLE, reference="7K3F-9QXD")
# Its times are independent of the browser's clock.
EVENT = EventView(
    name="autumn-sale",
    starts_at="2026-12-01T09:00:00Z",
    starts_in_s=754.0,
    commitment="9f" * 32,
)


class FakeGate:
    """Serves the waiting page on every address until `admit`, and the status a test sets."""

    def __init__(self) -> None:
        self.pages = Pages.of(Config())  # compiled once
        self.view = VIEW
        self.status: dict[str, Any] | None = (
            None  # None: no JSON, like the response of a proxy in front
        )
        self.status_code = 503
        self.open = False
        self.without_place = False
        self.problem = 0  # the status of an origin that does not respond
        self.polls = 0
        self.loaded = 0
        self.left: list[str] = []
        self.leave_code = 200
        self.url = ""
        self.wait_at(VIEW.position)

    def wait_at(self, position: int | None, **changes: Any) -> None:
        """Set the visitor's position, for the page and the status."""
        self.view = replace(
            self.view,
            position=position,
            ahead=None if position is None else position - 1,
            **changes,
        )
        self.status, self.status_code = waiting(self.view), 503

    def admit(self) -> None:
        self.status, self.status_code = admitted(), 200
        self.open = True

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/.gatekeeper/static/{name}", self._asset)
        app.router.add_get("/.gatekeeper/status", self._status)
        app.router.add_post("/.gatekeeper/leave", self._leave)
        app.router.add_get("/{path:.*}", self._anything)
        app.router.add_post("/{path:.*}", self._anything)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self._runner.cleanup(), timeout=5)

    async def _asset(self, request: web.Request) -> web.Response:
        return _asset_response(self.pages, request.match_info["name"])

    async def _status(self, request: web.Request) -> web.Response:
        assert request.query["room"] == self.view.room
        self.polls += 1
        if self.status is None:
            return web.Response(text="<h1>Bad gateway</h1>", status=502, content_type="text/html")
        return web.json_response(self.status, status=self.status_code)

    async def _leave(self, request: web.Request) -> web.Response:
        if self.leave_code != 200:
            return web.json_response({"error": "not now"}, status=self.leave_code)
        self.left.append(request.query["room"])
        if "application/json" in request.headers["Accept"]:
            return web.json_response({"state": "none"})
        return _page_response(self.pages.left(), csp=self.pages.csp)

    async def _anything(self, request: web.Request) -> web.Response:
        self.loaded += 1
        lang = preferred(request.headers.get("Accept-Language", "")).code
        if self.problem:
            page = self.pages.problem(
                status=self.problem,
                title="Bad Gateway",
                message="The site is not responding right now. Your place is kept.",
                retry_after_s=5,
                lang=lang,
            )
            return _page_response(page, csp=self.pages.csp, status=self.problem)
        if self.without_place:
            page = self.pages.not_sent(path=request.path_qs, lang=lang)
            return _page_response(page, csp=self.pages.csp, status=503)
        if self.open:
            return web.Response(text=ORIGIN_PAGE, content_type="text/html")
        page = self.pages.waiting(replace(self.view, lang=lang))
        return _page_response(page, csp=page.csp, status=503)


def waiting(view: WaitingView) -> dict[str, Any]:
    return {
        "state": "waiting",
        "room": view.room,
        "position": view.position,
        "ahead": view.ahead,
        "queue_length": view.queue_length,
        "eta_seconds": view.eta_seconds,
        "rate_per_minute": view.rate_per_minute,
        "refresh_seconds": view.refresh_seconds,
        "arrived_at": view.arrived_at,
        "reason": view.reason,
        "message": view.message or None,
        "starts_at": view.event.starts_at if view.event else None,
        "reference": view.reference,
        **event_json(view.event),
    }


def admitted() -> dict[str, Any]:
    return {"state": "admitted", "expires_at": "2026-11-23T21:00:00Z"}


def _page_response(page: Page, *, csp: str, status: int = 200) -> web.Response:
    headers = {
        "Content-Type": page.content_type,
        "Content-Security-Policy": csp,
        "Cache-Control": "no-store",
    }
    return web.Response(body=page.body, status=status, headers=headers)


def _asset_response(pages: Pages, name: str) -> web.Response:
    asset = pages.asset(name)
    if asset is None:
        raise web.HTTPNotFound
    headers = {
        "Content-Type": asset.content_type,
        "Cache-Control": "public, max-age=31536000, immutable",
    }
    return web.Response(body=asset.body, headers=headers)
