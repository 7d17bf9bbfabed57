"""Invitations: JWTs that a shop signs for a person, so that this person has one place in a room.

Rules. Pure: callers pass `now_s`. An invitation is a JWT (RFC 7519). The key determines the
algorithm, never the header of the token, and a header with `crit` is refused. No header selects
another key: `jwk`, `jku` and `x5u` are ignored. PyJWT verifies the signature; the claims are
checked here, with exact types, by the store's clock.

    sub    the account; one place for each in a room     exp   when it ends, seconds
    room   or                                            nbf   when it begins, seconds (optional)
    event  where it is valid; both may be given          lane  a lane of the room (optional)
    aud    its audience (optional): `policy.audience`

The visitor id is an HMAC of room and account, so that each device of a person finds the same place
without a table, and others cannot compute it. Accounts are compared as the shop signed them,
character by character: nothing is trimmed, folded or normalised. A token has one canonical
encoding, without padding, blanks or spare bits (RFC 4648 section 3). Verification is bounded by the
size of a token and the number of keys; repeated tokens are cached, and refused tokens cannot evict
verified ones.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import jwt
import orjson
from jwt.api_jws import PyJWS

from gatekeeper.config.invitation_keys import InvitationKey, secret_id
from gatekeeper.config.types import RoomName
from gatekeeper.policy.audience import Audience, audience_in
from gatekeeper.policy.numbers import is_exact_number
from gatekeeper.policy.tokens import VisitorId

MAX_INVITATION_LENGTH: Final = 4096  # one with a signature by RSA of 8192 bits has about 2,000
MAX_SUB: Final = 255
_MAX_CACHED: Final = 1024  # of each kind; together at most 9 MB
_NOT_BEFORE_LEEWAY_S: Final = 10.0  # the shop's clock may be ahead of the store's
_SPELLING: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}")  # RFC 7515 section 7.1
_VISITOR_KEY: Final = b"gatekeeper invitation visitor"
_DIGEST: Final = "sha256"

InvitationProblem = Literal[
    "invitation_invalid", "invitation_expired", "invitation_early", "invitation_elsewhere"
]


class Invitation(NamedTuple):
    """A verified invitation: its visitor, lane and end."""

    visitor: VisitorId
    lane: str | None
    expires_at_s: float


class _Claims(NamedTuple):
    """The claims of a token with a valid signature, with checked types."""

    sub: str
    expires_at_s: float
    begins_at_s: float
    room: str | None
    event: str | None
    lane: str | None
    audience: tuple[str, ...] | None


class InvitationScope(NamedTuple):
    """The lanes and the current events of a room, which an invitation may name."""

    lanes: Collection[str] = ()
    events: Collection[str] = ()


def visitor_key(oldest_secret: bytes) -> bytes:
    """The key of visitor ids, derived from the oldest signing secret: a new first secret changes no
    place."""
    return hmac.digest(oldest_secret, _VISITOR_KEY, _DIGEST)


def visitor_of(sub: str, room: RoomName, *, key: bytes) -> VisitorId:
    """The visitor id of an account in a room."""
    digest = hmac.digest(key, f"invitation|{room}|{sub}".encode(), _DIGEST)
    return VisitorId(_base64url(digest[:16]))


@dataclass(slots=True)
class Invitations:
    """Reads the invitations of one room; `key` makes the visitor ids. `audience`: the names of the
    gate there."""

    room: RoomName
    keys: Sequence[InvitationKey]
    key: bytes = field(repr=False)
    audience: Audience = field(default_factory=Audience)
    _verified: dict[str, _Claims] = field(default_factory=dict, repr=False)
    _refused: dict[str, None] = field(default_factory=dict, repr=False)

    def read(
        self, raw: str, *, now_s: float, scope: InvitationScope
    ) -> Invitation | InvitationProblem:
        """Verify an invitation; returns it or the problem."""
        claims = self._claims(raw)
        if claims is None:
            return "invitation_invalid"
        if now_s >= claims.expires_at_s:
            return "invitation_expired"
        if claims.begins_at_s > now_s + _NOT_BEFORE_LEEWAY_S:
            return "invitation_early"
        if claims.audience is not None and not self.audience.is_named(claims.audience):
            return "invitation_elsewhere"
        if claims.room not in (None, self.room):
            return "invitation_elsewhere"
        if claims.event is not None and claims.event not in scope.events:
            return "invitation_elsewhere"
        if claims.lane is not None and claims.lane not in scope.lanes:
            return "invitation_invalid"
        visitor = visitor_of(claims.sub, self.room, key=self.key)
        return Invitation(visitor, claims.lane, claims.expires_at_s)

    def _claims(self, raw: str) -> _Claims | None:
        if len(raw) > MAX_INVITATION_LENGTH or _SPELLING.fullmatch(raw) is None:
            return None
        known = self._verified.get(raw)
        if known is not None:
            return known
        if raw in self._refused:
            return None
        payload = _verified_payload(raw, self.keys)
        claims = None if payload is None else _claims_in(payload)
        if claims is None:
            _keep(self._refused, raw, None)
        else:
            _keep(self._verified, raw, claims)
        return claims


def _keep(cache: dict[str, Any], raw: str, value: object) -> None:
    if len(cache) >= _MAX_CACHED:
        del cache[next(iter(cache))]
    cache[raw] = value


_JWS: Final = PyJWS()


def _verified_payload(raw: str, keys: Sequence[InvitationKey]) -> bytes | None:
    """The payload of a token that is signed by one of the keys."""
    try:
        header = jwt.get_unverified_header(raw)
        kid = header.get("kid")
        # `crit` requires an extension, and none is supported (RFC 7515 section 4.1.11).
        if "crit" in header or "b64" in header:
            return None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    named = [key for key in keys if key.kid is not None and key.kid == kid]
    for key in named or [each for each in keys if each.kid is None or kid is None]:
        if header.get("alg") != key.algorithm:
            continue
        try:
            decoded = _JWS.decode_complete(raw, key.key, algorithms=[key.algorithm])
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue
        if _base64url(decoded["signature"]) != raw.rpartition(".")[2]:
            return None  # with spare bits, which PyJWT drops
        payload: bytes = decoded["payload"]
        return payload
    return None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _claims_in(payload: bytes) -> _Claims | None:
    try:
        claims = orjson.loads(payload)
    except ValueError:
        return None
    if not isinstance(claims, dict):
        return None
    sub, expires_at_s = claims.get("sub"), claims.get("exp")
    begins_at_s = claims.get("nbf", 0)
    room, event, lane = (_text(claims, name) for name in ("room", "event", "lane"))
    if not isinstance(sub, str) or not 0 < len(sub) <= MAX_SUB:
        return None
    if not is_exact_number(expires_at_s) or not is_exact_number(begins_at_s):
        return None
    if "" in (room, event, lane) or (room is None and event is None):
        return None
    audience = audience_in(claims["aud"]) if "aud" in claims else None
    if "aud" in claims and audience is None:
        return None
    return _Claims(sub, expires_at_s, begins_at_s, room, event, lane, audience)


def _text(claims: dict[str, Any], name: str) -> str | None:
    """An optional claim; "": it is present but not a text."""
    value = claims.get(name)
    if name not in claims:
        return None
    return value if isinstance(value, str) else ""


def signed_invitation(
    key: InvitationKey,
    *,
    sub: str,
    now_s: float,
    valid_s: float,
    room: str | None = None,
    event: str | None = None,
    lane: str | None = None,
) -> str:
    """Sign an invitation with a secret of the room, for tests and small lists."""
    assert isinstance(key.key, bytes)
    claims: dict[str, object] = {"sub": sub, "iat": int(now_s), "exp": int(now_s + valid_s)}
    named = {"room": room, "event": event, "lane": lane}
    claims |= {name: value for name, value in named.items() if value}
    header = {"kid": key.kid or secret_id(key.key)}
    return jwt.encode(claims, key.key, algorithm="HS256", headers=header)
