"""A cache of forward-auth checks that were allowed at once, keyed by everything except the address.

Rules. A browser's checks differ only in the original address. So a check is cached under its peer
and the bytes of its head without that address: this key contains every other fact. It is allowed
again if the address has the same route, and the pass still needs neither a new token nor a store
call. No rule or room depends on an ordinary address of a GET or HEAD (`Router.deciding_prefixes`),
so all of these have one route; for others the route is computed. Everything else runs the whole
pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from gatekeeper import metrics
from gatekeeper.policy.facts import Fact, RequestFacts, no_fields
from gatekeeper.policy.invitation_address import line_may_hold_invitation
from gatekeeper.policy.routing import Route, Router, rule_of
from gatekeeper.proxy.plain_head import TARGET
from gatekeeper.web.message import GateResponse

_IN_PATH: Final = re.compile(rb"GET /\.gatekeeper/auth(/[^ ]*) HTTP/1\.1\r\n")
_IN_FIELD: Final = re.compile(rb"\r\nx-forwarded-uri: ([^\r\n]*)(?=\r\n)", re.IGNORECASE)
_BEGINNING: Final = b"GET /.gatekeeper/auth"
_PAGE: Final = b"GET /.gatekeeper/auth?page"
_OTHER_FORM: Final = re.compile(rb"\r\nx-original-", re.IGNORECASE)
_OWN: Final = b"/.gatekeeper/"
_SAFE: Final = frozenset({"GET", "HEAD"})
_MAX_ENTRIES: Final = 4096
_MAX_BYTES: Final = 3072


class KnownCheck(NamedTuple):
    """An allowed check. `facts` are of the original request; `passes()`: whether the pipeline would
    still allow it without a new token; `is_ordinary`: its address was ordinary."""

    response: GateResponse
    room: str
    route: Route
    passes: Callable[[], bool]
    facts: RequestFacts
    is_ordinary: bool = False


class CheckCache:
    """The checks of the most recent visitors."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._entries: dict[tuple[str, bytes], KnownCheck] = {}
        prefixes = b"|".join(re.escape(each.encode()) for each in router.deciding_prefixes)
        excluded = rb"(?!%b)" % prefixes if prefixes else b""
        self._match_ordinary = re.compile(excluded + TARGET).fullmatch
        self._match_target = re.compile(TARGET).fullmatch
        # Else an entry would keep its fields in memory.
        self._can_look_up = not router.reads & Fact.FIELDS

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, head: bytes, peer: str) -> KnownCheck | None:
        """The entry of a check that is still allowed; it is counted."""
        if not head.startswith(_BEGINNING):
            return None
        address, rest = _cut(head)
        known = self._entries.get((peer, rest))
        if known is None or address.startswith(_OWN) or line_may_hold_invitation(address):
            return None
        is_ordinary = known.is_ordinary and self._match_ordinary(address) is not None
        if not is_ordinary and not self._has_same_route(known, address):
            return None
        if not known.passes():
            return None
        metrics.own_responses.count(known.room, "allowed")
        rule = rule_of(known.route)
        if rule is not None:
            metrics.by_rule.count(rule)
        return known

    def keep(self, head: bytes, peer: str, known: KnownCheck) -> None:
        """Keep a check, unless its head also has another form of the address."""
        address, rest = _cut(head)
        if not rest or len(rest) > _MAX_BYTES or _OTHER_FORM.search(head) is not None:
            return
        if head.startswith(_PAGE):  # this address requests no page, but another may
            return
        if len(self._entries) >= _MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        facts = replace(known.facts, fields=no_fields, underscored=no_fields)
        is_ordinary = facts.method in _SAFE and self._match_ordinary(address) is not None
        self._entries[peer, rest] = known._replace(facts=facts, is_ordinary=is_ordinary)

    def _has_same_route(self, known: KnownCheck, address: bytes) -> bool:
        if not self._can_look_up or self._match_target(address) is None:
            return False
        return self._router.route(known.facts, target=address.decode("ascii")) == known.route


def _cut(head: bytes) -> tuple[bytes, bytes]:
    """The original address, and the head with a NUL in its place, which no plain head contains;
    both empty unless the address occurs exactly once."""
    in_path = _IN_PATH.match(head)
    if in_path is not None:
        return in_path[1], b"\0" + head[in_path.end() :]
    parts = _IN_FIELD.split(head, maxsplit=2)
    return (parts[1], b"\0".join([parts[0], parts[2]])) if len(parts) == 3 else (b"", b"")
