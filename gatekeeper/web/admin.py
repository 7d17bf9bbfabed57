"""The admin listener: controls, status, metrics, health and the dashboard.

Rules. One per process group, in the supervisor. With a token, everything but health and the
dashboard's own files asks for it; without one the listener is on loopback, and then a browser is
believed only if it came from the dashboard itself, by that address (no cross-site request, no
rebound DNS name). A bad value is 400 with `{"error": …}` and changes nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from gatekeeper.config import DEFAULT_ROOM, RoomName, parse_rate_per_minute
from gatekeeper.errors import BadRequest, StoreError
from gatekeeper.policy.decision import Mode
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.operator import Operator
from gatekeeper.room.state import RoomState
from gatekeeper.values import parse_message
from gatekeeper.web.pages import Pages

STATIC_PREFIX = "/static/"
_OPEN_TO_ALL = ("/healthz", "/readyz", STATIC_PREFIX)
_MOST_GRANTED_AT_ONCE = 1_000_000
_DIGITS = re.compile(r"[0-9]{1,9}")
_VISITOR = re.compile(r"[A-Za-z0-9_-]{22}")

log = structlog.get_logger()

Value = TypeVar("Value")
Ready = Callable[[], Awaitable[list[str]]]


class Admin:
    """Builds the admin application.

    `ready` answers what keeps the gate from serving, nothing when it does; `exposition` is the
    Prometheus text of all workers.
    """

    def __init__(
        self,
        operators: Mapping[RoomName, Operator],
        *,
        token: str,
        pages: Pages,
        ready: Ready,
        exposition: Callable[[list[RoomState], list[RoomName]], bytes],
    ) -> None:
        self._operators = operators
        self._token = token.encode()
        self._pages = pages
        self._ready = ready
        self._exposition = exposition

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._errors, self._guard])
        app.add_routes(
            [
                web.get("/", self._dashboard),
                web.get(STATIC_PREFIX + "{name}", self._asset),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/admin/status", self._status),
                web.post("/admin/allow", self._allow),
                web.post("/admin/rate", self._rate),
                web.post("/admin/mode", self._mode),
                web.post("/admin/message", self._message),
                web.post("/admin/revoke", self._revoke),
            ]
        )
        return app

    # Who may.

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" or request.path.startswith(_OPEN_TO_ALL):
            return await handler(request)
        if self._token:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(
                given.strip().encode("utf-8", "surrogateescape"), self._token
            ):
                return _error(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        elif not _from_here(request):
            return _error(403, "not from another site; set admin.token to allow it")
        return await handler(request)

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return _error(error.status, error.reason.lower(), allow)
        except BadRequest as error:
            return _error(error.status, error.public)
        except StoreError as error:
            return _error(503, error.public)
        except Exception:
            log.exception("admin_failed")
            return _error(500, "something went wrong here")

    # Controls.

    async def _allow(self, request: web.Request) -> web.Response:
        operator = self._operator(request)
        count = _value(request, "n", _count)
        state = await operator.allow(count)
        log.info("allowed", room=operator.rules.room, count=count, by=request.remote)
        return web.json_response(
            {
                "room": operator.rules.room,
                "granted": count,
                "pending": state.pending_grants,
            }
        )

    async def _rate(self, request: web.Request) -> web.Response:
        operator = self._operator(request)
        rate = _value(request, "rate", parse_rate_per_minute)
        state = await operator.set_rate(rate)
        log.info("rate_set", room=operator.rules.room, rate_per_minute=rate, by=request.remote)
        return web.json_response({"rooms": [_room(operator, state)]})

    async def _mode(self, request: web.Request) -> web.Response:
        operator = self._operator(request)
        mode = _value(request, "mode", _mode)
        state = await operator.set_mode(mode)
        log.info("mode_set", room=operator.rules.room, mode=mode, by=request.remote)
        return web.json_response({"rooms": [_room(operator, state)]})

    async def _message(self, request: web.Request) -> web.Response:
        operator = self._operator(request)
        message = _value(request, "text", parse_message)
        state = await operator.set_message(message)
        log.info("message_set", room=operator.rules.room, message=message, by=request.remote)
        return web.json_response({"rooms": [_room(operator, state)]})

    async def _revoke(self, request: web.Request) -> web.Response:
        operator = self._operator(request)
        visitor = _value(request, "visitor", _visitor)
        held = await operator.revoke(visitor)
        log.info("revoked", room=operator.rules.room, visitor=visitor, by=request.remote)
        return web.json_response({"room": operator.rules.room, "visitor": visitor, "held": held})

    # What is to be seen.

    async def _status(self, request: web.Request) -> web.Response:
        if "room" in request.query:
            operators = [self._operator(request)]
        else:
            operators = list(self._operators.values())
        return web.json_response(
            {"rooms": [_room(operator, await operator.status()) for operator in operators]}
        )

    async def _metrics(self, _request: web.Request) -> web.Response:
        states, names = [], []
        for name, operator in self._operators.items():
            try:
                states.append(await operator.status())
                names.append(name)
            except StoreError:
                break  # the workers' own figures matter most when the store is away
        text = self._exposition(states, names)
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

    async def _dashboard(self, _request: web.Request) -> web.Response:
        page = self._pages.dashboard()
        return web.Response(
            body=page.body,
            headers={
                "Content-Type": page.content_type,
                "Content-Security-Policy": self._pages.dashboard_csp,
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
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
                "X-Content-Type-Options": "nosniff",
            },
        )

    def _operator(self, request: web.Request) -> Operator:
        name = RoomName(request.query.get("room", DEFAULT_ROOM))
        if name not in self._operators:
            raise BadRequest(f"room: expected one of {', '.join(self._operators)}")
        return self._operators[name]


def _room(operator: Operator, state: RoomState) -> dict[str, object]:
    return {
        "room": operator.rules.room,
        "mode": state.mode.value,
        "rate_per_minute": state.rate_per_minute,
        "message": state.message,
        "queue_length": state.queue_length,
        "active": state.active,
        "max_active": operator.rules.max_active,
        "watermark": state.watermark_us,
        "arrived_total": state.arrived_total,
        "released_total": state.released_total,
        "admitted_total": state.admitted_total,
        "abandoned_total": state.abandoned_total,
    }


def _value(request: web.Request, name: str, parse: Callable[[str], Value]) -> Value:
    """What the query says for `name`, parsed; raises BadRequest with what was expected."""
    try:
        return parse(request.query[name])
    except KeyError:
        raise BadRequest(f"{name}: missing") from None
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from error


def _count(text: str) -> int:
    if not _DIGITS.fullmatch(text) or not 0 < int(text) <= _MOST_GRANTED_AT_ONCE:
        raise ValueError(f"expected a whole number from 1 to {_MOST_GRANTED_AT_ONCE}")
    return int(text)


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise ValueError("expected auto, hold, open or ended") from None


def _visitor(text: str) -> VisitorId:
    if not _VISITOR.fullmatch(text):
        raise ValueError("expected an id of 22 characters")
    return VisitorId(text)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": message}, status=status, headers=headers)


def _from_here(request: web.Request) -> bool:
    """Whether this request can only come from a program on this machine or our own dashboard."""
    host = request.host.rpartition(":")[0] if _has_port(request.host) else request.host
    try:
        named_here = host == "localhost" or ipaddress.ip_address(host.strip("[]")) is not None
    except ValueError:
        return False  # a name that someone may have pointed at 127.0.0.1
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    same_origin = origin is None or origin.partition("://")[2] == request.host
    return named_here and same_origin and site in {"none", "same-origin"}


def _has_port(host: str) -> bool:
    return re.search(r":\d+$", host) is not None
