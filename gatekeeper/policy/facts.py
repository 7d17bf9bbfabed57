"""The facts of a request, before any decision about it.

Rules. Pure data. Two adapters produce it, one from aiohttp's request and one from the raw head of
the fast path (`gatekeeper.web.facts_reader`); behind `RequestFacts` both are the same.
Repeated fields are joined as lists (RFC 9110 section 5.3), except for cookies and tokens, which are
kept separate. If one value is expected, several different ones are treated strictly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

# RFC 3986 section 3.2.2 without percent-encoding and sub-delimiters, which hosts in use do not
# have.
HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# RFC 9112 section 3.2.1: path and query of a request, without a fragment.
TARGET = re.compile(r"/[!\x22\x24-\x7e]*")

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_AUTHORITY = re.compile(r"[A-Za-z]+://[^/?#]*")  # of a target in absolute-form
_MAX_MEMBERS = 100  # read of a list; a browser sends ten
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_REFUSED = re.compile(r"(?:^|;)[ \t]*q=0(?:\.0{0,3})?[ \t]*(?:;|$)", re.IGNORECASE)


class Fact:
    """The facts that a rule or a room can read, and that a cache key can contain; sets of them are
    integers (operations of `enum.Flag` cost more than evaluating a whole rule)."""

    NONE: Final = 0
    CLIENT: Final = 1  # the client's address
    SCHEME: Final = 2
    HOST: Final = 4
    METHOD: Final = 8
    TARGET: Final = 16  # path and query
    FIELDS: Final = 32  # any field but Cookie
    COOKIES: Final = 64


FactSet = int  # of `Fact`s, joined by |

# Fields that are separate facts, and that a cache may leave out of its key.
_FACTS_OF_FIELDS = {"cookie": Fact.COOKIES, "x-forwarded-for": Fact.CLIENT}


def facts_of_field(name: str) -> FactSet:
    """The facts that a rule reads with the field `name`."""
    return Fact.FIELDS | _FACTS_OF_FIELDS.get(name.lower().replace("_", "-"), Fact.NONE)


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request, as `gatekeeper.proxy.client_address.client_of` determines it.

    `host` is the request's own Host, "" if it has none. It selects the room and is forwarded to the
    origin. `forwarded_host` comes from a trusted proxy and is forwarded only: many proxies copy the
    client's own value, so a client could select its room with it.
    """

    address: str
    scheme: str
    host: str
    forwarded_host: str = ""
    is_proxied: bool = False  # the peer is a trusted proxy, whose fields about the client count


FieldLookup = Callable[[str], Sequence[str]]


def no_fields(_name: str) -> Sequence[str]:
    """The lookup of a request without further fields."""
    return ()


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """One request. `target` is in origin-form, unchanged except that bytes beyond ASCII are
    percent-encoded. `fields` returns the values of any field except Cookie by its name, in any
    letter case; `underscored` those of names with `_` for `-`, which some origins treat as equal. A
    plain head has no such name."""

    client: Client
    method: str
    target: str
    accept: str = ""
    accept_encoding: str = ""
    accept_language: str = ""
    cookies: tuple[str, ...] = ()  # the values of the Cookie fields
    queue_tokens: tuple[str, ...] = ()  # the values of X-Queue-Token, a bounded number
    page_tickets: tuple[str, ...] = ()  # the values of X-Queue-Ticket, likewise
    has_body: bool = False
    is_htmx: bool = False  # sent by htmx, which cannot show a whole page in place of a part
    fields: FieldLookup = no_fields
    underscored: FieldLookup = no_fields

    @property
    def is_secure(self) -> bool:
        """Whether the visitor's connection is encrypted."""
        return self.client.scheme == "https"

    @property
    def accepts_html(self) -> bool:
        """Whether the client accepts HTML explicitly, so that a person reads it; for any method."""
        return not _HTML.isdisjoint(_media_types(self.accept))

    def accepts(self, media_type: str) -> bool:
        """Whether this media type is accepted explicitly, not by a wildcard."""
        return media_type in _media_types(self.accept)

    @property
    def accepts_gzip(self) -> bool:
        for coding in members_of(self.accept_encoding):
            name, _, quality = coding.partition(";")
            if name.strip().lower() == "gzip":
                return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        return False


def origin_form(target: str) -> str:
    """Path and query of the request target. A byte beyond ASCII, which the origin receives
    unchanged, is percent-encoded here: every reading of a path or a query decodes it, together with
    its neighbours."""
    if not target.isascii():
        target = _BEYOND_ASCII.sub(_percent_encoded, target)
    authority = _AUTHORITY.match(target)
    if authority is None:
        return target
    # RFC 9112 section 3.2.2: without a path it is "/", and a query may follow at once.
    rest = target[authority.end() :]
    return rest if rest.startswith("/") else "/" + rest


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape")])


def members_of(value: str) -> list[str]:
    """The members of a field that is a list (RFC 9110 section 5.6.1), up to `_MAX_MEMBERS`."""
    return value.split(",", _MAX_MEMBERS)[:_MAX_MEMBERS]


@lru_cache(maxsize=256)  # cached: browsers send few values
def _media_types(accept: str) -> frozenset[str]:
    """The accepted media types; weight 0 refuses a type (RFC 9110 section 12.4.2)."""
    members = [member.partition(";") for member in members_of(accept)]
    return frozenset(
        name.strip().lower()
        for name, _, parameters in members
        if not parameters or _REFUSED.search(parameters) is None
    )
