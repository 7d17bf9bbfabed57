"""The admin listener: controls, status, metrics, health and the control room.

Rules. One per process group, in the supervisor. `AdminAuth` decides on access. An error is
`{"error": …}` with its status, and nothing changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from gatekeeper.admin.actions import AdminActions
from gatekeeper.admin.admin_input import check_query
from gatekeeper.admin.audit import MAX_ENTRIES, AuditLog
from gatekeeper.admin.auth import AdminAuth, AuthFailure
from gatekeeper.admin.configuration import ConfigurationActions, Reload
from gatekeeper.admin.edge_status import EdgeStatusSource, no_edge
from gatekeeper.admin.event_actions import EventActions
from gatekeeper.admin.exposition import LaneCounts, Steered, SteeredRoom
from gatekeeper.admin.monitor import Monitor
from gatekeeper.admin.overview import Overview
from gatekeeper.admin.recorder import Recorder
from gatekeeper.admin.report_endpoint import ReportEndpoint
from gatekeeper.admin.report_keeper import MinuteKeeper
from gatekeeper.admin.rooms import Rooms, room_json
from gatekeeper.admin.support_actions import SupportActions
from gatekeeper.config.problems import shown
from gatekeeper.config.schema import Config
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest, ConfigError, Conflict, NotFound, StoreError
from gatekeeper.pages.renderer import Pages
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState

STATIC_PREFIX = "/static/"
_PUBLIC_PATHS = ("/healthz", "/readyz", STATIC_PREFIX)

log = structlog.get_logger()

Ready = Callable[[], Awaitable[list[str]]]


class Admin:
    """Builds the admin application.

    `ready` returns the problems that prevent the gate from serving, none when it serves;
    `exposition` returns the Prometheus text of all workers; `rules` returns the rules in force;
    `reload` reads the configuration again.
    """

    def __init__(
        self,
        operators: Mapping[RoomName, Operator],
        *,
        auth: AdminAuth,
        audit: AuditLog,
        monitor: Monitor,
        minutes: MinuteKeeper,
        events_on: bool,
        pages: Pages,
        ready: Ready,
        exposition: Callable[[list[RoomState], list[RoomName], LaneCounts, Steered], bytes],
        rules: Callable[[], list[dict[str, object]]] = list,
        reload: Reload | None = None,
        edge: EdgeStatusSource = no_edge,
    ) -> None:
        self._rooms = Rooms(operators)
        self._auth = auth
        self._audit = audit
        self._overview = Overview(self._rooms, monitor, audit=audit, events_on=events_on, edge=edge)
        self._edge = edge
        self._report = ReportEndpoint(self._rooms, monitor, minutes=minutes, audit=audit)
        recorder = Recorder(audit, auth)
        self._actions = AdminActions(self._rooms, recorder=recorder)
        self._support = SupportActions(self._rooms, recorder=recorder)
        self._events = EventActions(self._rooms, recorder=recorder)
        self._configuration = ConfigurationActions(
            self._rooms, recorder=recorder, reload=reload or _nothing_to_reload
        )
        self._pages = pages
        self._ready = ready
        self._exposition = exposition
        self._rules = rules

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors, self._authenticate])
        routes = (
            web.get("/", self._page),
            web.get(STATIC_PREFIX + "{name}", self._asset),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            web.get("/admin/status", self._status),
            web.get("/admin/overview", self._overview.response),
            web.get("/admin/audit", self._audit_entries),
            web.get("/admin/rules", self._rules_in_force),
            web.get("/admin/report", self._report.response),
            *self._actions.routes(),
            *self._configuration.routes(),
            *self._events.routes(),
            *self._support.routes(),
        )
        app.add_routes(_with_expect(route) for route in routes)
        app.on_response_prepare.append(_add_security_headers)
        return app

    def configure(
        self,
        operators: Mapping[RoomName, Operator],
        *,
        pages: Pages,
        rules: Callable[[], list[dict[str, object]]],
    ) -> None:
        """Replace the rooms, pages and rules."""
        self._rooms.configure(operators)
        self._pages = pages
        self._rules = rules

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/" and not request.path.startswith(_PUBLIC_PATHS):
            await self._auth.check(request)
        check_query(request)
        return await handler(request)

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return _error(error.status, error.reason.lower(), allow)
        except AuthFailure as error:
            fields = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            if error.retry_after_s:
                fields["Retry-After"] = str(error.retry_after_s)
            return _error(error.status, error.public, fields)
        except BadRequest as error:
            return _error(error.status, error.public)
        except ConfigError as error:
            body = {"error": "; ".join(error.problems), "problems": error.problems}
            return web.json_response(body, status=400)
        except NotFound as error:
            return _error(404, error.public)
        except Conflict as error:
            return _error(409, error.public)
        except StoreError as error:
            return _error(503, error.public)
        except Exception:
            log.exception("admin_failed")
            return _error(500, "internal error; the log of the gate has the details")

    async def _status(self, request: web.Request) -> web.Response:
        operators = (
            [self._rooms.requested(request)] if "room" in request.query else list(self._rooms)
        )
        rooms = [
            room_json(
                operator,
                await operator.status(),
                lanes=await operator.count_lanes(),
                steering=await operator.steering(),
            )
            for operator in operators
        ]
        edge = self._edge()
        return web.json_response({"rooms": rooms} | ({"edge": edge.as_json()} if edge else {}))

    async def _audit_entries(self, request: web.Request) -> web.Response:
        room = self._rooms.requested(request).rules.room if "room" in request.query else None
        limit = request.query.get("limit", "100")
        if not limit.isascii() or not limit.isdigit() or not 0 < int(limit[:9]) <= MAX_ENTRIES:
            raise BadRequest(
                f"limit: {shown(limit)} is not valid; expected a whole number, 1 to {MAX_ENTRIES}"
            )
        entries = self._audit.newest(int(limit), room=room)
        return web.json_response({"entries": [entry.as_json() for entry in entries]})

    async def _rules_in_force(self, _request: web.Request) -> web.Response:
        return web.json_response({"rules": self._rules()})

    async def _metrics(self, _request: web.Request) -> web.Response:
        states, names = [], []
        lanes: dict[RoomName, dict[str, int]] = {}
        steered: dict[RoomName, SteeredRoom] = {}
        for operator in self._rooms:
            try:
                state, counts = await operator.status(), await operator.count_lanes()
                steering = await operator.steering()
            except StoreError:
                break  # without the store, the workers' metrics are still served
            states.append(state)
            names.append(operator.rules.room)
            lanes[operator.rules.room] = counts
            targets = operator.rules.autotune
            if steering is not None and targets is not None:
                steered[operator.rules.room] = SteeredRoom(targets, steering)
        text = self._exposition(states, names, lanes, steered)
        return web.Response(
            body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        problems = await self._ready()
        if problems:
            return web.json_response({"status": "not ready", "problems": problems}, status=503)
        return web.json_response({"status": "ready"})

    async def _page(self, _request: web.Request) -> web.Response:
        page = self._pages.dashboard()
        return web.Response(
            body=page.body,
            headers={
                "Content-Type": page.content_type,
                "Content-Security-Policy": self._pages.dashboard_csp,
            },
        )

    async def _asset(self, request: web.Request) -> web.Response:
        asset = self._pages.asset(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        return web.Response(
            body=asset.body,
            headers={
                "Content-Type": asset.content_type,
                "Cache-Control": "public, max-age=31536000, immutable",
            },
        )


async def _nothing_to_reload() -> Config:
    raise ConfigError(
        ["this gate cannot read its configuration again; expected a restart"], source="reload"
    )


def _with_expect(route: web.RouteDef) -> web.RouteDef:
    kwargs = {**route.kwargs, "expect_handler": _expect}
    return web.RouteDef(route.method, route.path, route.handler, kwargs)


async def _expect(request: web.Request) -> web.Response | None:
    """The response to `Expect`, if it is not 100-continue (RFC 9110 section 10.1.1)."""
    if request.headers.getall("Expect")[0].lower() != "100-continue":
        return _error(417, "Expect must be 100-continue")
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # no response has begun
    return None


async def _add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Keep responses out of caches, frames and other sites."""
    response.headers["Server"] = "gatekeeper"  # else aiohttp sends its name and version
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault(
        "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"
    )
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)
