"""The gate's own responses: waiting pages, JSON and errors.

Rules. None of them may be stored or indexed, and each says in `X-Gatekeeper-State` what it is to a
script. A request that accepts HTML gets a page, whatever its method, every other request JSON;
unknown numbers are null. Only `web` chooses a status.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.cloudflare import waiting_room
from gatekeeper.pages.languages import preferred
from gatekeeper.pages.renderer import Page, Pages, WaitingView
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.web.message import GateResponse
from gatekeeper.web.waiting_status import WaitingStatus

Headers = Iterable[tuple[str, str]]

_SERVER = (("Server", "gatekeeper"),)  # else aiohttp names itself and its version
_OURS = (
    *_SERVER,
    ("Cache-Control", "no-store"),
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)
_JSON = (*_OURS, ("Content-Type", "application/json"))
_STATE = "X-Gatekeeper-State"
_WAITING: Headers = ((_STATE, "waiting"),)
_HTMX_REFRESH = ("HX-Refresh", "true")  # htmx loads the whole page again, and so the waiting page
_GZIPPED = (("Content-Encoding", "gzip"),)
_RETRY_AFTER_ORIGIN_S = 5


class Responses:
    """Builds the gate's own responses from the pages."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def waiting(
        self,
        facts: RequestFacts,
        place: WaitingStatus,
        *,
        room: RoomConfig,
        now_s: float,
        headers: Headers,
    ) -> GateResponse:
        """The waiting page, or its JSON, under the room's waiting status."""
        more = [*headers, ("Retry-After", str(place.refresh_seconds))]
        if facts.is_htmx:
            more.append(_HTMX_REFRESH)
        if room.json_format == "cloudflare":
            is_page = facts.accept.strip().lower() != "application/json"
        else:
            is_page = facts.accepts_html
        if not is_page and room.json_format == "gatekeeper":
            return self.place(place, status=room.status, headers=more)
        view = WaitingView(
            title=room.title,
            room=place.room,
            position=place.position,
            ahead=place.ahead,
            queue_length=place.queue_length,
            eta_seconds=place.eta_seconds,
            rate_per_minute=place.rate_per_minute,
            refresh_seconds=place.refresh_seconds,
            arrived_at=place.arrived_at,
            place_ttl_minutes=max(int(room.place_ttl // 60), 1),
            reason=place.reason,
            message=place.message or "",
            lang=preferred(facts.accept_language).code,
            updates=room.updates,
            now_s=now_s,
        )
        if not is_page:
            body = {"cfWaitingRoom": waiting_room(view)}
            return self.json(body, state="waiting", status=room.status, headers=more)
        page = self._pages.waiting(view, room.template)
        if page.reloads:
            more.append(("Refresh", str(view.reload_seconds)))
        return self.page(facts, page, state="waiting", status=room.status, headers=more)

    def problem(
        self,
        facts: RequestFacts,
        message: str,
        *,
        status: int,
        headers: Headers = (),
        retry: bool = False,
        close: bool = False,
    ) -> GateResponse:
        """An error: a page for a navigation, else `{"error": …}`."""
        more = list(headers)
        if retry:
            more.append(("Retry-After", str(_RETRY_AFTER_ORIGIN_S)))
        if facts.accepts_html:
            page = self._pages.problem(
                status=status,
                title=HTTPStatus(status).phrase,
                message=message,
                retry_after_s=_RETRY_AFTER_ORIGIN_S if retry else None,
                lang=preferred(facts.accept_language).code,
            )
            response = self.page(facts, page, state="error", status=status, headers=more)
        else:
            response = self.json({"error": message}, state="error", status=status, headers=more)
        return response._replace(close=close)

    def json(
        self, body: Mapping[str, object], *, state: str, status: int = 200, headers: Headers = ()
    ) -> GateResponse:
        """Any JSON; `state` is what it is to a script."""
        own = (*_JSON, (_STATE, state), *headers)
        return GateResponse(status, own, json.dumps(body).encode())

    def place(
        self, place: WaitingStatus, *, status: int = 200, headers: Headers = ()
    ) -> GateResponse:
        """The status of a waiting visitor."""
        return GateResponse(status, (*_JSON, *_WAITING, *headers), place.encoded())

    def stream(self, *, headers: Headers) -> GateResponse:
        """The head of an event stream. No proxy may buffer it; the connection closes after it."""
        more = (
            ("Content-Type", "text/event-stream"),
            ("X-Accel-Buffering", "no"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
        )
        return GateResponse(200, (*_OURS, *_WAITING, *more, *headers), b"")

    def page(
        self, facts: RequestFacts, page: Page, *, state: str, status: int, headers: Headers = ()
    ) -> GateResponse:
        """A page; `state` is what it is to a script."""
        gzipped = facts.accepts_gzip
        own = (
            *_OURS,
            (_STATE, state),
            ("Content-Type", page.content_type),
            ("Content-Security-Policy", page.csp),
            *((("Content-Language", page.language),) if page.language else ()),
            ("Vary", "Accept, Accept-Encoding, Accept-Language, Cookie"),
            *(_GZIPPED if gzipped else ()),
            *headers,
        )
        return GateResponse(status, own, page.gzip if gzipped else page.body)

    def left(self, facts: RequestFacts, *, path: str, headers: Headers) -> GateResponse:
        """The page after leaving without script; `path` leads back to the queue."""
        page = self._pages.left(path=path, lang=preferred(facts.accept_language).code)
        return self.page(facts, page, state="none", status=200, headers=headers)

    def asset(self, facts: RequestFacts, name: str) -> GateResponse | None:
        """A file of the pages, under its hashed name, cacheable without limit."""
        asset = self._pages.asset(name)
        if asset is None:
            return None
        gzipped = facts.accepts_gzip
        own = (
            *_SERVER,
            ("Content-Type", asset.content_type),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept-Encoding"),
            *(_GZIPPED if gzipped else ()),
        )
        return GateResponse(200, own, asset.gzip if gzipped else asset.body)
