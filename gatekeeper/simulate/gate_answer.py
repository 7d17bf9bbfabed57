"""What an answer means to a visitor: where they stand, and the token that came with it.

Rules. No I/O. Nothing is believed that is not there: an answer that nobody can read is a failure,
and a number that is none is unknown.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from sys import intern
from typing import Any

from gatekeeper.simulate.connection import Reply
from gatekeeper.simulate.token_claims import TICKET, Claims, claims_of

QUEUE_TOKEN = "X-Queue-Token"  # noqa: S105  a header's name
_FALLBACK_REFRESH_S = 5.0
_MOST_PAGE_BYTES = 256 * 1024
_PAGE_POSITION = re.compile(rb'data-position="(\d+)"')
_GZIP = 16 + zlib.MAX_WBITS


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
    def header(self) -> str:
        """The line that carries it."""
        if self.cookie:
            return f"Cookie: {self.cookie}={self.raw}\r\n"
        return f"{QUEUE_TOKEN}: {self.raw}\r\n"


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


def meaning(reply: Reply | str, *, own: bool) -> Answer:
    """`own`: the gate itself was asked, and not for a page of the site."""
    if isinstance(reply, str):
        return Answer(Said.FAILED, failure=reply)
    headers, cookies = _headers_of(reply)
    told = _json_of(headers, reply.body)
    token = _token_of(headers, cookies, told)
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
        return _waiting_page(headers, reply.body, token, claims)
    status = reply.head.status
    by_gate = b"noindex" in headers.get(b"x-robots-tag", b"") and status >= 400
    if own or by_gate or status >= 500:
        return Answer(Said.FAILED, failure=f"status {status}")
    return Answer(Said.THROUGH, token=token, claims=claims)


def _headers_of(reply: Reply) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The last value of each field by its lower-case name, and every `Set-Cookie`."""
    headers: dict[bytes, bytes] = {}
    cookies: list[bytes] = []
    for name, line in reply.head.fields:
        value = line[len(name) + 1 :].strip()
        if name == b"set-cookie":
            cookies.append(value)
        else:
            headers[name] = value
    return headers, cookies


def _waiting_page(
    headers: Mapping[bytes, bytes], body: bytes, token: Token | None, claims: Claims
) -> Answer:
    """A ticket came, with a page for people: where they stand is in it, when to ask beside it."""
    if headers.get(b"content-encoding") == b"gzip":
        body = _unzipped(body)
    position = _PAGE_POSITION.search(body)
    retry_after = headers.get(b"retry-after", b"")
    return Answer(
        Said.WAITING,
        token=token,
        claims=claims,
        position=int(position[1]) if position else None,
        refresh_s=float(retry_after) if retry_after.isdigit() else _FALLBACK_REFRESH_S,
    )


def _unzipped(body: bytes) -> bytes:
    """As far as it can be read, and up to a limit."""
    try:
        return zlib.decompressobj(_GZIP).decompress(body, _MOST_PAGE_BYTES)
    except zlib.error:
        return b""


def _token_of(
    headers: Mapping[bytes, bytes], cookies: list[bytes], told: Mapping[str, Any]
) -> Token | None:
    given = headers.get(b"x-queue-token")
    by_header = told.get("token") if given is None else given.decode("latin-1")
    if isinstance(by_header, str):
        return Token(by_header)
    for cookie in cookies:
        name, _, value = cookie.decode("latin-1").partition(";")[0].partition("=")
        if claims_of(value) is not None:  # whatever the gate calls its cookie
            return Token(value, intern(name.strip()))
    return None


def _json_of(headers: Mapping[bytes, bytes], body: bytes) -> dict[str, Any]:
    if not body.startswith(b"{") or b"json" not in headers.get(b"content-type", b""):
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
