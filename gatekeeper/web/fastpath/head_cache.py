"""A cache of heads that the gate itself responds to, keyed by everything except visitor data.

Rules. Waiting visitors send the same head repeatedly: between the polls of a browser, and between
browsers of one kind, only the cookie changes, and the address that a proxy adds. So an entry is
cached under the bytes of its head without these values. The removed values are checked by the
grammar of `plain_head`, so that the whole head is plain if the cached one was. Token, holder and
decision are evaluated for each request. A head is cached only if its route depended on no fact
outside of the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gatekeeper.policy.facts import Fact, RequestFacts
from gatekeeper.policy.routing import Route
from gatekeeper.proxy.plain_head import IN_VALUES
from gatekeeper.web.message import GateResponse, Headers
from gatekeeper.web.pipeline import Visit
from gatekeeper.web.room_gate import RoomGate

# The start of these fields as clients and proxies write it. An exact search is several times faster
# than a regular expression for any letter case. A field in another spelling stays in the key.
_COOKIE = (b"\r\nCookie: ", b"\r\ncookie: ")
_ADDRESS = (b"\r\nX-Forwarded-For: ", b"\r\nx-forwarded-for: ")
# Maps each character that a value cannot have, as in `plain_head`, to another one.
_PLAIN = bytes([each if each in IN_VALUES else each ^ 1 for each in range(0x100)])
_MAX_ENTRIES = 4096
_MAX_BYTES = 2048
# The facts in the key. It has no peer and no cookies, and no address that a proxy or the edge adds.
# If `X-Forwarded-*` are trusted, the key has those about the visitor's connection. A rule on a
# removed field reads a fact that is not among these (`facts_of_field`).
KEY_FACTS: Final = Fact.SCHEME | Fact.HOST | Fact.METHOD | Fact.TARGET | Fact.FIELDS


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """A plain GET that the gate itself responds to, from any visitor."""

    facts: RequestFacts  # without cookies and fields
    route: Route
    gate: RoomGate
    keep_alive: bool
    is_status: bool  # else a page of the site
    creates_place: bool  # read from fields that are in the key
    wants_stream: bool = False
    cors: Headers = ()  # of the response; `Origin` is in the key
    is_secure: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_secure", self.facts.is_secure)

    def visit(self, cookie: bytes) -> Visit:
        """The visit of a request with this head and this Cookie."""
        held = self.gate.read_cookie(cookie.decode("latin-1"), secure=self.is_secure)
        return Visit(self.facts, self.route, self.gate, held, self.creates_place)

    def completed(self, response: GateResponse) -> GateResponse:
        """The response with what follows from the head: the CORS fields, and the end of the
        connection."""
        if self.cors:
            response = replace(response, headers=(*self.cors, *response.headers))
        return response.closing(keep_alive=self.keep_alive)


class HeadCache:
    """The most recent entries, separate for peers with trusted `X-Forwarded-*` and without."""

    def __init__(self) -> None:
        self._entries: dict[bool, dict[bytes, HeadEntry]] = {True: {}, False: {}}

    def recall(self, head: bytes, *, trusted: bool) -> tuple[HeadEntry, Visit] | None:
        """The entry of `head`, and the visit with its cookie; None: unknown."""
        entries = self._entries[trusted]
        cut, cookie = _cut(head, _COOKIE)
        entry = entries.get(cut)
        if entry is None:
            cut, address = _cut(cut, _ADDRESS)
            entry = entries.get(cut)
            if entry is None or not _is_plain(address):
                return None
        return (entry, entry.visit(cookie or b"")) if _is_plain(cookie) else None

    def keep(self, head: bytes, entry: HeadEntry, *, cookie: bytes | None, trusted: bool) -> None:
        """Cache the entry of a plain head, unless its route depended on a fact outside of the key,
        or its `cookie` is spelled so that it would stay in the key."""
        if entry.route.reads & ~KEY_FACTS:
            return
        cut, found = _cut(head, _COOKIE)
        cut, _ = _cut(cut, _ADDRESS)
        if found != cookie or len(cut) > _MAX_BYTES:
            return
        entries = self._entries[trusted]
        if len(entries) >= _MAX_ENTRIES:
            del entries[next(iter(entries))]
        entries[cut] = entry


def _cut(head: bytes, spellings: Sequence[bytes]) -> tuple[bytes, bytes | None]:
    """The head without the value of the first field with such a start, and the value."""
    for beginning in spellings:
        at = head.find(beginning)
        if at >= 0:
            start = at + len(beginning)
            end = head.find(b"\r", start)  # faster than for two bytes; no plain value has one
            return head[:start] + head[end:], head[start:end]
    return head, None


def _is_plain(value: bytes | None) -> bool:
    """Whether the value, if there is one, is allowed in a plain head."""
    if value is None:
        return True
    return value != b"" and value.translate(_PLAIN) == value == value.strip(b"\t ")
