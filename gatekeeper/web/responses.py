"""The gate's own responses: waiting pages, JSON and errors.

Rules. None of them may be stored or indexed, and each has its state in `X-Gatekeeper-State`, for
scripts. A request of any method that accepts HTML gets a page, every other request JSON;
unknown numbers are null. A page may be embedded as its room allows. Only `web` chooses a status.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.calendar_file import CONTENT_TYPE as CALENDAR_TYPE
from gatekeeper.pages.cloudflare import waiting_room
from gatekeeper.pages.event_view import EventView
from gatekeeper.pages.languages import preferred
from gatekeeper.pages.problem_states import DENIED
from gatekeeper.pages.qr_code import QrCode
from gatekeeper.pages.renderer import Page, Pages, WaitingView
from gatekeeper.pages.waiting_view import ChallengeView
from gatekeeper.policy.decision import DeniedReason, WaitingReason
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.invitation_address import may_hold_invitation
from gatekeeper.policy.move_code import CODE_LIFE_S, MoveRefusal
from gatekeeper.web.cors import Cors
from gatekeeper.web.message import REFERRER_POLICY, GateResponse, phrase
from gatekeeper.web.waiting_status import WaitingStatus, event_json

Headers = Iterable[tuple[str, str]]

_SERVER = (("Server", "gatekeeper"),)  # else aiohttp sends its name and version
_OURS = (
    *_SERVER,
    ("Cache-Control", "no-store"),
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
    (REFERRER_POLICY, "same-origin"),
)
_JSON = (*_OURS, ("Content-Type", "application/json"))
_STATE = "X-Gatekeeper-State"
_WAITING: Headers = ((_STATE, "waiting"),)
_PLACE = (*_JSON, *_WAITING)
_ALLOWED = (*_OURS, (_STATE, "admitted"))
_HTMX_REFRESH = ("HX-Refresh", "true")  # htmx loads the whole page again, and so the waiting page
_GZIPPED = (("Content-Encoding", "gzip"),)
_RETRY_AFTER_ORIGIN_S = 5
_SAFE = frozenset({"GET", "HEAD"})  # RFC 9110 section 9.2.1, of methods that load a page


class Responses:
    """Builds the gate's own responses from the pages."""

    def __init__(self, pages: Pages, cors: Cors | None = None) -> None:
        self._pages = pages
        self.cors = cors or Cors()

    def waiting(
        self,
        facts: RequestFacts,
        place: WaitingStatus,
        *,
        room: RoomConfig,
        now_s: float,
        headers: Headers,
        is_new: bool = False,
        ticket: str = "",
    ) -> GateResponse:
        """The waiting page, or its JSON, under the room's waiting status. For a form, a page that
        it was not sent, since the waiting page would send it again at the visitor's turn. `ticket`:
        the ticket that this response sets, for the page's first poll."""
        more = [("Retry-After", str(place.refresh_seconds))]
        if facts.is_htmx:
            more.append(_HTMX_REFRESH)
        more += headers  # last: see `GateResponse.head`
        is_page = wants_page(facts, room)
        if not is_page and room.json_format == "gatekeeper":
            return self.place(place, status=room.status, headers=more)
        if is_page and facts.method not in _SAFE:
            return self._not_sent(facts, room=room, headers=more)
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
            is_new=is_new,
            ticket=ticket,
            reference=place.reference,
            event=place.event,
            challenge=_challenge_view(place, room),
            lane=place.lane,
        )
        if not is_page:
            body = {"cfWaitingRoom": waiting_room(view)}
            return self.json(body, state="waiting", status=room.status, headers=more)
        return self._waiting_page(facts, view, room=room, headers=more)

    def _waiting_page(
        self, facts: RequestFacts, view: WaitingView, *, room: RoomConfig, headers: Headers
    ) -> GateResponse:
        page = self._pages.waiting(view, room.template)
        if page.reloads:
            headers = (("Refresh", str(view.reload_seconds)), *headers)
        return self.page(
            facts,
            page.framed(room.frame_ancestors),
            state="waiting",
            status=room.status,
            headers=headers,
        )

    def without_place(
        self,
        facts: RequestFacts,
        *,
        room: RoomConfig,
        retry_after_s: int,
        now_s: float,
        reason: WaitingReason = "busy",
        message: str = "",
        event: EventView | None = None,
    ) -> GateResponse:
        """The waiting status for a request that gets no place. Before an opening, and while the
        line is full, the page of that state reloads itself. For a form, a page that it was not
        sent; it links to the same address by GET."""
        more: list[tuple[str, str]] = [("Retry-After", str(retry_after_s))]
        if facts.is_htmx:
            more.append(_HTMX_REFRESH)
        view = WaitingView(
            title=room.title,
            room=room.name,
            position=None,
            ahead=None,
            queue_length=None,
            eta_seconds=None,
            rate_per_minute=room.rate,
            refresh_seconds=retry_after_s,
            arrived_at="",
            place_ttl_minutes=0,
            message=message,
            lang=preferred(facts.accept_language).code,
            without_place=None if reason == "busy" else reason,
            now_s=now_s,
            event=event,
        )
        if wants_page(facts, room) and view.without_place and facts.method in _SAFE:
            response = self._waiting_page(facts, view, room=room, headers=more)
        elif wants_page(facts, room):
            response = self._not_sent(facts, room=room, headers=more)
        else:
            body = without_place_json(view, room)
            response = self.json(body, state="waiting", status=room.status, headers=more)
        return response.closing(keep_alive=not facts.has_body)  # the body stays unread

    def denied(
        self,
        facts: RequestFacts,
        reason: DeniedReason | MoveRefusal,
        *,
        room: RoomConfig,
        headers: Headers = (),
    ) -> GateResponse:
        """403 for a visitor who never gets a place. The address may contain an invitation, so the
        page's resources do not receive it."""
        headers = (*headers, *((_HTMX_REFRESH,) if facts.is_htmx else ()))
        if wants_page(facts, room):
            page = self._pages.denied(reason, lang=preferred(facts.accept_language).code)
            page = page.framed(room.frame_ancestors)
            response = self.page(facts, page, state="none", status=403, headers=headers)
        else:
            text = DENIED[reason].lead
            body = {"state": "none", "room": room.name, "reason": reason, "error": text}
            response = self.json(body, state="none", status=403, headers=headers)
        return response.without_referrer().closing(keep_alive=not facts.has_body)

    def _not_sent(self, facts: RequestFacts, *, room: RoomConfig, headers: Headers) -> GateResponse:
        """The page for a form that was not sent: it links to its address by GET."""
        page = self._pages.not_sent(
            path=facts.target,
            lang=preferred(facts.accept_language).code,
            is_safe=facts.method in _SAFE,
        )
        page = page.framed(room.frame_ancestors)
        return self.page(facts, page, state="waiting", status=room.status, headers=headers)

    def problem(
        self,
        facts: RequestFacts,
        message: str,
        *,
        status: int,
        headers: Headers = (),
        retry: bool = False,
        close: bool = False,
        room: RoomConfig | None = None,
    ) -> GateResponse:
        """An error, in `room` if that is known: a page for a person, else `{"error": …}`. A page
        reloads itself only if that sends nothing twice."""
        more = list(headers)
        if retry:
            more.append(("Retry-After", str(_RETRY_AFTER_ORIGIN_S)))
            if facts.is_htmx:
                more.append(_HTMX_REFRESH)
        if facts.accepts_html:
            page = self._pages.problem(
                status=status,
                title=phrase(status),
                message=message,
                retry_after_s=_RETRY_AFTER_ORIGIN_S if retry and facts.method in _SAFE else None,
                lang=preferred(facts.accept_language).code,
            )
            if room is not None:
                page = page.framed(room.frame_ancestors)
            response = self.page(facts, page, state="error", status=status, headers=more)
        else:
            response = self.json({"error": message}, state="error", status=status, headers=more)
        return response.closing(keep_alive=not close)

    def json(
        self, body: Mapping[str, object], *, state: str, status: int = 200, headers: Headers = ()
    ) -> GateResponse:
        """A JSON response; `state` is its X-Gatekeeper-State."""
        own = (*_JSON, (_STATE, state), *headers)
        return GateResponse(status, own, json.dumps(body).encode())

    def place(
        self, place: WaitingStatus, *, status: int = 200, headers: Headers = ()
    ) -> GateResponse:
        """The status of a waiting visitor."""
        return GateResponse(status, (*_PLACE, *headers) if headers else _PLACE, place.encoded())

    def as_type(self, status: GateResponse, media_type: str) -> GateResponse:
        """The token and the state of a status, with an empty object of another type."""
        headers = [each for each in status.headers if each[0] != "Content-Type"]
        return GateResponse(status.status, (("Content-Type", media_type), *headers), b"{}")

    def stream(self, *, headers: Headers) -> GateResponse:
        """The head of an event stream. No proxy may buffer it; the connection closes after it."""
        more = (
            ("Content-Type", "text/event-stream"),
            ("X-Accel-Buffering", "no"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
        )
        return GateResponse(200, (*_OURS, *_WAITING, *more, *headers), b"")

    def listing(self) -> GateResponse:
        """The head of plain lines that are generated while they are sent."""
        more = (("Content-Type", "text/plain; charset=utf-8"), (_STATE, "none"))
        return GateResponse(200, (*_OURS, *more), b"")

    def page(
        self, facts: RequestFacts, page: Page, *, state: str, status: int, headers: Headers = ()
    ) -> GateResponse:
        """A page; `state` is its X-Gatekeeper-State. Its links send no referrer with an
        invitation."""
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
        response = GateResponse(status, own, page.gzip if gzipped else page.body)
        return response.without_referrer() if may_hold_invitation(facts.target) else response

    def left(self, facts: RequestFacts, *, path: str, headers: Headers) -> GateResponse:
        """The page after leaving without script; its link `path` leads back to the queue."""
        page = self._pages.left(path=path, lang=preferred(facts.accept_language).code)
        return self.page(facts, page, state="none", status=200, headers=headers)

    def move_offer(
        self, facts: RequestFacts, *, link: str, code: QrCode, way_back: str, headers: Headers
    ) -> GateResponse:
        """The link that moves a place to another device; `way_back`: to the waiting page."""
        if not facts.accepts_html:
            life_s = int(CODE_LIFE_S)
            body = {"state": "waiting", "link": link, "expires_in": life_s, "qr": code._asdict()}
            return self.json(body, state="waiting", headers=headers)
        lang = preferred(facts.accept_language).code
        page = self._pages.move_offer(link=link, code=code, way_back=way_back, lang=lang)
        response = self.page(facts, page, state="waiting", status=200, headers=headers)
        return response.without_referrer()

    def move_question(self, facts: RequestFacts, *, error: str, headers: Headers) -> GateResponse:
        """The page that asks whether to continue on this device. `error`: why that did not work."""
        status = 503 if error else 200
        if not facts.accepts_html:
            body = {"error": error} if error else {"state": "none"}
            return self.json(body, state="none", status=status, headers=headers)
        page = self._pages.move_question(error=error, lang=preferred(facts.accept_language).code)
        return self.page(facts, page, state="none", status=status, headers=headers)

    def no_content(self, headers: Headers) -> GateResponse:
        """204, as to a preflight."""
        return GateResponse(204, (*_OURS, (_STATE, "none"), *headers), b"")

    def redirect(
        self, address: str, *, headers: Headers, status: int = 303, state: str = "admitted"
    ) -> GateResponse:
        """The redirect of an admitted or invited visitor to the site; 307 keeps the method."""
        own = (*_OURS, (_STATE, state), ("Location", address), *headers)
        return GateResponse(status, own, b"")

    def allowed(self, *, headers: Headers) -> GateResponse:
        """200 for a proxy, which forwards the request that it asked about."""
        return GateResponse(200, (*_ALLOWED, *headers), b"")

    def not_allowed(self, *, page: str) -> GateResponse:
        """401 for nginx, whose auth_request does not pass on a body; the visitor's response is at
        `page`."""
        return GateResponse(401, (*_OURS, (_STATE, "waiting"), ("Location", page)), b"")

    def script(self, facts: RequestFacts) -> GateResponse:
        """`client.js` in the visitor's language."""
        script = self._pages.client_script(preferred(facts.accept_language).code)
        gzipped = facts.accepts_gzip
        own = (
            *_OURS,
            (_STATE, "none"),
            ("Content-Type", script.content_type),
            ("Vary", "Accept-Encoding, Accept-Language"),
            *(_GZIPPED if gzipped else ()),
        )
        return GateResponse(200, own, script.gzip if gzipped else script.body)

    def calendar(self, file: bytes, *, name: str) -> GateResponse:
        """A file for calendars. `inline`: a phone opens it in its calendar."""
        more = (
            (_STATE, "none"),
            ("Content-Type", CALENDAR_TYPE),
            ("Content-Disposition", f'inline; filename="{name}.ics"'),
        )
        return GateResponse(200, (*_OURS, *more), file)

    def asset(self, facts: RequestFacts, name: str) -> GateResponse | None:
        """A file of the pages. The only response of the gate that may be stored: its name contains
        the hash of its content, which is the same for every visitor and room."""
        asset = self._pages.asset(name)
        if asset is None:
            return None
        gzipped = facts.accepts_gzip
        own = (
            *_SERVER,
            (_STATE, "none"),
            ("Content-Type", asset.content_type),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept-Encoding"),
            *(_GZIPPED if gzipped else ()),
        )
        return GateResponse(200, own, asset.gzip if gzipped else asset.body)


def _challenge_view(place: WaitingStatus, room: RoomConfig) -> ChallengeView | None:
    if place.challenge is None or room.challenge == "off":
        return None
    return ChallengeView(room.challenge, room.challenge_noscript, room.challenge_site_key)


def without_place_json(view: WaitingView, room: RoomConfig) -> Mapping[str, object]:
    """The JSON for a request that gets no place."""
    if room.json_format != "gatekeeper":
        return {"cfWaitingRoom": waiting_room(view)}
    body: dict[str, object] = {
        "state": "waiting",
        "room": room.name,
        "refresh_seconds": view.refresh_seconds,
    }
    if view.without_place is None:
        return body
    starts_at = view.event.starts_at if view.event and view.event.starts_in_s else None
    return body | {
        "reason": view.without_place,
        "message": view.message or None,
        "starts_at": starts_at,
        **event_json(view.event),
    }


def wants_page(facts: RequestFacts, room: RoomConfig) -> bool:
    """Whether a waiting response is a page. Cloudflare sends JSON for exactly this Accept."""
    if room.json_format == "cloudflare":
        return facts.accept != "application/json"
    return facts.accepts_html
