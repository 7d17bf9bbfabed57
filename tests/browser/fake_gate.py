"""A gate of a few lines, whose answers a test writes, behind the real pages and assets."""

import asyncio
import json
from dataclasses import replace
from typing import Any, Self

from aiohttp import web

from gatekeeper.web.languages import preferred
from gatekeeper.web.pages import Page, Pages, WaitingView

ORIGIN_PAGE = "<!doctype html><title>Shop</title><h1>Welcome to the shop</h1>"

VIEW = WaitingView(
    title="You are in line",
    room="default",
    position=1284,
    ahead=1283,
    queue_length=4000,
    eta_seconds=154,
    rate_per_minute=500.0,
    refresh_seconds=4,
    arrived_at="2026-11-23T20:30:00Z",
    keep_place_minutes=10,
)


class FakeGate:
    """Serves the waiting page on every address until `admit`, and the status a test sets."""

    def __init__(self) -> None:
        self.pages = Pages()
        self.dashboard_pages = Pages(asset_prefix="/static/")
        self.view = VIEW
        self.status: dict[str, Any] | None = None  # None: no JSON, an answer of something in front
        self.status_code = 503
        self.open = False
        self.problem = 0  # the status of an origin that does not answer
        self.asked = 0
        self.loaded = 0
        self.left: list[str] = []
        self.leave_code = 200
        self.rooms: list[dict[str, Any]] = []
        self.token = ""
        self.actions: list[str] = []
        self.url = ""
        self.wait_at(VIEW.position)

    def wait_at(self, position: int | None, **changes: Any) -> None:
        """Puts the visitor at `position`, for the page and for the status alike."""
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
        app.router.add_get("/static/{name}", self._dashboard_asset)
        app.router.add_get("/.gatekeeper/status", self._status)
        app.router.add_post("/.gatekeeper/leave", self._leave)
        app.router.add_get("/admin", self._dashboard)
        app.router.add_get("/admin/status", self._admin_status)
        app.router.add_post("/admin/{action}", self._action)
        app.router.add_get("/{path:.*}", self._anything)
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

    async def _dashboard_asset(self, request: web.Request) -> web.Response:
        return _asset_response(self.dashboard_pages, request.match_info["name"])

    async def _status(self, request: web.Request) -> web.Response:
        assert request.query["room"] == self.view.room
        self.asked += 1
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
                message="The site behind this page does not answer just now. Your place is kept.",
                retry_after_s=5,
                lang=lang,
            )
            return _page_response(page, csp=self.pages.csp, status=self.problem)
        if self.open:
            return web.Response(text=ORIGIN_PAGE, content_type="text/html")
        return _page_response(
            self.pages.waiting(replace(self.view, lang=lang)), csp=self.pages.csp, status=503
        )

    async def _dashboard(self, _: web.Request) -> web.Response:
        return _page_response(self.dashboard_pages.dashboard(), csp=Pages.dashboard_csp)

    async def _admin_status(self, request: web.Request) -> web.Response:
        self.asked += 1
        self._authorize(request)
        return web.json_response({"rooms": self.rooms})

    async def _action(self, request: web.Request) -> web.Response:
        self._authorize(request)
        self.actions.append(f"{request.match_info['action']}?{request.query_string}")
        if request.query.get("rate") == "fast":
            error = 'expected a rate such as "500/min" or "8/s", or 0'
            return web.json_response({"error": error}, status=400)
        if "mode" in request.query:
            self.rooms = [room | {"mode": request.query["mode"]} for room in self.rooms]
        return web.json_response({"room": "default", "granted": 10, "pending": 4})

    def _authorize(self, request: web.Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized(
                text=json.dumps({"error": "token needed"}), content_type="application/json"
            )


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
    }


def admitted() -> dict[str, Any]:
    return {"state": "admitted", "expires_at": "2026-11-23T21:00:00Z"}


def room(**changes: Any) -> dict[str, Any]:
    """One room as `GET /admin/status` tells it."""
    return {
        "room": "default",
        "mode": "auto",
        "rate_per_minute": 500.0,
        "queue_length": 1284,
        "active": 310,
        "max_active": 0,
        "watermark": 1_800_000_000_000_000,
        "arrived_total": 9000,
        "released_total": 7000,
        "admitted_total": 6900,
        "abandoned_total": 716,
    } | changes


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
