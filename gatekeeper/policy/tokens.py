"""Tickets and passes: what a visitor holds, signed with HS256 (RFC 7515, RFC 7519).

Rules. No I/O and no clock: callers pass `now_s`, seconds of the store's clock. A token is read or
it is `None`: forged, expired, truncated, of another room or with another algorithm are all the
same and none of them raises. The kind stands in the `typ` header (explicit typing, RFC 8725
section 3.11), so that a ticket can never be taken for a pass. Only verified tokens are cached,
keyed by their very bytes, and a token has one spelling, so neither a flood of forgeries nor one of
respelled signatures can push the good ones out.

Those who wait bring a token to be checked and renewed with nearly every poll, and a JWT library
takes six times as long for that as the `hmac` in it. So the few lines of RFC 7515 that HS256 needs
stand here, and a test holds them to PyJWT. They know no algorithm but this one and no header but
those they write themselves: nothing of it is parsed, and there is nothing in it to negotiate.
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType, TypeGuard

from gatekeeper.config import RoomName

VisitorId = NewType("VisitorId", str)

ALGORITHM: Final = "HS256"
MAX_TOKEN_LENGTH: Final = 1024  # ours have about 300; refuse to parse what cannot be ours
_VISITOR: Final = re.compile(r"[A-Za-z0-9_-]{22}")  # 128 bits in base64url without padding
_TIMES_END_S: Final = 2**53
_TICKET, _PASS = "ticket+jwt", "pass+jwt"
_KINDS: Final = (_TICKET, _PASS)
_DIGEST: Final = "sha256"
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Ticket:
    """This visitor arrived at that microsecond, and waits; renewed by polling."""

    room: RoomName
    visitor: VisitorId
    arrival_us: int
    issued_at_s: float
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class Pass:
    """This visitor is admitted until `expires_at_s`, which slides, and never past `ends_at_s`.

    `proven` is false in the pass of a newcomer who was let through at once and has not yet shown
    that they keep cookies.
    """

    room: RoomName
    visitor: VisitorId
    arrival_us: int
    issued_at_s: float
    expires_at_s: float
    ends_at_s: float
    proven: bool = True


Token = Ticket | Pass


def new_visitor_id() -> VisitorId:
    """128 random bits as 22 base64url characters."""
    return VisitorId(secrets.token_urlsafe(16))


def key_id(secret: bytes) -> str:
    """A public name for `secret`: 48 bits of an HMAC, from which the key cannot be told."""
    return _base64url(hmac.digest(secret, b"gatekeeper key id", _DIGEST)[:6]).decode()


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


class Keyring:
    """The secrets by key id: the first signs, all verify."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        if not secrets_:
            raise ValueError("a keyring needs at least one secret")
        # Each header that we write, as it stands in a token, with the key and the kind it names.
        self._headers = {
            _header(secret, kind): (secret, kind) for secret in secrets_ for kind in _KINDS
        }
        self._signing_key = secrets_[0]
        self._signing_headers = {kind: _header(secrets_[0], kind) for kind in _KINDS}

    def sign(self, claims: dict[str, object], *, kind: str) -> str:
        signed = b"%b.%b" % (self._signing_headers[kind], _base64url(_compact(claims).encode()))
        return (signed + b"." + _signature(self._signing_key, signed)).decode("ascii")

    def verify(self, raw: str, *, audience: str) -> tuple[str, dict[str, Any]] | None:
        """The kind and claims of `raw`, or None when any part of it is not as we sign it."""
        try:
            signed, _, signature = raw.encode("ascii").rpartition(b".")
        except UnicodeEncodeError:
            return None
        header, _, payload = signed.partition(b".")
        known = self._headers.get(header)
        if known is None:
            return None
        key, kind = known
        # The signature is compared as it is spelled: a lenient base64 decoder would take padding
        # and spare bits (RFC 4648 section 12), and a token has one spelling.
        if not hmac.compare_digest(_signature(key, signed), signature):
            return None
        try:
            claims = json.loads(_decoded(payload))
        except (ValueError, RecursionError):  # signed by us, and yet not what we sign
            return None
        if not isinstance(claims, dict) or claims.get("aud") != audience:
            return None
        return kind, claims


def _header(secret: bytes, kind: str) -> bytes:
    header = {"alg": ALGORITHM, "kid": key_id(secret), "typ": kind}
    return _base64url(_compact(header).encode())


def _signature(key: bytes, signed: bytes) -> bytes:
    return _base64url(hmac.digest(key, signed, _DIGEST))


def _decoded(payload: bytes) -> bytes:
    padded = payload.translate(_FROM_URL) + b"=" * (-len(payload) % 4)
    return binascii.a2b_base64(padded, strict_mode=True)


class Tokens:
    """Mints and reads the tokens of one room."""

    def __init__(self, keyring: Keyring, room: RoomName, *, cache_size: int = 65_536) -> None:
        self._keyring = keyring
        self._room = room
        self._cache: dict[str, Token] = {}
        self._cache_size = cache_size

    def mint(self, token: Token) -> str:
        claims: dict[str, object] = {
            "aud": token.room,
            "sub": token.visitor,
            "arr": token.arrival_us,
            "iat": round(token.issued_at_s, 3),
            "exp": round(token.expires_at_s, 3),
        }
        if isinstance(token, Ticket):
            return self._keyring.sign(claims, kind=_TICKET)
        claims["end"] = round(token.ends_at_s, 3)
        if not token.proven:
            claims["new"] = True
        return self._keyring.sign(claims, kind=_PASS)

    def read(self, raw: str | None, *, now_s: float) -> Token | None:
        """The token in `raw` while it is valid at `now_s`, else None."""
        if not raw or len(raw) > MAX_TOKEN_LENGTH:
            return None
        token = self._cache.get(raw)
        if token is None:
            token = self._verified(raw)
            if token is None:
                return None
            if len(self._cache) >= self._cache_size:
                del self._cache[next(iter(self._cache))]
            self._cache[raw] = token
        if now_s >= token.expires_at_s:
            self._cache.pop(raw, None)
            return None
        return token

    def _verified(self, raw: str) -> Token | None:
        verified = self._keyring.verify(raw, audience=self._room)
        if verified is None:
            return None
        kind, claims = verified
        visitor, arrival_us = claims.get("sub"), claims.get("arr")
        issued_at_s, expires_at_s = claims.get("iat"), claims.get("exp")
        if not isinstance(visitor, str) or not _VISITOR.fullmatch(visitor):
            return None
        # A bool is an int to isinstance; what only a bug could sign is no token either.
        if type(arrival_us) is not int or not 0 <= arrival_us < 2**53:
            return None
        if not _is_time(issued_at_s) or not _is_time(expires_at_s):
            return None
        if kind == _TICKET:
            return Ticket(self._room, VisitorId(visitor), arrival_us, issued_at_s, expires_at_s)
        ends_at_s = claims.get("end")
        if kind != _PASS or not _is_time(ends_at_s):
            return None
        return Pass(
            room=self._room,
            visitor=VisitorId(visitor),
            arrival_us=arrival_us,
            issued_at_s=issued_at_s,
            expires_at_s=min(expires_at_s, ends_at_s),
            ends_at_s=ends_at_s,
            proven=claims.get("new") is not True,
        )


def _is_time(value: object) -> TypeGuard[float]:
    return type(value) in (int, float) and 0 <= value < _TIMES_END_S  # type: ignore[operator]
