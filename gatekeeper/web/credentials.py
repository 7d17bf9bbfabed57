"""How a token is carried: in a cookie of its room, or in `X-Queue-Token` for apps without cookies.

Rules. A renewed token returns the way it came, by header or cookie. A request can carry several
tokens: restored tabs, whose pages send their own in `X-Queue-Ticket`, cookies for several domains,
or a field that came twice. A pass takes precedence over tickets: the one in the header, else that
of the session that ends last, so that an expiring session never replaces it. Of several tickets the
one with the earliest arrival counts; then the response sets the cookie, and returns the ticket in
the header that carried one; a page's script never receives a pass. A pass that expired counts first
if the store holds its slot (`token_choice`). Behind TLS the cookie has `Secure` and the name prefix
`__Host-` (`__Secure-` with a Domain), so that no page over plain HTTP, and with `__Host-` no
sibling host, can plant one (RFC 6265bis section 4.1.3). A cookie lasts as long as its token can be
valid: a pass until the absolute end of its session. The `Cookie` field is searched, not parsed,
since this is done for every request; `Tokens.read` refuses a value that is not a token.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gatekeeper.config.schema import TokensConfig
from gatekeeper.config.types import DEFAULT_ROOM, RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.tokens import Pass, Ticket, Token, Tokens, VisitorId
from gatekeeper.record import record
from gatekeeper.web.message import PAGE_TICKET, QUEUE_TOKEN, Headers

_HOST, _SECURE = _PREFIXES = ("__Host-", "__Secure-")


@record
class PresentedToken:
    """The effective token of a request, whether only a header carried it, and the tickets of other
    visitors in the request, the earliest arrival first. `ended`: passes other than `token` that
    expired or were revoked, if no pass is certainly valid."""

    token: Token | None
    by_header: bool = False
    others: tuple[Ticket, ...] = ()
    senders: tuple[str, ...] = ()  # the headers that carried a valid token
    ended: tuple[Pass, ...] = ()
    is_app: bool = False  # by header, without a cookie, and never gets one

    @property
    def pass_(self) -> Pass | None:
        """The pass of the request, if any."""
        passes = (self.token, *self.ended)
        return next((each for each in passes if isinstance(each, Pass)), None)

    @property
    def is_several(self) -> bool:
        """Whether another token may be effective instead of `token`."""
        return bool(self.others or self.ended)


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
        return _SECURE if self.domain else _HOST

    def attributes(self, host: str, *, secure: bool) -> str:
        """The attributes after Max-Age, for a response of `host`. Without TLS a browser refuses
        SameSite=None, so it is Lax there."""
        same_site = {"lax": "Lax", "strict": "Strict"}.get(self.same_site, "None")
        if not secure and same_site == "None":
            same_site = "Lax"
        name = host.partition(":")[0].lower()  # with a trailing dot it is another host
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
        self.plain_name = plain = cookie_name(cookie, room)
        self._names = {
            secure: self._policy.prefix(secure=secure) + plain for secure in (True, False)
        }
        # Without a domain they are the same for every host.
        self._attributes = {
            secure: self._policy.attributes("", secure=secure)
            for secure in ((True, False) if not self._policy.domain else ())
        }
        self._starts = {secure: f"{name}=" for secure, name in self._names.items()}
        self._patterns = {secure: _value_of(name) for secure, name in self._names.items()}
        # Older names behind TLS: with the prefix before a change of cookie_domain, and without
        # prefix, as set over HTTP.
        self._other_patterns = [
            _value_of(prefix + plain)
            for prefix in (*_PREFIXES, "")
            if prefix != self._policy.prefix(secure=True)
        ]

    def read(
        self,
        facts: RequestFacts,
        *,
        now_s: float,
        revoked: Container[VisitorId] = frozenset(),
    ) -> PresentedToken:
        """The token of a request. A stale, revoked or empty header never outranks a valid cookie,
        and the ticket of a page counts only together with a cookie."""
        cookies = "; ".join(facts.cookies)
        if not facts.queue_tokens and not facts.page_tickets:
            return self.read_cookie(cookies, secure=facts.is_secure, now_s=now_s, revoked=revoked)
        stored = self._stored(cookies, secure=facts.is_secure, now_s=now_s, revoked=revoked)
        by_app = self._valid(facts.queue_tokens, now_s=now_s)
        by_page = self._valid(facts.page_tickets, now_s=now_s) if stored else []
        tickets = [token for token in by_page if isinstance(token, Ticket)]
        sent = ((QUEUE_TOKEN, by_app), (PAGE_TICKET, tickets))
        passes = [
            token
            for token in by_app
            if isinstance(token, Pass) and _counts(token, now_s=now_s, revoked=revoked)
        ]
        found = _chosen(passes or [*by_app, *tickets, *stored], now_s=now_s, revoked=revoked)
        by_header = is_app = bool(facts.queue_tokens) and not stored
        if by_app and found.token is not None:
            holder = found.token.visitor
            by_header = all(each.visitor != holder for each in stored)
        senders = tuple(name for name, tokens in sent if tokens)
        return replace(found, by_header=by_header, senders=senders, is_app=is_app)

    def read_cookie(
        self,
        cookies: str,
        *,
        secure: bool,
        now_s: float,
        revoked: Container[VisitorId] = frozenset(),
    ) -> PresentedToken:
        """The token in the value of a `Cookie` field. A name may come several times there, for
        other paths or domains, or planted by a sibling host. All of them are tried: a field of
        16 KB holds about 50 tokens."""
        before, _, after = cookies.partition(self._starts[secure])
        if (not before or before.endswith("; ")) and self._starts[secure] not in after:
            # The usual case: the name occurs once, in the format of browsers.
            token = self._tokens.read(after.partition(";")[0], now_s=now_s)
            if token is not None and not (secure and _has_ended(token, now_s, revoked)):
                return PresentedToken(token)
        tokens = self._stored(cookies, secure=secure, now_s=now_s, revoked=revoked)
        return _chosen(tokens, now_s=now_s, revoked=revoked)

    def _stored(
        self, cookies: str, *, secure: bool, now_s: float, revoked: Container[VisitorId]
    ) -> list[Token]:
        """The valid tokens in a `Cookie` field."""
        tokens = self._valid(self._patterns[secure].findall(cookies), now_s=now_s)
        if secure and all(_has_ended(each, now_s, revoked) for each in tokens):
            # The place or session of a visitor who came over HTTP before. Any page over plain HTTP
            # can plant such a cookie, so it counts only if no other does.
            for pattern in self._other_patterns:
                others = self._valid(pattern.findall(cookies), now_s=now_s)
                if others:
                    return tokens + others
        return tokens

    def _valid(self, values: Iterable[str], *, now_s: float) -> list[Token]:
        read, tokens = self._tokens.read, []
        for value in values:
            token = read(value, now_s=now_s)
            if token is not None:
                tokens.append(token)
        return tokens

    def mint(self, token: Token) -> str:
        return self._tokens.mint(token)

    def headers(
        self,
        token: Token | None,
        *,
        facts: RequestFacts,
        held: PresentedToken,
        now_s: float,
        minted: str = "",
    ) -> Headers:
        """The response headers that give `token` to a visitor who sent `held`; None deletes the
        held one. `minted`: the signed text of `token`, if it exists already."""
        if token is not None and not minted:
            minted = self._tokens.mint(token)
        if held.is_app or (held.by_header and not held.is_several):
            return ((QUEUE_TOKEN, minted),) if minted else ()
        secure = facts.is_secure
        life_s = 0
        if token is not None:
            ends_at_s = token.ends_at_s if isinstance(token, Pass) else token.expires_at_s
            life_s = max(int(ends_at_s - now_s), 1)
        attributes = self._attributes.get(secure)
        if attributes is None:
            attributes = self._policy.attributes(facts.client.host, secure=secure)
        cookie = f"{self._names[secure]}={minted}; Max-Age={life_s}{attributes}"
        senders = held.senders if held.is_several and minted else ()
        if isinstance(token, Pass):  # never in a page, whose scripts could read it
            senders = tuple(name for name in senders if name != PAGE_TICKET)
        return (("Set-Cookie", cookie), *[(name, minted) for name in senders])


def _chosen(
    tokens: Sequence[Token], *, now_s: float, revoked: Container[VisitorId]
) -> PresentedToken:
    """The effective token of a request: a pass, then the ticket with the earliest arrival, a
    confirmed one first, then a pass that expired or was revoked. The arrival also counts for drawn
    turns: of several places in one browser the first is effective, not the one with the best turn.
    """
    tickets: dict[VisitorId, Ticket] = {}
    valid: Pass | None = None
    ended: dict[VisitorId, Pass] = {}
    for token in tokens:
        if isinstance(token, Ticket):
            known = tickets.get(token.visitor)
            if known is None or _newness(token) > _newness(known):
                tickets[token.visitor] = token
        elif not _counts(token, now_s=now_s, revoked=revoked):
            ended.setdefault(token.visitor, token)
        elif valid is None or _end(token) > _end(valid):
            valid = token
    if valid is not None:
        return PresentedToken(valid)
    passes = tuple(ended.values())
    if not tickets:
        return PresentedToken(passes[0] if passes else None, ended=passes[1:])
    first, *others = sorted(
        tickets.values(), key=lambda each: (not each.confirmed, each.arrival_us, each.visitor)
    )
    return PresentedToken(first, others=tuple(others), ended=passes)


def _has_ended(token: Token, now_s: float, revoked: Container[VisitorId]) -> bool:
    return isinstance(token, Pass) and not _counts(token, now_s=now_s, revoked=revoked)


def _counts(pass_: Pass, *, now_s: float, revoked: Container[VisitorId]) -> bool:
    return now_s < pass_.expires_at_s and pass_.visitor not in revoked


def _newness(ticket: Ticket) -> tuple[bool, float, float]:
    return ticket.confirmed, ticket.issued_at_s, ticket.expires_at_s


def _end(pass_: Pass) -> tuple[float, float]:
    return pass_.ends_at_s, pass_.expires_at_s


def cookie_name(cookie: str, room: RoomName) -> str:
    """`gatekeeper` for the default room, `gatekeeper-<room>` for another."""
    return cookie if room == DEFAULT_ROOM else f"{cookie}-{room}"


def all_cookie_names(cookie: str, rooms: Iterable[RoomName]) -> frozenset[str]:
    """Every name that a cookie of the gate can have; none of them is forwarded to the origin."""
    plain = {cookie_name(cookie, room) for room in rooms}
    return frozenset(prefix + name for name in plain for prefix in ("", *_PREFIXES))


def _value_of(name: str) -> re.Pattern[str]:
    """A finder of the values of the cookie `name`, with or without quotes."""
    return re.compile(rf'(?:^|;)[ \t]*{re.escape(name)}="?([A-Za-z0-9_.-]+)')
