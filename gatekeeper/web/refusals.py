"""Responses to requests that no parser accepts, in the words and the format of every other error.

Rules. Nothing is decided here, and the head is trusted with nothing but the format, the language
and the reader of its own error: fields are searched for in what was received, wherever that breaks
off. A script of another origin may read it if the room names that origin; where the room is not
known, none may.
"""

from __future__ import annotations

import re

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Client, RequestFacts, origin_form
from gatekeeper.policy.routing import Router
from gatekeeper.proxy.head_reader import MAX_LINE_BYTES
from gatekeeper.proxy.own_response import refusal
from gatekeeper.web.message import head_of
from gatekeeper.web.responses import Responses

# Possessive: a value of blanks that breaks off is looked at once.
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
        return refusal(head, head_of(response), response.body)

    def _room_of(self, facts: RequestFacts) -> RoomName | None:
        """The room that the request would have been in."""
        if self._router.only_room is not None:
            return self._router.only_room
        return self._router.room_of(facts.client.host, facts.target) if facts.target else None


def _target(head: bytes) -> str:
    """The target; of one that is too long its path, which begins with the room's; empty if the path
    broke off."""
    match = _LINE.match(head)
    if match is None:
        return ""
    target, end = match.groups()
    if len(target) > MAX_LINE_BYTES or not end:
        path, mark, _ = target.partition(b"?")
        is_known = bool(mark or end) or len(path) > MAX_LINE_BYTES
        target = path[:MAX_LINE_BYTES] if is_known else b""
    return origin_form(target.decode("utf-8", "surrogateescape")) if target else ""
