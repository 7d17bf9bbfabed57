"""Speaks HTTP to a gate on behalf of many visitors, and says what it answered.

Rules. Few keep-alive connections carry everybody, so tokens are put on and taken off by hand and
never by a cookie jar. Every request has a time-out, and a failure is a value: a crowd goes on when
one request is lost. Bodies are read up to a limit, redirects are not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

import aiohttp
from yarl import URL

from gatekeeper.demo.claims import TICKET, Claims, claims_of
from gatekeeper.demo.plan import CrowdPlan
from gatekeeper.errors import GatekeeperError

QUEUE_TOKEN = "X-Queue-Token"  # noqa: S105  a header's name
_PREFIX = "/.gatekeeper/"
_MOST_BODY_BYTES = 256 * 1024
_GREETING_TIMEOUT_S = 5.0
_FALLBACK_REFRESH_S = 5.0
_PAGE_POSITION = re.compile(rb'data-position="(\d+)"')


class Said(Enum):
    """What an answer means to the visitor."""

    WAITING = auto()
    ADMITTED = auto()
    NOTHING = auto()  # no place and no pass
    THROUGH = auto()  # the origin itself answered
    FAILED = auto()  # refused, timed out, an error of the gate's or the origin's


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it travels: in the cookie of that name, or in a header when there is none."""

    raw: str
    cookie: str = ""

    @property
    def headers(self) -> dict[str, str]:
        if self.cookie:
            return {"Cookie": f"{self.cookie}={self.raw}"}
        return {QUEUE_TOKEN: self.raw}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `token` is a new one that came with it."""

    said: Said
    token: Token | None = None
    claims: Claims | None = None
    position: int | None = None
    eta_s: float | None = None
    refresh_s: float = _FALLBACK_REFRESH_S
    rate_per_minute: float | None = None
    failure: str = ""


class Wire:
    """The connections of one crowd to one gate."""

    def __init__(self, plan: CrowdPlan) -> None:
        self._base = plan.url.rstrip("/")
        self._room = "" if plan.room == "default" else f"?room={plan.room}"
        self._urls: dict[str, URL] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=plan.connections, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=plan.request_timeout_s),
            headers={"Accept-Encoding": "identity", "User-Agent": "gatekeeper-crowd"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def greet(self) -> None:
        """Raise GatekeeperError unless a gate answers."""
        timeout = aiohttp.ClientTimeout(total=_GREETING_TIMEOUT_S)
        try:
            async with self._session.get(self._url(_PREFIX + "health"), timeout=timeout) as answer:
                if answer.status == 200:
                    return
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise GatekeeperError(f"no gate answers at {self._base}; is it running?") from error
        raise GatekeeperError(f"{self._base} is no gate: {_PREFIX}health answers {status}")

    # What a visitor can ask.

    async def enqueue(self) -> Answer:
        return await self._ask("POST", f"{_PREFIX}enqueue{self._room}", None, {})

    async def navigate(self, path: str) -> Answer:
        """Open a page as a browser without a cookie does."""
        return await self._ask("GET", path, None, {"Accept": "text/html"})

    async def poll(self, token: Token) -> Answer:
        return await self._ask("GET", f"{_PREFIX}status{self._room}", token, {})

    async def visit(self, path: str, token: Token) -> Answer:
        """Ask the site for something; not as a navigation, so that `waiting` is told in JSON."""
        return await self._ask("GET", path, token, {"Accept": "*/*"})

    async def leave(self, token: Token) -> Answer:
        return await self._ask("POST", f"{_PREFIX}leave{self._room}", token, {})

    async def _ask(
        self, method: str, path: str, token: Token | None, headers: Mapping[str, str]
    ) -> Answer:
        if token is not None:
            headers = {**headers, **token.headers}
        try:
            async with self._session.request(
                method, self._url(path), headers=headers, allow_redirects=False
            ) as response:
                body = await _body_of(response)
        except TimeoutError:
            return Answer(Said.FAILED, failure="timed out")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(Said.FAILED, failure=_name_of(error))
        return _meaning(response, body, own=path.startswith(_PREFIX))

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._base + path)
        return url


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    """The body, cut at a limit; a connection with more on it is given up."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _MOST_BODY_BYTES:
            response.close()
            break
    return b"".join(parts)


def _name_of(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection refused"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "connection lost"
    return type(error).__name__


def _meaning(response: aiohttp.ClientResponse, body: bytes, *, own: bool) -> Answer:
    told = _json_of(response, body)
    token = _token_of(response, told)
    claims = claims_of(token.raw) if token else None
    match told.get("state"):
        case "waiting" if "position" in told:
            position = _number(told["position"])
            return Answer(
                Said.WAITING,
                token=token,
                claims=claims,
                position=None if position is None else int(position),
                eta_s=_number(told.get("eta_seconds")),
                refresh_s=_number(told.get("refresh_seconds")) or _FALLBACK_REFRESH_S,
                rate_per_minute=_number(told.get("rate_per_minute")),
            )
        case "admitted" if own:
            return Answer(Said.ADMITTED, token=token, claims=claims)
        case "none" if own:
            return Answer(Said.NOTHING)
    if claims is not None and claims.kind == TICKET:
        return _waiting_page(response, body, token, claims)
    by_gate = "noindex" in response.headers.get("X-Robots-Tag", "") and response.status >= 400
    if own or by_gate or response.status >= 500:
        return Answer(Said.FAILED, failure=f"status {response.status}")
    return Answer(Said.THROUGH, token=token, claims=claims)


def _waiting_page(
    response: aiohttp.ClientResponse, body: bytes, token: Token | None, claims: Claims
) -> Answer:
    """A ticket came, with a page for people: where they stand is in it, when to ask beside it."""
    position = _PAGE_POSITION.search(body)
    retry_after = response.headers.get("Retry-After", "")
    return Answer(
        Said.WAITING,
        token=token,
        claims=claims,
        position=int(position[1]) if position else None,
        refresh_s=float(retry_after) if retry_after.isdecimal() else _FALLBACK_REFRESH_S,
    )


def _token_of(response: aiohttp.ClientResponse, told: Mapping[str, Any]) -> Token | None:
    by_header = response.headers.get(QUEUE_TOKEN) or told.get("token")
    if isinstance(by_header, str):
        return Token(by_header)
    for cookie in response.headers.getall("Set-Cookie", ()):
        name, _, value = cookie.partition(";")[0].partition("=")
        if claims_of(value) is not None:  # whatever the gate calls its cookie
            return Token(value, name.strip())
    return None


def _json_of(response: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
    if not body.startswith(b"{") or "json" not in response.content_type:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
