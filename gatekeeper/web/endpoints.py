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
from gatekeeper.config import RoomName
from gatekeeper.pages.languages import N_
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import Token
from gatekeeper.proxy import Client
from gatekeeper.web.answers import Answers
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.entrance import Enter, Entrance, Stay
from gatekeeper.web.place import Place, admitted_json, place_of
from gatekeeper.web.reply import Asked, Reply

PREFIX = "/.gatekeeper/"
_NONE = {"state": "none"}
_ASSETS = "static/"
_ROOM_ALONE = re.compile(r"room=[a-z0-9_-]+")
_READ, _WRITE = ("GET", "HEAD"), ("POST",)


class Visit(NamedTuple):
    """One request at one room's entrance: what it came with, and how a token goes back."""

    entrance: Entrance
    credentials: Credentials
    held: Held
    secure: bool

    def place(self, stay: Stay) -> Place:
        """Where one who stays stands now."""
        room = self.entrance.room
        return place_of(stay.ticket, stay.placed, room.view.state, rules=room.rules)

    def headers(self, token: Token | None) -> tuple[tuple[str, str], ...]:
        """The headers that hand `token` to the visitor; None takes back what they hold."""
        return self.credentials.headers(
            token,
            by_header=self.held.by_header,
            secure=self.secure,
            now_s=self.entrance.now_s(),
        )


def stay_reply(answers: Answers, asked: Asked, *, visit: Visit, stay: Stay) -> Reply:
    """The answer to a request of one who waits, whatever its path: the page, or its JSON."""
    config = visit.entrance.config
    metrics.answered.count(config.name, "waiting")
    reply = answers.waiting(
        asked,
        visit.place(stay),
        room=config,
        now_s=visit.entrance.now_s(),
        headers=visit.headers(stay.ticket) if stay.changed else (),
    )
    return reply._replace(close=asked.has_body)  # nobody will read the body


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

    async def answer(self, asked: Asked, path: str, client: Client) -> Reply:
        rest, _, query = path.removeprefix(PREFIX).partition("?")
        reply = self.at_once(asked, rest)
        if reply is not None:
            return reply
        metrics.answered.count("", "own")
        methods, endpoint = self._visits[rest]
        if (refused := self._wrong_method(asked, methods)) is not None:
            return refused
        visit = self.visit(asked, query, client)
        if visit is None:
            return self._not_found(asked, "There is no such room.")
        return await endpoint(asked, visit)

    def at_once(self, asked: Asked, rest: str) -> Reply | None:
        """The answer to a request for `rest` of the prefix that concerns no visit, else None."""
        if rest in self._visits:
            return None
        metrics.answered.count("", "own")
        if rest == "health":
            return self._wrong_method(asked, _READ) or self._answers.json({"status": "ok"})
        if rest.startswith(_ASSETS):
            asset = self._answers.asset(asked, rest.removeprefix(_ASSETS))
            if asset is None:
                return self._not_found(asked)
            return self._wrong_method(asked, _READ) or asset
        return self._not_found(asked)

    def _wrong_method(self, asked: Asked, methods: tuple[str, ...]) -> Reply | None:
        """The answer to a request that is none of `methods`, else None."""
        if asked.method in methods:
            return None
        return self._answers.problem(
            asked,
            f"Use {methods[0]} here.",
            status=405,
            headers=[("Allow", ", ".join(methods))],
            close=asked.has_body,
        )

    def _not_found(self, asked: Asked, message: str = N_("There is nothing here.")) -> Reply:
        return self._answers.problem(asked, message, status=404, close=asked.has_body)

    def visit(self, asked: Asked, query: str, client: Client) -> Visit | None:
        named = _room_in(query)
        name = RoomName(named) if named else self._router.room_of(client.host, "/")
        if name is None or name is AMBIGUOUS or name not in self._entrances:
            return None
        entrance, credentials = self._entrances[name], self._credentials[name]
        secure = client.scheme == "https"
        held = credentials.read(asked, secure=secure, now_s=entrance.now_s())
        return Visit(entrance, credentials, held, secure)

    async def _status(self, _asked: Asked, visit: Visit) -> Reply:
        outcome = await visit.entrance.standing(visit.held.token)
        return self.status_reply(visit, outcome)

    def status_reply(self, visit: Visit, outcome: Enter | Stay | None) -> Reply:
        """What the holder of a token is told of where they stand."""
        if outcome is None:
            return self._nothing(visit)
        token, changed = _token(outcome)
        headers = visit.headers(token) if changed else ()
        if isinstance(outcome, Stay):
            return self._answers.place(visit.place(outcome), headers=headers)
        return self._answers.json(admitted_json(outcome.pass_), headers=headers)

    async def _enqueue(self, _asked: Asked, visit: Visit) -> Reply:
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

    async def _leave(self, asked: Asked, visit: Visit) -> Reply:
        headers: tuple[tuple[str, str], ...] = ()
        # Without a token nothing is taken back: a form on another site comes without the cookie
        # (SameSite=Lax), and could otherwise take it from a visitor who waits.
        if visit.held.token is not None:
            await visit.entrance.leave(visit.held.token)
            headers = visit.headers(None)
        if asked.accepts("text/html"):
            return self._answers.left(asked, path=visit.entrance.config.path, headers=headers)
        return self._answers.json(_NONE, headers=headers)

    def _nothing(self, visit: Visit) -> Reply:
        """No place and no pass; a token that counts no more is taken back."""
        headers = visit.headers(None) if visit.held.token is not None else ()
        return self._answers.json(_NONE, headers=headers)


def _room_in(query: str) -> str | None:
    """The first `room` that the query names."""
    if _ROOM_ALONE.fullmatch(query):  # as our own pages ask
        return query.removeprefix("room=")
    return parse_qs(query).get("room", [None])[0] if query else None


def _token(outcome: Enter | Stay) -> tuple[Token, bool]:
    if isinstance(outcome, Enter):
        return outcome.pass_, outcome.changed
    return outcome.ticket, outcome.changed


def _json(visit: Visit, outcome: Enter | Stay) -> dict[str, object]:
    if isinstance(outcome, Enter):
        return admitted_json(outcome.pass_)
    return visit.place(outcome).json
