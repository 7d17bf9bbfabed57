"""`POST move` and `continue`: a place in line moves to another device, and is never copied.

Rules. `POST move` creates a code for a visitor in line, as a link and a QR code; it changes
nothing. `GET continue` shows a confirmation page on the other device, and changes nothing either,
since link previews open it too. `POST continue` moves the place: the store gives it to the first
browser, and to the same browser again if the response was lost. Both POSTs are refused from other
sites. Passes are never moved. A browser with an earlier place keeps it, since of several tickets in
one browser the earliest counts.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from typing import Final, assert_never
from urllib.parse import quote, urlencode

from gatekeeper.errors import N_
from gatekeeper.pages.qr_code import qr_code_of
from gatekeeper.pages.renderer import is_path
from gatekeeper.policy.decision import WaitWithoutPlace
from gatekeeper.policy.move_code import (
    CODE_LIFE_S,
    MoveCode,
    MoveCodes,
    MoveRefusal,
    device_of,
    is_nonce,
)
from gatekeeper.policy.parameters import own_values
from gatekeeper.policy.sender import is_from_another_site
from gatekeeper.policy.tokens import Pass, Ticket
from gatekeeper.room.move_request import Move, MoveRequest
from gatekeeper.web.message import GateResponse, Headers
from gatekeeper.web.outcome import Admit, Deny, Wait
from gatekeeper.web.pipeline import Visit, response_without_place
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import admitted_json

_ANOTHER_SITE = N_("This request came from another site.")
_NO_PLACE = N_("There is no place in line to continue with.")
_UNREACHABLE = N_("We cannot reach the line right now. Your place is kept. Please try again.")
_RETRY: Headers = (("Retry-After", "5"),)
_COOKIE: Final = "gatekeeper-continue"
_NONCE: Final = re.compile(rf"(?:^|;)[ \t]*{_COOKIE}=([A-Za-z0-9_-]+)")
_AUTHORITY: Final = re.compile(r"[A-Za-z]+://[^/?#]*")
_PREFIX: Final = "/.gatekeeper/"
_URL_CHARACTERS: Final = "%/?#[]:;@!$&'()*+,=~-._"  # RFC 3986 section 2; kept unchanged
_MAX_RETURN_CHARACTERS: Final = (
    200  # characters; a longer address makes a QR code that phones cannot read
)


class MoveEndpoint:
    """Responds to the device that has the place, and to the device that continues with it."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses

    async def offer(self, visit: Visit) -> GateResponse:
        """The link and the QR code for a visitor in line."""
        if is_from_another_site(visit.facts):
            return self._problem(visit, _ANOTHER_SITE, status=403)
        if not isinstance(visit.held.token, Ticket):
            return self._problem(visit, _NO_PLACE, status=403)
        outcome = await visit.admit_as("denied")
        match outcome:
            case Wait(ticket=ticket) if visit.admission.is_unsolved(ticket):
                return self._problem(visit, _NO_PLACE, status=403)
            case Wait(position=None):
                return self._problem(visit, _UNREACHABLE, status=503, headers=_RETRY)
            case Wait():
                return self._offered(visit, outcome)
            case Admit(pass_=Pass() as pass_, changed=changed):
                headers = visit.headers(pass_) if changed else ()
                if visit.facts.accepts_html:
                    return self._responses.redirect(_way_back(visit), headers=headers)
                return self._responses.json(admitted_json(pass_), state="admitted", headers=headers)
            case WaitWithoutPlace():
                return response_without_place(self._responses, visit, outcome)
            case Admit() | Deny():
                return self._problem(visit, _NO_PLACE, status=403)
            case _:
                assert_never(outcome)

    def _offered(self, visit: Visit, wait: Wait) -> GateResponse:
        codes = _codes(visit)
        if codes is None:
            return self._problem(visit, _NO_PLACE, status=403)
        raw = codes.mint(MoveCode.of(wait.ticket, now_s=visit.admission.now_s()))
        link = _link(visit, raw)
        headers = visit.headers(wait.ticket) if wait.changed else ()
        return self._responses.move_offer(
            visit.facts,
            link=link,
            code=qr_code_of(link),
            way_back=_way_back(visit),
            headers=headers,
        )

    async def take_over(self, visit: Visit) -> GateResponse:
        """The confirmation page; by POST, the move."""
        codes, raw = _codes(visit), _value_of(visit, "code")
        code = None if codes is None else codes.read(raw, now_s=visit.admission.now_s())
        if visit.facts.method != "POST":
            if code is None:
                return self._refused(visit, "link_invalid")
            return self._asked(visit, _nonce_of(visit) or secrets.token_urlsafe(16))
        if is_from_another_site(visit.facts):
            return self._problem(visit, _ANOTHER_SITE, status=403)
        if code is None:
            return self._refused(visit, "link_invalid")
        kept = await self._kept(visit, code)
        if kept is not None:
            return kept
        device = device_of(raw, _nonce_of(visit) or secrets.token_urlsafe(16))
        return await self._move(visit, code, device)

    async def _kept(self, visit: Visit, code: MoveCode) -> GateResponse | None:
        """The response to a browser that already has a pass, this place, or an earlier one. The
        code stays unused."""
        held, admission = visit.held.token, visit.admission
        if isinstance(held, Pass):
            is_revoked = held.visitor in admission.room.view.decisive.revoked
            if is_revoked or admission.now_s() >= held.expires_at_s:
                return None
            return self._moved(visit, ())
        if held is None:
            return None
        if held.visitor == code.visitor:
            return self._moved(visit, ()) if held.device == code.made_on else None
        if held.arrival_us > code.arrival_us or admission.is_unsolved(held):
            return None
        outcome = await visit.admit_as("denied")
        if isinstance(outcome, Admit) and outcome.pass_ is not None:
            return self._moved(visit, visit.headers(outcome.pass_))
        return self._refused(visit, "earlier_place") if isinstance(outcome, Wait) else None

    async def _move(self, visit: Visit, code: MoveCode, device: str) -> GateResponse:
        admission = visit.admission
        if device == code.made_on:
            return self._refused(visit, "link_invalid")
        made_us = round(code.issued_at_s * 1_000_000)
        request = MoveRequest(code.visitor, made_on=code.made_on, to=device, made_us=made_us)
        result = await admission.room.move(request)
        match result:
            case None:
                return self._asked(visit, _nonce_of(visit), is_unreachable=True)
            case "used" | "claimed" | "void":
                return self._refused(visit, "link_invalid")
            case Move(moved_us=moved_us):
                ticket = code.ticket(
                    device, moved_us=moved_us, rules=admission.rules, now_s=admission.now_s()
                )
                held = visit.held.token
                tickets = [held, *visit.held.others] if isinstance(held, Ticket) else []
                admission.give_up(each for each in tickets if each.visitor != code.visitor)
                return self._moved(visit, visit.headers(ticket))
            case _:
                assert_never(result)

    def _moved(self, visit: Visit, headers: Headers) -> GateResponse:
        if visit.facts.accepts_html:
            response = self._responses.redirect(_way_back(visit), headers=headers)
        else:
            body = {"state": "waiting", "room": visit.admission.config.name}
            response = self._responses.json(body, state="waiting", headers=headers)
        return replace(response.without_referrer(), close=visit.facts.has_body)

    def _asked(self, visit: Visit, nonce: str, *, is_unreachable: bool = False) -> GateResponse:
        """The page with the button. With `nonce` the browser gets a cookie that identifies it when
        it sends the request again."""
        cookie = f"{_COOKIE}={nonce}; Max-Age={CODE_LIFE_S:.0f}; Path=/.gatekeeper/continue"
        cookie += "; HttpOnly; SameSite=Lax" + ("; Secure" if visit.facts.is_secure else "")
        error, headers = (_UNREACHABLE, _RETRY) if is_unreachable else ("", ())
        if nonce:
            headers = (*headers, ("Set-Cookie", cookie))
        response = self._responses.move_question(visit.facts, error=error, headers=headers)
        return replace(response.without_referrer(), close=visit.facts.has_body)

    def _refused(self, visit: Visit, reason: MoveRefusal) -> GateResponse:
        return self._responses.denied(visit.facts, reason, room=visit.admission.config)

    def _problem(
        self, visit: Visit, message: str, *, status: int, headers: Headers = ()
    ) -> GateResponse:
        response = self._responses.problem(
            visit.facts, message, status=status, headers=headers, close=visit.facts.has_body
        )
        return response.without_referrer()


def _codes(visit: Visit) -> MoveCodes | None:
    return None if visit.gate is None else visit.gate.move_codes


def _value_of(visit: Visit, name: str) -> str:
    """The query parameter of that name; "": missing or repeated."""
    values = [*own_values(visit.facts.target.partition("?")[2], name)]
    return values[0] if len(values) == 1 else ""


def _nonce_of(visit: Visit) -> str:
    """The nonce that this browser got with the page, or ""."""
    found = _NONCE.search("; ".join(visit.facts.cookies))
    return found[1] if found is not None and is_nonce(found[1]) else ""


def _link(visit: Visit, raw: str) -> str:
    """The address for the other device, with the visitor's page as return address if that is
    short."""
    client = visit.facts.client
    query: dict[str, str] = {"room": visit.admission.config.name}
    asked = _return_of(visit)
    if asked and len(asked) <= _MAX_RETURN_CHARACTERS:
        query["return"] = asked
    host = client.forwarded_host or client.host
    return f"{client.scheme}://{host}/.gatekeeper/continue?{urlencode(query | {'code': raw})}"


def _way_back(visit: Visit) -> str:
    """The page where the visitor waits, else the start of the room."""
    asked = _return_of(visit)
    return quote(asked, safe=_URL_CHARACTERS) if asked else visit.admission.config.path[0]


def _return_of(visit: Visit) -> str:
    """The path and query on this site at which the visitor waits: `return`, else that of the page
    that sent the request; "": unknown. Anything else would be an open redirect."""
    asked = _value_of(visit, "return")
    if not asked:
        sender = "".join(visit.facts.fields("Referer")[:1])
        authority = _AUTHORITY.match(sender)
        asked = sender.partition("#")[0][authority.end() if authority else 0 :]
    return asked if is_path(asked) and not asked.startswith(_PREFIX) else ""
