"""The gate's own endpoints under `/.gatekeeper/`, for the waiting page and for apps.

Rules. Each path has its methods; anything else under the prefix is 404 or 405 and never reaches
the origin. `?room=` names the room, else it is the one that `/` on this host falls in. Asking for
the status is the heartbeat, and the claim once released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from aiohttp.web import BaseRequest, Response

from gatekeeper import metrics
from gatekeeper.config import RoomName
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import Token
from gatekeeper.proxy import Client
from gatekeeper.web.answers import Answers, admitted_json, waiting
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.entrance import Enter, Entrance, Stay

PREFIX = "/.gatekeeper/"
_NONE = {"state": "none"}
_ASSETS = "static/"
_READ, _WRITE = ("GET", "HEAD"), ("POST",)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request at one room's entrance: what it came with, and how a token goes back."""

    entrance: Entrance
    credentials: Credentials
    held: Held
    secure: bool

    def headers(self, token: Token | None) -> tuple[tuple[str, str], ...]:
        """The headers that hand `token` to the visitor; None takes back what they hold."""
        return self.credentials.headers(
            token,
            by_header=self.held.by_header,
            secure=self.secure,
            now_s=self.entrance.now_s(),
        )


class Endpoints:
    """Answers everything under the prefix."""

    def __init__(
        self,
        *,
        router: Router,
        entrances: Mapping[RoomName, Entrance],
        credentials: Mapping[RoomName, Credentials],
        answers: Answers,
    ) -> None:
        self._router = router
        self._entrances = entrances
        self._credentials = credentials
        self._answers = answers
        self._visits = {
            "status": (_READ, self._status),
            "enqueue": (_WRITE, self._enqueue),
            "leave": (_WRITE, self._leave),
        }

    async def answer(self, request: BaseRequest, path: str, client: Client) -> Response:
        rest, _, query = path.removeprefix(PREFIX).partition("?")
        metrics.requests.labels("", "own").inc()
        if rest == "health":
            return self._wrong_method(request, _READ) or self._answers.json({"status": "ok"})
        if rest.startswith(_ASSETS):
            asset = self._answers.asset(request, rest.removeprefix(_ASSETS))
            if asset is None:
                return self._not_found(request)
            return self._wrong_method(request, _READ) or asset
        if rest not in self._visits:
            return self._not_found(request)
        methods, endpoint = self._visits[rest]
        if (refused := self._wrong_method(request, methods)) is not None:
            return refused
        visit = self._visit(request, query, client)
        if visit is None:
            return self._not_found(request, "There is no such room.")
        return await endpoint(request, visit)

    def _wrong_method(self, request: BaseRequest, methods: tuple[str, ...]) -> Response | None:
        """The answer to a request that is none of `methods`, else None."""
        if request.method in methods:
            return None
        return self._answers.problem(
            request,
            f"Use {methods[0]} here.",
            status=405,
            headers=[("Allow", ", ".join(methods))],
            close=request.body_exists,
        )

    def _not_found(self, request: BaseRequest, message: str = "There is nothing here.") -> Response:
        return self._answers.problem(request, message, status=404, close=request.body_exists)

    def _visit(self, request: BaseRequest, query: str, client: Client) -> Visit | None:
        asked = parse_qs(query).get("room")
        name = RoomName(asked[0]) if asked else self._router.room_of(client.host, "/")
        if name is None or name is AMBIGUOUS or name not in self._entrances:
            return None
        entrance, credentials = self._entrances[name], self._credentials[name]
        secure = client.scheme == "https"
        held = credentials.read(request, secure=secure, now_s=entrance.now_s())
        return Visit(entrance, credentials, held, secure)

    async def _status(self, _request: BaseRequest, visit: Visit) -> Response:
        outcome = await visit.entrance.standing(visit.held.token)
        if outcome is None:
            return self._nothing(visit)
        token, changed = _token(outcome)
        headers = visit.headers(token) if changed else ()
        return self._answers.json(_json(visit, outcome), headers=headers)

    async def _enqueue(self, _request: BaseRequest, visit: Visit) -> Response:
        held = visit.held.token
        outcome = await visit.entrance.admit(held)
        if not isinstance(outcome, Enter | Stay):
            return self._nothing(visit)
        token, changed = _token(outcome)
        known = held is not None and held.visitor == token.visitor
        body = _json(visit, outcome) | {"token": visit.credentials.mint(token)}
        # A newcomer has the token in the body alone: an app gets no cookie that it never asked for.
        headers = visit.headers(token) if changed and held is not None else ()
        return self._answers.json(body, status=200 if known else 201, headers=headers)

    async def _leave(self, request: BaseRequest, visit: Visit) -> Response:
        headers: tuple[tuple[str, str], ...] = ()
        # Without a token nothing is taken back: a form on another site comes without the cookie
        # (SameSite=Lax), and could otherwise take it from a visitor who waits.
        if visit.held.token is not None:
            await visit.entrance.room.leave([visit.held.token.visitor])
            headers = visit.headers(None)
        if "text/html" in request.headers.get("Accept", ""):
            return self._answers.left(request, path=visit.entrance.config.path, headers=headers)
        return self._answers.json(_NONE, headers=headers)

    def _nothing(self, visit: Visit) -> Response:
        """No place and no pass; a token that counts no more is taken back."""
        headers = visit.headers(None) if visit.held.token is not None else ()
        return self._answers.json(_NONE, headers=headers)


def _token(outcome: Enter | Stay) -> tuple[Token, bool]:
    if isinstance(outcome, Enter):
        return outcome.pass_, outcome.changed
    return outcome.ticket, outcome.changed


def _json(visit: Visit, outcome: Enter | Stay) -> dict[str, object]:
    if isinstance(outcome, Enter):
        return admitted_json(outcome.pass_)
    room = visit.entrance.room
    return waiting(outcome.ticket, outcome.placed, room.view.state, rules=room.rules).json
