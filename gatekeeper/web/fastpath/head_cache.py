"""A cache of heads that the gate itself responds to, keyed by everything except visitor data.

Rules. Waiting visitors send the same head repeatedly: between the polls of a browser, and between
browsers of one kind, only the cookie changes, and the address that a proxy adds. So an entry is
cached under the bytes of its head without these values. The removed values are checked by the
grammar of `plain_head`, so that the whole head is plain if the cached one was. Token, holder and
decision are evaluated for each request. A head is cached only if its route depended on no fact
outside of the key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gatekeeper.policy.facts import Fact, RequestFacts
from gatekeeper.policy.routing import Route
from gatekeeper.web.pipeline import Visit
from gatekeeper.web.room_gate import RoomGate

# Names at the start of a line, with non-empty values.
_VARIES = re.compile(rb"(\r\n(?:(?i:cookie)|(?i:x-forwarded-for)): )([^\r]++)(?=\r\n)")
# The characters of a value, as in `plain_head`. A regular expression takes four times as long.
_IN_VALUES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_COOKIE_AT = slice(2, 3)  # where the two names differ
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
    cors: bytes = b""  # lines of the response head; `Origin` is in the key
    is_secure: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_secure", self.facts.is_secure)

    def visit(self, cookie: bytes) -> Visit:
        """The visit of a request with this head and this Cookie."""
        gate = self.gate
        view = gate.admission.room.view
        held = gate.credentials.read_cookie(
            cookie.decode("latin-1"),
            secure=self.is_secure,
            now_s=view.now_s(),
            revoked=view.decisive.revoked,
        )
        return Visit(self.facts, self.route, gate, held, self.creates_place)


class HeadCache:
    """The most recent entries, separate for peers with trusted `X-Forwarded-*` and without."""

    def __init__(self) -> None:
        self._entries: dict[tuple[bytes, bool], HeadEntry] = {}

    def recall(self, head: bytes, *, trusted: bool) -> tuple[HeadEntry, bytes] | None:
        """The entry of `head` and its cookie; None: unknown."""
        cut, values, cookie = _cut(head)
        entry = self._entries.get((cut, trusted))
        return (entry, cookie) if entry is not None and _is_plain(values) else None

    def keep(self, head: bytes, entry: HeadEntry, *, trusted: bool) -> None:
        """Cache the entry, unless its route depended on a fact outside of the key."""
        if entry.route.reads & ~KEY_FACTS:
            return
        cut, _, _ = _cut(head)  # of a plain head
        if len(cut) > _MAX_BYTES:
            return
        if len(self._entries) >= _MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[cut, trusted] = entry


def _cut(head: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The head without the varying values, these values, and the last cookie."""
    parts = _VARIES.split(head)  # text before a field, its name, its value, and so on
    values, cookie = parts[2::3], b""
    for at in range(1, len(parts), 3):
        if parts[at][_COOKIE_AT] in b"Cc":
            cookie = parts[at + 1]
    del parts[2::3]
    return b"".join(parts), values, cookie


def _is_plain(values: Sequence[bytes]) -> bool:
    """Whether every value is allowed in a plain head."""
    for value in values:
        if value.translate(None, _IN_VALUES) or value.strip(b"\t ") != value:
            return False
    return True
