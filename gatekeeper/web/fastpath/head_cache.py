"""Known heads whose response is the gate's own, by everything in them but what differs by visitor.

Rules. Waiting visitors send the same head again and again: between two polls of a browser, and
between browsers of one kind, only the cookie changes, and the address that a proxy adds. So the
entry of a head is kept under its bytes without these values. What was cut out is held to the
grammar of `plain_head`, so that the whole head is plain if the kept one was. The token, its holder
and the decision are looked at for each request. A head is kept only if its route depended on
nothing that the key leaves out.
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

# Names that stand at the beginning of a line; values that are not empty.
_VARIES = re.compile(rb"(\r\n(?:(?i:cookie)|(?i:x-forwarded-for)): )([^\r]++)(?=\r\n)")
# What a value consists of, as in `plain_head`. A pattern takes four times as long for that.
_IN_VALUES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_COOKIE_AT = slice(2, 3)  # where the two names differ
_MAX_ENTRIES = 4096
_MAX_BYTES = 2048
# Cut from the key: cookies, and the address that a proxy or the edge adds. The key has no peer
# either. Where `X-Forwarded-*` count, the key has those that say how the visitor is connected. By
# `facts_of_field`, a rule on one of the fields that are cut reads a fact that is not among these.
KEY_FACTS: Final = Fact.SCHEME | Fact.HOST | Fact.METHOD | Fact.TARGET | Fact.FIELDS


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """A plain GET that is for the gate itself, whichever visitor sends it."""

    facts: RequestFacts  # without cookies and fields
    route: Route
    gate: RoomGate
    keep_alive: bool
    is_status: bool  # else it is for a page of the site
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
    """The entries seen last, apart for peers that write `X-Forwarded-*` and those that do not."""

    def __init__(self) -> None:
        self._entries: dict[tuple[bytes, bool], HeadEntry] = {}

    def recall(self, head: bytes, *, trusted: bool) -> tuple[HeadEntry, bytes] | None:
        """The entry of `head` and its cookie, if it is known."""
        cut, values, cookie = _cut(head)
        entry = self._entries.get((cut, trusted))
        return (entry, cookie) if entry is not None and _is_plain(values) else None

    def keep(self, head: bytes, entry: HeadEntry, *, trusted: bool) -> None:
        """Keep the entry, unless its route depended on a fact outside of the key."""
        if entry.route.reads & ~KEY_FACTS:
            return
        cut, _, _ = _cut(head)  # of a plain head
        if len(cut) > _MAX_BYTES:
            return
        if len(self._entries) >= _MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[cut, trusted] = entry


def _cut(head: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The head without the values that vary, these, and the last cookie."""
    parts = _VARIES.split(head)  # text before a field, its name, its value, and so on
    values, cookie = parts[2::3], b""
    for at in range(1, len(parts), 3):
        if parts[at][_COOKIE_AT] in b"Cc":
            cookie = parts[at + 1]
    del parts[2::3]
    return b"".join(parts), values, cookie


def _is_plain(values: Sequence[bytes]) -> bool:
    """Whether each is a value that a plain head can have."""
    for value in values:
        if value.translate(None, _IN_VALUES) or value.strip(b"\t ") != value:
            return False
    return True
