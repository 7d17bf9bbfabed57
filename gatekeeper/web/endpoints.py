"""The gate's own endpoints under `/.gatekeeper/`, for the waiting page and for apps.

Rules. Each path has its methods; any other path or method under the prefix is 404 or 405 and never
reaches the origin. `?room=` names the room, or `?for=` an address in it; without both it is the
room of `/` on this host. A client that a rule blocks from the site gets 403 at each endpoint of a
room, so that it neither gets nor keeps a place; files and `health` are for all. `GET status` is the
heartbeat, and the claim once released. `GET wait` is the waiting page for `client.js`: with a pass
it redirects back to the app. `auth` is `forward_auth`'s.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import assert_never
from urllib.parse import quote, urlsplit

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.errors import N_
from gatekeeper.pages.renderer import is_path
from gatekeeper.policy.decision import WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.original_request import is_check
from gatekeeper.policy.parameters import first_value
from gatekeeper.policy.routing import Blocked, Rejected
from gatekeeper.policy.sender import is_from_another_site
from gatekeeper.policy.tokens import Pass, Token
from gatekeeper.web.calendar_entries import PREFIX as CALENDAR
from gatekeeper.web.calendar_entries import calendar_of, event_in
from gatekeeper.web.challenge_endpoint import ChallengeEndpoint
from gatekeeper.web.draws import PREFIX as DRAWS
from gatekeeper.web.draws import Draws, ListResponse
from gatekeeper.web.forward_auth import ForwardAuth
from gatekeeper.web.invitation_redirect import REFUSED, refused
from gatekeeper.web.invited_admission import redeem, sent_invitations
from gatekeeper.web.message import GateResponse, Headers
from gatekeeper.web.move_endpoint import MoveEndpoint
from gatekeeper.web.outcome import Admit, Deny, Outcome, Wait
from gatekeeper.web.pipeline import (
    BLOCKED,
    Pipeline,
    Visit,
    response_without_place,
    waiting_response,
)
from gatekeeper.web.request_body import ReadBody, no_body
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import admitted_json

PREFIX = "/.gatekeeper/"
_TRY_AGAIN = N_("Something went wrong on our side. Please try again.")
_NO_ROOM = N_("There is no such room.")
_NOTHING = N_("Nothing was found at this address.")
_ANOTHER_SITE = N_("This request came from another site.")
_USE = {"GET": N_("Use GET here."), "POST": N_("Use POST here.")}
_NONE = {"state": "none"}
_ASSETS = "static/"
_SCRIPT = "client.js"
_ROOM_ALONE = re.compile(r"room=[a-z0-9_-]+")
_URL_CHARACTERS = "%/?#[]:;@!$&'()*+,=~-._"  # RFC 3986 section 2; kept unchanged
_READ, _WRITE, _BOTH = ("GET", "HEAD"), ("POST",), ("GET", "HEAD", "POST")


_InRoom = Callable[[Visit], Awaitable[GateResponse | None]]


class Endpoints:
    """Responds to everything under the prefix."""

    def __init__(self, pipeline: Pipeline, responses: Responses) -> None:
        self._pipeline = pipeline
        self._responses = responses
        self._draws = Draws(pipeline, responses)
        self.forward_auth = ForwardAuth(pipeline, responses)
        move = MoveEndpoint(responses)
        self._in_room: Mapping[str, tuple[tuple[str, ...], _InRoom]] = {
            "status": (_READ, self._status),
            "confirm": (_READ, self._confirm),
            "leave": (_WRITE, self._leave),
            "wait": (_READ, self._wait),
            REFUSED: (_READ, partial(refused, responses)),
            "move": (_WRITE, move.offer),
            "continue": (_BOTH, move.take_over),
        }
        self._with_body = {
            "challenge": (_BOTH, ChallengeEndpoint(responses, self.status_response).respond),
            "enqueue": (_WRITE, self._enqueue),
        }

    @property
    def of_rooms(self) -> frozenset[str]:
        """The names of the endpoints of a room, which a rule may block."""
        return frozenset({*self._in_room, *self._with_body})

    async def respond(
        self, facts: RequestFacts, read_body: ReadBody = no_body
    ) -> GateResponse | ListResponse:
        """The response to a request whose target is under the prefix."""
        name, _, query = facts.target.removeprefix(PREFIX).partition("?")
        if name.startswith(DRAWS):
            return await self._draw(facts, name, query)
        if is_check(name):
            return await self.forward_auth.respond(facts)
        response = self.respond_without_room(facts, name)
        if response is not None:
            return response
        methods = (self._with_body if name in self._with_body else self._in_room)[name][0]
        visit = self.visit(facts, query)
        if visit is not None and isinstance(visit.route, Blocked | Rejected):
            return self._refused(facts, visit.route)
        metrics.own_responses.count("", "own")
        room = None if visit is None else visit.room
        response = self._wrong_method(facts, methods, room=room)
        if response is None and visit is not None:
            response = await self._respond_in_room(name, visit, read_body)
        response = response or self._not_found(facts, _NO_ROOM if visit is None else _NOTHING)
        return self._responses.cors.shared(response, facts, room)

    async def _respond_in_room(
        self, name: str, visit: Visit, read_body: ReadBody
    ) -> GateResponse | None:
        if name in self._with_body:
            return await self._with_body[name][1](visit, read_body)
        return await self._in_room[name][1](visit)

    def respond_without_room(self, facts: RequestFacts, name: str) -> GateResponse | None:
        """The response to an endpoint outside of rooms; None: `name` is not one."""
        is_known = name in self._in_room or name in self._with_body
        if is_known or name.startswith(DRAWS) or is_check(name):
            return None
        metrics.own_responses.count("", "own")
        response = self._file(facts, name)
        if response is None:
            response = self._not_found(facts)
        else:
            response = self._wrong_method(facts, _READ) or response
        return self._responses.cors.shared(response, facts, None)

    async def _draw(
        self, facts: RequestFacts, name: str, query: str
    ) -> GateResponse | ListResponse:
        metrics.own_responses.count("", "own")
        response: GateResponse | ListResponse | None = self._wrong_method(facts, _READ)
        if response is None:
            response = await self._draws.respond(facts, name, room=_room_in(query))
        shared = self._responses.cors.shared
        if isinstance(response, GateResponse):
            return shared(response, facts, None)
        return response._replace(head=shared(response.head, facts, None))

    def _file(self, facts: RequestFacts, name: str) -> GateResponse | None:
        """A response that is the same for every visitor: health, scripts, files, calendars."""
        if name == "health":
            return self._responses.json({"status": "ok"}, state="none")
        if name.partition("?")[0] == _SCRIPT:
            return self._responses.script(facts)
        if name.startswith(_ASSETS):
            return self._responses.asset(facts, name.removeprefix(_ASSETS))
        if name.startswith(CALENDAR):
            return self._calendar(facts, name)
        return None

    def _calendar(self, facts: RequestFacts, name: str) -> GateResponse | None:
        """The opening of an event as a file for calendars."""
        event = event_in(name)
        visit = None if event is None else self.visit(facts, facts.target.partition("?")[2])
        if event is None or visit is None or visit.gate is None:
            return None
        admission = visit.admission
        file = calendar_of(
            event,
            admission.room.view.state,
            facts=facts,
            room=admission.config,
            now_s=admission.now_s(),
        )
        return None if file is None else self._responses.calendar(file, name=event)

    def visit(self, facts: RequestFacts, query: str) -> Visit | None:
        """A visit of the room that the query names; None: there is no such room."""
        return self._pipeline.visit_room(facts, _room_in(query), path=_path_in(query))

    def room_of(self, facts: RequestFacts) -> RoomName | None:
        """The room that a request to an endpoint names."""
        visit = self.visit(facts, facts.target.partition("?")[2])
        return None if visit is None else visit.room

    def status_response(self, visit: Visit, outcome: Outcome) -> GateResponse:
        """The status of the holder of a token."""
        match outcome:
            case Wait():  # first: nearly every poll
                headers = visit.headers(outcome.ticket) if outcome.changed else ()
                return self._responses.place(visit.waiting_status(outcome), headers=headers)
            case Admit(pass_=Pass() as pass_, changed=changed):
                headers = visit.headers(pass_) if changed else ()
                body = admitted_json(pass_, visit.drawn_number())
                return self._responses.json(body, state="admitted", headers=headers)
            case WaitWithoutPlace(reason="reconnecting"):
                return self._responses.place(visit.unknown_status())
            case WaitWithoutPlace(reason="other_device" | "invitation" as reason):
                return self._responses.json(_NONE | {"reason": reason}, state="none")
            case Admit() | WaitWithoutPlace() | Deny():
                return self._responses.json(_NONE, state="none")
            case _:
                assert_never(outcome)

    async def _status(self, visit: Visit) -> GateResponse:
        outcome = await visit.admit_as("denied")
        return self.status_response(visit, outcome)

    async def _confirm(self, visit: Visit) -> GateResponse:
        """The status for pages that cannot load JSON: with the type that they expect."""
        is_style = "style" in visit.facts.fields("Sec-Fetch-Dest")
        media_type = "text/css" if is_style else "application/speculationrules+json"
        return self._responses.as_type(await self._status(visit), media_type)

    async def _enqueue(self, visit: Visit, read_body: ReadBody) -> GateResponse:
        sent = await sent_invitations(visit, read_body)
        outcome = await (redeem(visit, sent) if sent else visit.admit_as("queued"))
        token: Token
        match outcome:
            case Wait(ticket=token):
                body = visit.waiting_status(outcome).json
            case Admit(pass_=Pass() as token):
                body = admitted_json(token)
            case WaitWithoutPlace(reason="busy"):
                return self._responses.json(_NONE, state="none")
            case WaitWithoutPlace() as wait:
                return response_without_place(self._responses, visit, wait)
            case Admit() | Deny():
                return self._responses.json(_NONE, state="none")
            case _:
                assert_never(outcome)
        held = visit.held.token
        is_known = held is not None and held.visitor == token.visitor
        # A newcomer gets the token only in the body: an app gets no unrequested cookie.
        headers = visit.headers(token) if outcome.changed and held is not None else ()
        body |= {"token": visit.mint(token)}
        return self._responses.json(
            body, state=str(body["state"]), status=200 if is_known else 201, headers=headers
        )

    async def _leave(self, visit: Visit) -> GateResponse:
        is_named = self._responses.cors.names(visit.facts, visit.room)
        if is_from_another_site(visit.facts) and not is_named:
            return self._responses.problem(visit.facts, _ANOTHER_SITE, status=403, close=True)
        headers: Headers = ()
        # Without a token no cookie is deleted: a form on another site is sent without the cookie
        # (SameSite=Lax), and could otherwise delete the cookie of a waiting visitor.
        if visit.held.token is not None:
            if not await visit.admission.leave(visit.held.token):
                return self._responses.problem(
                    visit.facts, _TRY_AGAIN, status=503, retry=True, room=visit.admission.config
                )
            visit.admission.give_up(visit.held.others)
            headers = visit.headers(None)
        if visit.facts.accepts("text/html"):
            path = visit.admission.config.path[0]
            return self._responses.left(visit.facts, path=path, headers=headers)
        return self._responses.json(_NONE, state="none", headers=headers)

    async def _wait(self, visit: Visit) -> GateResponse:
        """The waiting page; for an admitted visitor the way back to `?return=`."""
        is_known = visit.held.token is not None
        outcome: Outcome = WaitWithoutPlace()
        if is_known or visit.creates_place:
            outcome = await visit.admit_as("queued" if visit.creates_place else "denied")
        match outcome:
            case Wait():
                return waiting_response(self._responses, visit, outcome)
            case WaitWithoutPlace() as wait:
                return response_without_place(self._responses, visit, wait)
            case Admit(pass_=pass_, changed=changed):
                headers = visit.headers(pass_) if changed else ()
                way_back = self._way_back(visit)
                return self._responses.redirect(way_back, headers=headers)
            case Deny(reason=reason, status=status):
                return self._responses.problem(visit.facts, reason, status=status)
            case _:
                assert_never(outcome)

    def _way_back(self, visit: Visit) -> str:
        """The return address of the query: on this site, or of an origin that the room lists; else
        the start of the room. Anything else would be an open redirect."""
        asked = first_value(visit.facts.target.partition("?")[2], "return") or ""
        config = visit.admission.config
        if is_path(asked) or _origin_of(asked) in config.cors_origins:
            return quote(asked, safe=_URL_CHARACTERS)
        return config.path[0]

    def _wrong_method(
        self, facts: RequestFacts, methods: tuple[str, ...], *, room: RoomName | None = None
    ) -> GateResponse | None:
        """The response to a method that is not in `methods`, including a preflight; else None."""
        if facts.method in methods:
            return None
        preflight = self._responses.cors.preflight(facts, room, methods=methods)
        if preflight is not None:
            return self._responses.no_content(preflight)
        return self._responses.problem(
            facts,
            _USE[methods[0]],
            status=405,
            headers=[("Allow", ", ".join(methods))],
            close=facts.has_body,
        )

    def _refused(self, facts: RequestFacts, route: Blocked | Rejected) -> GateResponse:
        metrics.requests.labels("", "refused").inc()
        reason, status = BLOCKED, 403
        if isinstance(route, Blocked):
            metrics.by_rule.count(route.rule)
        else:
            reason, status = route.reason, route.status
        response = self._responses.problem(facts, reason, status=status, close=True)
        return self._responses.cors.shared(response, facts, None)

    def _not_found(self, facts: RequestFacts, message: str = _NOTHING) -> GateResponse:
        return self._responses.problem(facts, message, status=404, close=facts.has_body)


def _origin_of(address: str) -> str | None:
    """The origin of an absolute address; None: browsers could parse the address differently."""
    if not address.isprintable() or "\\" in address or "@" in address:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _path_in(query: str) -> str:
    """The first address `for` in the query; else `/`."""
    return first_value(query, "for") or "/"


def _room_in(query: str) -> str | None:
    """The first `room` in the query."""
    if _ROOM_ALONE.fullmatch(query):  # the form of our own pages
        return query.removeprefix("room=")
    return first_value(query, "room")
