"""CORS: which other origins may read the gate's own responses (`waiting.cors_origins`).

Rules. Pure. An origin is compared as the browser sends it (Fetch standard, section 3.2.5): one
`Origin` field, equal byte for byte to an entry of the room's list. Any other request gets only
`Vary`. A response outside of rooms may be read by an origin that any room lists. Forwarded
responses belong to the origin and are never touched. `*` cannot be configured: it forbids cookies,
and the place is in a cookie.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.web.message import QUEUE_INVITATION, QUEUE_TOKEN, GateResponse, Headers

_EXPOSED = f"X-Gatekeeper-State, Retry-After, {QUEUE_TOKEN}"
_ALLOWED_FIELDS = f"{QUEUE_TOKEN}, {QUEUE_INVITATION}, Content-Type"
# How long a browser may cache a preflight; a changed list applies after that.
_PREFLIGHT_LIFE_S = 600
_VARY: Headers = (("Vary", "Origin"),)
_VARY_PREFLIGHT: Headers = (
    ("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers"),
)


class Cors:
    """The allowed origins of each room."""

    def __init__(self, rooms: Iterable[RoomConfig] = ()) -> None:
        self._of_room = {room.name: frozenset(room.cors_origins) for room in rooms}
        self._of_any = frozenset().union(*self._of_room.values())

    def names(self, facts: RequestFacts, room: RoomName | None) -> bool:
        """Whether the request comes from an origin that the room lists."""
        return self._named(facts, room) is not None

    def headers(self, facts: RequestFacts, room: RoomName | None) -> Headers:
        """The CORS fields of a response of the gate."""
        if not self._origins(room):
            return ()
        origin = self._named(facts, room)
        return _VARY if origin is None else (*_allowed(origin), *_VARY)

    def shared(
        self, response: GateResponse, facts: RequestFacts, room: RoomName | None
    ) -> GateResponse:
        """The response with the CORS fields of the room."""
        headers = self.headers(facts, room)
        if not headers:
            return response
        return replace(response, headers=(*headers, *response.headers))

    def preflight(
        self, facts: RequestFacts, room: RoomName | None, *, methods: Iterable[str]
    ) -> Headers | None:
        """The fields of the 204 for a preflight of a listed origin, in addition to those of
        `shared`, which browsers refuse when repeated; None: not such a preflight."""
        if facts.method != "OPTIONS" or not facts.fields("Access-Control-Request-Method"):
            return None
        if not self.names(facts, room):
            return None
        return (
            ("Access-Control-Allow-Methods", ", ".join(methods)),
            ("Access-Control-Allow-Headers", _ALLOWED_FIELDS),
            ("Access-Control-Max-Age", str(_PREFLIGHT_LIFE_S)),
            *_VARY_PREFLIGHT,
        )

    def _origins(self, room: RoomName | None) -> frozenset[str]:
        return self._of_any if room is None else self._of_room.get(room, frozenset())

    def _named(self, facts: RequestFacts, room: RoomName | None) -> str | None:
        origins = self._origins(room)
        if not origins:
            return None
        values = facts.fields("Origin")
        return values[0] if len(values) == 1 and values[0] in origins else None


def _allowed(origin: str) -> Headers:
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", _EXPOSED),
    )
