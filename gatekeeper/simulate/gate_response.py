"""Parses a response into its outcome for a visitor, with position and token.

Rules. No I/O. A response that cannot be parsed is a failure. A field that is not a number is
unknown.
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

from gatekeeper.simulate.connection import RawResponse
from gatekeeper.simulate.token_claims import TICKET, Claims, claims_of, is_same_visitor

QUEUE_TOKEN = "X-Queue-Token"  # noqa: S105  a header name
_DEFAULT_POLL_INTERVAL_S = 5.0
_MAX_WORD = 20
_MAX_PAGE_BYTES = 256 * 1024
_PAGE_POSITION = re.compile(rb'data-position="(\d+)"')
_GZIP = 16 + zlib.MAX_WBITS
_UNDRAWN = frozenset({"prequeue", "draw"})
_RECONNECTING = "reconnecting"


class Outcome(Enum):
    """The outcome of a response for the visitor."""

    WAITING = auto()
    ADMITTED = auto()
    NO_PLACE = auto()  # the visitor has neither a place nor a pass
    FORWARDED = auto()  # a response of the origin
    FAILED = auto()  # refused, timed out, or an error status


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its carrier: the cookie named `cookie`, or a header if that is empty."""

    raw: str
    cookie: str = ""

    @property
    def header(self) -> str:
        """The request field line that carries the token."""
        if self.cookie:
            return f"Cookie: {self.cookie}={self.raw}\r\n"
        return f"{QUEUE_TOKEN}: {self.raw}\r\n"


@dataclass(frozen=True, slots=True)
class ObservedResponse:
    """One parsed response; `token` is the token that it sets."""

    outcome: Outcome
    token: Token | None = None
    claims: Claims | None = None
    position: int | None = None
    queue_length: int | None = None
    eta_s: float | None = None
    poll_interval_s: float = _DEFAULT_POLL_INTERVAL_S
    rate_per_minute: float | None = None
    phase: str = ""
    reason: str = ""
    failure: str = ""
    challenge: Mapping[str, object] | None = None  # to be solved before the place counts
    reference: str = ""  # of the visitor that the response is about

    @property
    def has_place(self) -> bool:
        """Whether a waiting visitor is in line: at a position, or before a draw, which makes it."""
        is_undrawn = self.phase in _UNDRAWN and self.reason != _RECONNECTING
        return self.position is not None or is_undrawn

    @property
    def is_without_ticket(self) -> bool:
        """Whether an arrival returned no ticket and has to be repeated: the replica started while
        the store was unreachable, and does not know the store's clock."""
        is_waiting = self.outcome is Outcome.WAITING and self.token is None
        return is_waiting and self.reason == _RECONNECTING

    def takes_for_visitor(self, sent: Token | None) -> bool:
        """Whether the visitor of the forged token `sent` was accepted: the gate must set a new
        token, or name another visitor."""
        raw = sent.raw if sent else None
        return is_same_visitor(raw, self.claims, reference=self.reference)

    def accepts_ticket(self, sent: Token | None) -> bool:
        """Whether the gate accepted a poll with the invalid ticket `sent`."""
        if self.outcome is Outcome.WAITING:
            return self.takes_for_visitor(sent)
        return self.outcome is Outcome.ADMITTED

    def accepts_spent(self, sent: Token | None) -> bool:
        """Like `accepts_ticket`, for a spent ticket. A replica that cannot reach the store may not
        know that it is spent: it keeps the ticket, without a place, until the store recovers."""
        is_unknown = self.outcome is Outcome.WAITING and self.reason == _RECONNECTING
        return not (is_unknown and self.position is None) and self.accepts_ticket(sent)


def parse_gate_response(raw: RawResponse | str, *, own: bool) -> ObservedResponse:
    """Parse a response. `own`: the request was for an endpoint of the gate, not for the site."""
    if isinstance(raw, str):
        return ObservedResponse(Outcome.FAILED, failure=raw)
    headers, cookies = _headers_of(raw)
    fields = _json_of(headers, raw.body)
    token = _token_of(headers, cookies, fields)
    claims = claims_of(token.raw) if token else None
    match fields.get("state"):
        case "waiting" if "position" in fields:
            position, queue_length = (
                _number(fields["position"]),
                _number(fields.get("queue_length")),
            )
            return ObservedResponse(
                Outcome.WAITING,
                token=token,
                claims=claims,
                position=None if position is None else int(position),
                queue_length=None if queue_length is None else int(queue_length),
                eta_s=_number(fields.get("eta_seconds")),
                poll_interval_s=_number(fields.get("refresh_seconds")) or _DEFAULT_POLL_INTERVAL_S,
                rate_per_minute=_number(fields.get("rate_per_minute")),
                phase=_word(fields.get("phase")),
                reason=_word(fields.get("reason")),
                challenge=_challenge_of(fields),
                reference=_word(fields.get("reference")),
            )
        case "admitted" if own:
            return ObservedResponse(Outcome.ADMITTED, token=token, claims=claims)
        case "none" if own:
            return ObservedResponse(Outcome.NO_PLACE)
    if claims is not None and claims.kind == TICKET:
        return _waiting_page(headers, raw.body, token, claims)
    status = raw.head.status
    by_gate = b"noindex" in headers.get(b"x-robots-tag", b"") and status >= 400
    if own or by_gate or status >= 500:
        return ObservedResponse(Outcome.FAILED, failure=f"status {status}")
    return ObservedResponse(Outcome.FORWARDED, token=token, claims=claims)


def is_forwarded(raw: RawResponse) -> bool:
    """Whether the origin received the request, by the response to it.

    Every response of the gate itself has a state, or is an error page.
    """
    headers, cookies = _headers_of(raw)
    if b"x-gatekeeper-state" in headers or b"noindex" in headers.get(b"x-robots-tag", b""):
        return False
    fields = _json_of(headers, raw.body)
    token = _token_of(headers, cookies, fields)
    claims = claims_of(token.raw) if token else None
    return fields.get("state") != "waiting" and (claims is None or claims.kind != TICKET)


def parse_without_place(raw: RawResponse | str) -> ObservedResponse:
    """Parse the response to a request that creates no place: forwarded, or not."""
    if isinstance(raw, str):
        return ObservedResponse(Outcome.FAILED, failure=raw)
    return ObservedResponse(Outcome.FORWARDED if is_forwarded(raw) else Outcome.NO_PLACE)


def claims_in(raw: RawResponse) -> Claims | None:
    """The claims of the token that a response sets, if it sets one."""
    headers, cookies = _headers_of(raw)
    token = _token_of(headers, cookies, {})
    return claims_of(token.raw) if token else None


def _headers_of(raw: RawResponse) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The last value of each field by lower-case name, and every `Set-Cookie`."""
    headers: dict[bytes, bytes] = {}
    cookies: list[bytes] = []
    for name, line in raw.head.fields:
        value = line[len(name) + 1 :].strip()
        if name == b"set-cookie":
            cookies.append(value)
        else:
            headers[name] = value
    return headers, cookies


def _waiting_page(
    headers: Mapping[bytes, bytes], body: bytes, token: Token | None, claims: Claims
) -> ObservedResponse:
    """A waiting page with a ticket: position in the page, poll interval in Retry-After."""
    if headers.get(b"content-encoding") == b"gzip":
        body = _decompress(body)
    position = _PAGE_POSITION.search(body)
    retry_after = headers.get(b"retry-after", b"")
    return ObservedResponse(
        Outcome.WAITING,
        token=token,
        claims=claims,
        position=int(position[1]) if position else None,
        poll_interval_s=float(retry_after) if retry_after.isdigit() else _DEFAULT_POLL_INTERVAL_S,
    )


def _decompress(body: bytes) -> bytes:
    """Decompress up to a limit; empty if the data is damaged."""
    try:
        return zlib.decompressobj(_GZIP).decompress(body, _MAX_PAGE_BYTES)
    except zlib.error:
        return b""


def _token_of(
    headers: Mapping[bytes, bytes], cookies: list[bytes], fields: Mapping[str, Any]
) -> Token | None:
    header = headers.get(b"x-queue-token")
    token = fields.get("token") if header is None else header.decode("latin-1")
    if isinstance(token, str):
        return Token(token)
    for cookie in cookies:
        name, _, value = cookie.decode("latin-1").partition(";")[0].partition("=")
        if claims_of(value) is not None:  # any cookie name: it is configurable
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


def _challenge_of(fields: Mapping[str, Any]) -> Mapping[str, object] | None:
    value = fields.get("challenge")
    return value if isinstance(value, dict) else None


def _word(value: object) -> str:
    return intern(value) if isinstance(value, str) and len(value) <= _MAX_WORD else ""


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
