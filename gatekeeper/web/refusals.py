"""Responses to malformed requests, in the texts and the format of every other error.

Rules. Nothing is decided here. The head only selects the format, the language and the CORS fields
of its own error: fields are searched in the received part, which may be truncated. A script of
another origin may read it if the room lists that origin; without a known room, none may.
"""

from __future__ import annotations

import re

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts, origin_form
from gatekeeper.policy.routing import Router
from gatekeeper.proxy.head_reader import MAX_LINE_BYTES
from gatekeeper.proxy.own_response import refusal
from gatekeeper.web.responses import Responses

# Possessive, so that a truncated value of blanks is scanned once.
_FIELDS = re.compile(
    rb"^(accept|accept-language|host|origin):[ \t]*+([\x20-\x7e]*+)\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_LINE = re.compile(rb"[^ \r\n]*+ (/[^ \r\n]*+)( ?)")


class Refusals:
    """Builds refusals from the pages (`own_response.Refuse`)."""

    def __init__(self, responses: Responses, router: Router) -> None:
        self._responses = responses
        self._router = router

    def __call__(self, head: bytes, status: int, reason: str) -> bytes:
        """The whole response."""
        metrics.requests.labels("", "bad_request").inc()
        found: dict[str, list[str]] = {}
        for name, value in _FIELDS.findall(head):
            found.setdefault(name.lower().decode(), []).append(value.decode("ascii").rstrip(" "))
        hosts = found.get("host", [])
        facts = RequestFacts(
            Client("", "", hosts[0] if len(hosts) == 1 else ""),
            "GET",
            _target(head),
            accept=",".join(found.get("accept", ())),
            accept_language=",".join(found.get("accept-language", ())),
            fields=lambda name: found.get(name.lower(), ()),
        )
        response = self._responses.problem(facts, reason, status=status)
        room = self._room_of(facts)
        if room is not None:
            response = self._responses.cors.shared(response, facts, room)
        return refusal(head, response.head(), response.body)

    def _room_of(self, facts: RequestFacts) -> RoomName | None:
        """The room that the request would have been in."""
        if self._router.only_room is not None:
            return self._router.only_room
        return self._router.room_of(facts.client.host, facts.target) if facts.target else None


def _target(head: bytes) -> str:
    """The target; the path of a target that is too long; empty if the path is truncated."""
    match = _LINE.match(head)
    if match is None:
        return ""
    target, end = match.groups()
    if len(target) > MAX_LINE_BYTES or not end:
        path, mark, _ = target.partition(b"?")
        is_known = bool(mark or end) or len(path) > MAX_LINE_BYTES
        target = path[:MAX_LINE_BYTES] if is_known else b""
    return origin_form(target.decode("utf-8", "surrogateescape")) if target else ""
