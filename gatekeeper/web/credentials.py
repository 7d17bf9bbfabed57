"""How a token travels: in a cookie of its room, or in `X-Queue-Token` for apps without cookies.

Rules. The header wins over the cookie, and a renewed token returns the way it came. Behind TLS the
cookie has the name prefix `__Host-` and `Secure`, so that no sibling host and no plain-text page can plant
one (RFC 6265bis section 4.1.3). The `Cookie` field is searched, not parsed, since this is done for every
request; `Tokens.read` refuses a value that is no token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from gatekeeper.config.schema import DEFAULT_ROOM
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.tokens import Token, Tokens
from gatekeeper.web.message import QUEUE_TOKEN

_HOST_PREFIX = "__Host-"


class Held(NamedTuple):
    """The token a request came with, and whether by header."""

    token: Token | None
    by_header: bool


class Credentials:
    """The cookie of one room."""

    def __init__(self, tokens: Tokens, *, cookie: str, room: RoomName) -> None:
        self._tokens = tokens
        self._plain = cookie_name(cookie, room)
        self._secure = _HOST_PREFIX + self._plain
        self._plain_pattern = _value_of(self._plain)
        self._secure_pattern = _value_of(self._secure)

    def read(self, facts: RequestFacts, *, now_s: float) -> Held:
        """The token of a request, from the header or the cookie. A header without a valid token never
        outranks a cookie with one."""
        by_header = facts.queue_token is not None
        token = self._tokens.read(facts.queue_token, now_s=now_s)
        if token is not None:
            return Held(token, by_header=True)
        for cookies in facts.cookies:
            token = self.read_cookie(cookies, secure=facts.is_secure, now_s=now_s)
            if token is not None:
                return Held(token, by_header=False)
        return Held(None, by_header)

    def read_cookie(self, cookies: str, *, secure: bool, now_s: float) -> Token | None:
        """The first valid token in the value of a `Cookie` field. A name may come several times
        there, for other paths or domains, or planted by a sibling host. All of them are tried: a
        field of 16 KB holds about 50 tokens."""
        pattern = self._secure_pattern if secure else self._plain_pattern
        for value in pattern.findall(cookies):
            token = self._tokens.read(value, now_s=now_s)
            if token is not None:
                return token
        return None

    def mint(self, token: Token) -> str:
        return self._tokens.mint(token)

    def headers(
        self, token: Token | None, *, by_header: bool, secure: bool, now_s: float
    ) -> tuple[tuple[str, str], ...]:
        """The response headers that set `token`; None takes back the held one."""
        if by_header:
            return ((QUEUE_TOKEN, self._tokens.mint(token)),) if token is not None else ()
        name = self._secure if secure else self._plain
        value, life_s = "", 0
        if token is not None:
            value, life_s = self._tokens.mint(token), max(int(token.expires_at_s - now_s), 1)
        attributes = f"; Max-Age={life_s}; Path=/; HttpOnly; SameSite=Lax"
        return (("Set-Cookie", f"{name}={value}{attributes}{'; Secure' if secure else ''}"),)


def cookie_name(cookie: str, room: RoomName) -> str:
    """`gatekeeper` for the default room, `gatekeeper-<room>` for another."""
    return cookie if room == DEFAULT_ROOM else f"{cookie}-{room}"


def all_cookie_names(cookie: str, rooms: Iterable[RoomName]) -> frozenset[str]:
    """Every name that a cookie of the gate can have; none of them is forwarded to the origin."""
    plain = {cookie_name(cookie, room) for room in rooms}
    return frozenset(plain | {_HOST_PREFIX + name for name in plain})


def _value_of(name: str) -> re.Pattern[str]:
    """Finds the values of the cookie `name`, with or without quotes."""
    return re.compile(rf'(?:^|;)[ \t]*{re.escape(name)}="?([A-Za-z0-9_.-]+)')
