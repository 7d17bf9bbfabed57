"""How a token travels: in a cookie of its room, or in `X-Queue-Token` for apps without cookies.

Rules. A valid header wins over the cookie, and a renewed token returns the way it came. Behind TLS
the cookie has `Secure` and the name prefix `__Host-` (`__Secure-` with a Domain), so that no
plain-text page, and with `__Host-` no sibling host, can plant one (RFC 6265bis section 4.1.3). The
`Cookie` field is searched, not parsed, since this is done for every request; `Tokens.read` refuses
a value that is no token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gatekeeper.config.schema import DEFAULT_ROOM, TokensConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.tokens import Ticket, Token, Tokens
from gatekeeper.web.message import QUEUE_TOKEN, Headers


class PresentedToken(NamedTuple):
    """The token a request came with, and whether by header."""

    token: Token | None
    by_header: bool


@dataclass(frozen=True, slots=True)
class CookiePolicy:
    """The attributes of the gate's cookies, as in [tokens]."""

    same_site: Literal["auto", "lax", "strict", "none"] = "auto"
    partitioned: bool = False
    domain: str = ""

    @classmethod
    def of(cls, tokens: TokensConfig) -> CookiePolicy:
        return cls(tokens.same_site, tokens.partitioned, tokens.cookie_domain)

    def prefix(self, *, secure: bool) -> str:
        """The prefix of a cookie's name (RFC 6265bis section 4.1.3): `__Host-` allows no Domain."""
        if not secure:
            return ""
        return "__Secure-" if self.domain else "__Host-"

    def attributes(self, host: str, *, secure: bool) -> str:
        """The attributes after Max-Age, for a response of `host`. Without TLS a browser refuses
        SameSite=None, so it is Lax there."""
        same_site = {"lax": "Lax", "strict": "Strict"}.get(self.same_site, "None")
        if not secure and same_site == "None":
            same_site = "Lax"
        name = host.partition(":")[0].lower().rstrip(".")
        is_within = name == self.domain or name.endswith("." + self.domain)
        domain = f"; Domain={self.domain}" if self.domain and is_within else ""
        encrypted = "; Secure" + ("; Partitioned" if self.partitioned else "") if secure else ""
        return f"{domain}; Path=/; HttpOnly; SameSite={same_site}{encrypted}"


class Credentials:
    """The cookie of one room."""

    def __init__(
        self, tokens: Tokens, *, cookie: str, room: RoomName, policy: CookiePolicy | None = None
    ) -> None:
        self._tokens = tokens
        self._policy = policy or CookiePolicy()
        plain = cookie_name(cookie, room)
        self._names = {
            secure: self._policy.prefix(secure=secure) + plain for secure in (True, False)
        }
        self._patterns = {secure: _value_of(name) for secure, name in self._names.items()}

    def read(self, facts: RequestFacts, *, now_s: float) -> PresentedToken:
        """The token of a request, from the header or the cookie. A header without a valid token
        never outranks a cookie with one."""
        by_header = facts.queue_token is not None
        token = self._tokens.read(facts.queue_token, now_s=now_s)
        if token is not None:
            return PresentedToken(token, by_header=True)
        for cookies in facts.cookies:
            token = self.read_cookie(cookies, secure=facts.is_secure, now_s=now_s)
            if token is not None:
                return PresentedToken(token, by_header=False)
        return PresentedToken(None, by_header)

    def read_cookie(self, cookies: str, *, secure: bool, now_s: float) -> Token | None:
        """The first valid token in the value of a `Cookie` field. A name may come several times
        there, for other paths or domains, or planted by a sibling host. All of them are tried: a
        field of 16 KB holds about 50 tokens."""
        for value in self._patterns[secure].findall(cookies):
            token = self._tokens.read(value, now_s=now_s)
            if token is not None:
                return token
        return self._ticket_from_http(cookies, now_s=now_s) if secure else None

    def _ticket_from_http(self, cookies: str, *, now_s: float) -> Ticket | None:
        """The place of a visitor who came by http before. A pass has to come by TLS: any plain-text
        page can plant a cookie without the prefix."""
        for value in self._patterns[False].findall(cookies):
            token = self._tokens.read(value, now_s=now_s)
            if isinstance(token, Ticket):
                return token
        return None

    def mint(self, token: Token) -> str:
        return self._tokens.mint(token)

    def headers(
        self, token: Token | None, *, facts: RequestFacts, by_header: bool, now_s: float
    ) -> Headers:
        """The response headers that set `token`; None takes back the held one."""
        if by_header:
            return ((QUEUE_TOKEN, self._tokens.mint(token)),) if token is not None else ()
        secure = facts.is_secure
        value, life_s = "", 0
        if token is not None:
            value, life_s = self._tokens.mint(token), max(int(token.expires_at_s - now_s), 1)
        attributes = self._policy.attributes(facts.client.host, secure=secure)
        return (("Set-Cookie", f"{self._names[secure]}={value}; Max-Age={life_s}{attributes}"),)


def cookie_name(cookie: str, room: RoomName) -> str:
    """`gatekeeper` for the default room, `gatekeeper-<room>` for another."""
    return cookie if room == DEFAULT_ROOM else f"{cookie}-{room}"


def all_cookie_names(cookie: str, rooms: Iterable[RoomName]) -> frozenset[str]:
    """Every name that a cookie of the gate can have; none of them is forwarded to the origin."""
    plain = {cookie_name(cookie, room) for room in rooms}
    return frozenset(prefix + name for name in plain for prefix in ("", "__Host-", "__Secure-"))


def _value_of(name: str) -> re.Pattern[str]:
    """Finds the values of the cookie `name`, with or without quotes."""
    return re.compile(rf'(?:^|;)[ \t]*{re.escape(name)}="?([A-Za-z0-9_.-]+)')
