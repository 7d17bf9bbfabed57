"""What the gate itself answers: waiting pages, JSON and problems.

Rules. Nothing of ours may be stored or indexed. A navigation (a safe method that accepts HTML)
gets a page, everything else JSON; numbers that nobody knows are null. Only `web` picks a status.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus

from gatekeeper.config import RoomConfig
from gatekeeper.policy.decision import Mode, Placed
from gatekeeper.policy.pacing import eta_s, refresh_s
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket
from gatekeeper.room.state import RoomState
from gatekeeper.web.cloudflare import waiting_room
from gatekeeper.web.languages import preferred
from gatekeeper.web.pages import Page, Pages, Reason, WaitingView
from gatekeeper.web.reply import Asked, Reply

Headers = Iterable[tuple[str, str]]

_SERVER = (("Server", "gatekeeper"),)  # else aiohttp tells its version to everybody
_OURS = (
    *_SERVER,
    ("Cache-Control", "no-store"),
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)
_GZIPPED = (("Content-Encoding", "gzip"),)
_RETRY_AFTER_ORIGIN_S = 5
_ISSUED_ON_ARRIVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where a visitor stands, with what nobody knows as None."""

    room: str
    position: int | None
    ahead: int | None
    queue_length: int | None
    eta_seconds: int | None
    rate_per_minute: float
    refresh_seconds: int
    arrived_at: str
    reason: Reason
    message: str | None

    @property
    def json(self) -> dict[str, object]:
        return {"state": "waiting"} | {name: getattr(self, name) for name in self.__slots__}


def waiting(
    ticket: Ticket, placed: Placed | None, state: RoomState | None, *, rules: Rules
) -> Waiting:
    """The visitor's place by the store's answer, or what is known without one."""
    rate = state.effective_rate_per_minute if state else rules.rate_per_minute
    eta = eta_s(placed.ahead, rate_per_minute=rate) if placed else None
    # The ticket that was issued on arrival: its holder may not have shown it yet.
    newcomer = ticket.issued_at_s - ticket.arrival_us / 1_000_000 < _ISSUED_ON_ARRIVAL_S
    return Waiting(
        room=rules.room,
        position=placed.ahead + 1 if placed else None,
        ahead=placed.ahead if placed else None,
        queue_length=max(state.queue_length, placed.ahead + 1) if state and placed else None,
        eta_seconds=eta,
        rate_per_minute=rate,
        refresh_seconds=refresh_s(eta, rules=rules, newcomer=newcomer),
        arrived_at=rfc3339(ticket.arrival_us / 1_000_000),
        reason=_reason(placed, state, rules=rules),
        message=(state.message or None) if state else None,
    )


def _reason(placed: Placed | None, state: RoomState | None, *, rules: Rules) -> Reason:
    """Why the visitor waits, by what holds the line up longest."""
    if placed is None or state is None:
        return "reconnecting"
    if state.mode is Mode.ENDED:
        return "ended"
    if state.effective_rate_per_minute == 0:
        return "held"
    return "full" if 0 < rules.max_active <= state.active else "line"


def admitted_json(pass_: Pass) -> dict[str, object]:
    return {"state": "admitted", "expires_at": rfc3339(pass_.expires_at_s)}


def rfc3339(at_s: float) -> str:
    """Seconds since the epoch as an RFC 3339 time in UTC, to the second."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Answers:
    """Builds the gate's own replies from the pages."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def waiting(
        self,
        asked: Asked,
        place: Waiting,
        *,
        room: RoomConfig,
        now_s: float,
        headers: Headers,
    ) -> Reply:
        """The waiting page, or its JSON, under the room's waiting status."""
        more = [*headers, ("Retry-After", str(place.refresh_seconds))]
        navigation = asked.is_navigation
        if not navigation and room.json_format == "gatekeeper":
            return self.json(place.json, status=room.status, headers=more)
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
            keep_place_minutes=max(int(room.keep_place // 60), 1),
            reason=place.reason,
            message=place.message or "",
            lang=preferred(asked.accept_language).code,
            now_s=now_s,
        )
        if not navigation:
            told = {"cfWaitingRoom": waiting_room(view)}
            return self.json(told, status=room.status, headers=more)
        page = self._pages.waiting(view, room.template)
        if page.reloads:
            more.append(("Refresh", str(view.reload_seconds)))
        return self.page(asked, page, status=room.status, headers=more)

    def problem(
        self,
        asked: Asked,
        message: str,
        *,
        status: int,
        headers: Headers = (),
        retry: bool = False,
        close: bool = False,
    ) -> Reply:
        """An error in words: a page for a navigation, else `{"error": …}`."""
        more = list(headers)
        if retry:
            more.append(("Retry-After", str(_RETRY_AFTER_ORIGIN_S)))
        if asked.is_navigation:
            page = self._pages.problem(
                status=status,
                title=HTTPStatus(status).phrase,
                message=message,
                retry_after_s=_RETRY_AFTER_ORIGIN_S if retry else None,
                lang=preferred(asked.accept_language).code,
            )
            reply = self.page(asked, page, status=status, headers=more)
        else:
            reply = self.json({"error": message}, status=status, headers=more)
        return replace(reply, close=close)

    def json(
        self, body: Mapping[str, object], *, status: int = 200, headers: Headers = ()
    ) -> Reply:
        own = (*_OURS, ("Content-Type", "application/json"), *headers)
        return Reply(status, own, json.dumps(body).encode())

    def page(self, asked: Asked, page: Page, *, status: int, headers: Headers = ()) -> Reply:
        gzipped = asked.accepts_gzip
        own = (
            *_OURS,
            ("Content-Type", page.content_type),
            ("Content-Security-Policy", page.csp),
            *((("Content-Language", page.language),) if page.language else ()),
            ("Vary", "Accept, Accept-Encoding, Accept-Language, Cookie"),
            *(_GZIPPED if gzipped else ()),
            *headers,
        )
        return Reply(status, own, page.gzip if gzipped else page.body)

    def left(self, asked: Asked, *, path: str, headers: Headers) -> Reply:
        """For those who left without script; `path` leads back to the line."""
        page = self._pages.left(path=path, lang=preferred(asked.accept_language).code)
        return self.page(asked, page, status=200, headers=headers)

    def asset(self, asked: Asked, name: str) -> Reply | None:
        """A file of the pages, under its hashed name, to be kept for good."""
        asset = self._pages.asset(name)
        if asset is None:
            return None
        gzipped = asked.accepts_gzip
        own = (
            *_SERVER,
            ("Content-Type", asset.content_type),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept-Encoding"),
            *(_GZIPPED if gzipped else ()),
        )
        return Reply(200, own, asset.gzip if gzipped else asset.body)
