"""The gate's own endpoints under `/.gatekeeper/`, for the waiting page and for apps.

Rules. Each path has its methods; anything else under the prefix is 404 or 405 and never reaches
the origin. `?room=` names the room, else it is the one that `/` on this host falls in. Asking for
the status is the heartbeat, and the claim once released.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.pages.languages import N_
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import Token
from gatekeeper.proxy import Client
from gatekeeper.web.admission import Admission, Admit, Deny, Outcome, Wait
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.message import GateResponse, RequestFacts
from gatekeeper.web.responses import Responses
from gatekeeper.web.waiting_status import WaitingStatus, admitted_json, waiting_status_of

PREFIX = "/.gatekeeper/"
_NONE = {"state": "none"}
_ASSETS = "static/"
_ROOM_ALONE = re.compile(r"room=[a-z0-9_-]+")
_READ, _WRITE = ("GET", "HEAD"), ("POST",)


class Visit(NamedTuple):
    """One request at one room's entrance: what it came with, and how a token goes back."""

    admission: Admission
    credentials: Credentials
    held: Held
    secure: bool

    def place(self, stay: Wait) -> WaitingStatus:
        """Where one who stays stands now."""
        room = self.admission.room
        return waiting_status_of(stay.ticket, stay.placed, room.view.state, rules=room.rules)

    def headers(self, token: Token | None) -> tuple[tuple[str, str], ...]:
        """The headers that hand `token` to the visitor; None takes back what they hold."""
        return self.credentials.headers(
            token,
            by_header=self.held.by_header,
            secure=self.secure,
            now_s=self.admission.now_s(),
        )


def waiting_response(
    responses: Responses, facts: RequestFacts, *, visit: Visit, stay: Wait
) -> GateResponse:
    """The answer to a request of one who waits, whatever its path: the page, or its JSON."""
    config = visit.admission.config
    metrics.answered.count(config.name, "waiting")
    response = responses.waiting(
        facts,
        visit.place(stay),
        room=config,
        now_s=visit.admission.now_s(),
        headers=visit.headers(stay.ticket) if stay.changed else (),
    )
    return response._replace(close=facts.has_body)  # nobody will read the body


class Endpoints:
    """Answers everything under the prefix."""

    def __init__(
        self,
        *,
        router: Router,
        admissions: Mapping[RoomName, Admission],
        credentials: Mapping[RoomName, Credentials],
        responses: Responses,
    ) -> None:
        self._router = router
        self._admissions = admissions
        self._credentials = credentials
        self._responses = responses
        self._visits = {
            "status": (_READ, self._status),
            "enqueue": (_WRITE, self._enqueue),
            "leave": (_WRITE, self._leave),
        }

    async def answer(self, facts: RequestFacts, path: str, client: Client) -> GateResponse:
        rest, _, query = path.removeprefix(PREFIX).partition("?")
        response = self.at_once(facts, rest)
        if response is not None:
            return response
        metrics.answered.count("", "own")
        methods, endpoint = self._visits[rest]
        if (refused := self._wrong_method(facts, methods)) is not None:
            return refused
        visit = self.visit(facts, query, client)
        if visit is None:
            return self._not_found(facts, "There is no such room.")
        return await endpoint(facts, visit)

    def at_once(self, facts: RequestFacts, rest: str) -> GateResponse | None:
        """The answer to a request for `rest` of the prefix that concerns no visit, else None."""
        if rest in self._visits:
            return None
        metrics.answered.count("", "own")
        if rest == "health":
            return self._wrong_method(facts, _READ) or self._responses.json({"status": "ok"})
        if rest.startswith(_ASSETS):
            asset = self._responses.asset(facts, rest.removeprefix(_ASSETS))
            if asset is None:
                return self._not_found(facts)
            return self._wrong_method(facts, _READ) or asset
        return self._not_found(facts)

    def _wrong_method(self, facts: RequestFacts, methods: tuple[str, ...]) -> GateResponse | None:
        """The answer to a request that is none of `methods`, else None."""
        if facts.method in methods:
            return None
        return self._responses.problem(
            facts,
            f"Use {methods[0]} here.",
            status=405,
            headers=[("Allow", ", ".join(methods))],
            close=facts.has_body,
        )

    def _not_found(
        self, facts: RequestFacts, message: str = N_("Nothing was found at this address.")
    ) -> GateResponse:
        return self._responses.problem(facts, message, status=404, close=facts.has_body)

    def visit(self, facts: RequestFacts, query: str, client: Client) -> Visit | None:
        named = _room_in(query)
        name = RoomName(named) if named else self._router.room_of(client.host, "/")
        if name is None or name is AMBIGUOUS or name not in self._admissions:
            return None
        admission, credentials = self._admissions[name], self._credentials[name]
        secure = client.scheme == "https"
        held = credentials.read(facts, secure=secure, now_s=admission.now_s())
        return Visit(admission, credentials, held, secure)

    async def _status(self, _asked: RequestFacts, visit: Visit) -> GateResponse:
        outcome = await visit.admission.standing(visit.held.token)
        return self.status_response(visit, outcome)

    def status_response(self, visit: Visit, outcome: Outcome) -> GateResponse:
        """Where the holder of a token stands."""
        if isinstance(outcome, Deny):
            return self._nothing(visit)
        token, changed = _token(outcome)
        headers = visit.headers(token) if changed else ()
        if isinstance(outcome, Wait):
            return self._responses.place(visit.place(outcome), headers=headers)
        return self._responses.json(admitted_json(outcome.pass_), headers=headers)

    async def _enqueue(self, _asked: RequestFacts, visit: Visit) -> GateResponse:
        held = visit.held.token
        outcome = await visit.admission.admit(held)
        if not isinstance(outcome, Admit | Wait):
            return self._nothing(visit)
        token, changed = _token(outcome)
        known = held is not None and held.visitor == token.visitor
        body = _json(visit, outcome) | {"token": visit.credentials.mint(token)}
        # A newcomer has the token in the body alone: an app gets no cookie that it never asked for.
        headers = visit.headers(token) if changed and held is not None else ()
        return self._responses.json(body, status=200 if known else 201, headers=headers)

    async def _leave(self, facts: RequestFacts, visit: Visit) -> GateResponse:
        headers: tuple[tuple[str, str], ...] = ()
        # Without a token nothing is taken back: a form on another site comes without the cookie
        # (SameSite=Lax), and could otherwise take it from a visitor who waits.
        if visit.held.token is not None:
            await visit.admission.leave(visit.held.token)
            headers = visit.headers(None)
        if facts.accepts("text/html"):
            return self._responses.left(facts, path=visit.admission.config.path, headers=headers)
        return self._responses.json(_NONE, headers=headers)

    def _nothing(self, visit: Visit) -> GateResponse:
        """No place and no pass; a token that counts no more is taken back."""
        headers = visit.headers(None) if visit.held.token is not None else ()
        return self._responses.json(_NONE, headers=headers)


def _room_in(query: str) -> str | None:
    """The first `room` that the query names."""
    if _ROOM_ALONE.fullmatch(query):  # as our own pages ask
        return query.removeprefix("room=")
    return parse_qs(query).get("room", [None])[0] if query else None


def _token(outcome: Admit | Wait) -> tuple[Token, bool]:
    if isinstance(outcome, Admit):
        return outcome.pass_, outcome.changed
    return outcome.ticket, outcome.changed


def _json(visit: Visit, outcome: Admit | Wait) -> dict[str, object]:
    if isinstance(outcome, Admit):
        return admitted_json(outcome.pass_)
    return visit.place(outcome).json
