"""Tickets and passes: the visitors' tokens, signed with HS256 (RFC 7515, RFC 7519).

Rules. No I/O and no clock: callers pass `now_s`, seconds of the store's clock. An invalid token is
read as `None`, without an exception: forged, expired, truncated, of another room, or with another
algorithm. Only a pass that expired before its absolute end is still read: the store may hold its
slot. The `typ` header names the kind (explicit typing, RFC 8725 section 3.11), so that a ticket is
never accepted as a pass. Only verified tokens are cached, keyed by their bytes, and a token has one
canonical encoding, so neither a flood of forged tokens nor of re-encoded signatures can evict valid
ones.

    sub  visitor id            iat  issued, seconds       new  true: not confirmed
    aud  room                  exp  expires, seconds      end  absolute end, seconds (passes)
    arr  arrival, microseconds trn  turn, microseconds, where it differs from the arrival
    lan  lane (tickets of its visitors)
    dev  device of an invited visitor, or of a place that was moved (tickets)
    inv  expiry of the invitation, seconds (tickets of invited visitors)
    mov  when the place was moved to this device, microseconds (tickets)
    ret  total of releases at the return to a passed turn (tickets)

PyJWT's `HMACAlgorithm` signs and verifies, with a key prepared once. PyJWT's decoding of a whole
token takes several times as long, and every poll of a waiting visitor has a token. So the few lines
of RFC 7515 around the signature are here, and a test compares them with PyJWT's. They accept one
algorithm and only the headers that this gate writes: no header is parsed, and nothing can be
negotiated.
"""

from __future__ import annotations

import binascii
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Final, NewType, TypeGuard

import orjson
from jwt.algorithms import HMACAlgorithm

from gatekeeper.config.types import RoomName
from gatekeeper.policy.numbers import is_exact_int, is_exact_number
from gatekeeper.policy.reference import reference_of
from gatekeeper.record import record

VisitorId = NewType("VisitorId", str)

ALGORITHM: Final = "HS256"
MAX_TOKEN_LENGTH: Final = 1024  # the gate's own have about 300; longer ones are not parsed
_VISITOR: Final = re.compile(r"[A-Za-z0-9_-]{22}")  # 128 bits in base64url without padding
_DEVICE: Final = re.compile(r"[A-Za-z0-9_-]{8}")  # 48 bits
_TICKET, _PASS = "ticket+jwt", "pass+jwt"
MOVE_CODE: Final = "move+jwt"  # `move_code`
_KINDS: Final = (_TICKET, _PASS, MOVE_CODE)
_CLAIMS_OF_ALL: Final = 5  # aud, sub, arr, iat, exp
_DIGEST: Final = "sha256"
_HS256: Final = HMACAlgorithm(HMACAlgorithm.SHA256)
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


@record
class Ticket:
    """This visitor arrived at that microsecond and waits at that turn; renewed by polling.

    `confirmed` is false until the visitor has solved the room's challenge. Such a ticket is
    never renewed (`policy.challenge`). In a lane it is also false until the ticket was returned
    once: before that, no watermark releases it.

    Invited visitors, and those whose place was moved, may have several devices, each with its own
    ticket; the store knows which one holds the place.

    `returned_at`: the turn was released while the visitor was absent or did not claim. They
    returned at that total of releases, and wait for the next admission: a watermark above the turn
    does not admit them.
    """

    room: RoomName
    visitor: VisitorId
    arrival_us: int
    issued_at_s: float
    expires_at_s: float
    own_turn_us: int | None = None  # None: the turn follows from the room's order
    confirmed: bool = True
    lane: str = ""
    device: str | None = None
    invited_until_s: float | None = None  # the expiry of the invitation
    moved_us: int = 0  # when the place was moved to the device; 0: it was not
    returned_at: int | None = None
    # Of the visitor, for support. Computed when the ticket is verified, since every poll shows it.
    reference: str = field(default="", compare=False, repr=False)

    @property
    def read_until_s(self) -> float:
        """From then on the token is invalid."""
        return self.expires_at_s


@record
class Pass:
    """This visitor is admitted until `expires_at_s`, which slides, and never past `ends_at_s`.

    Between the two the pass has expired and only the store knows whether the slot is still held, by
    a stream for instance. `confirmed` is false in the pass of a newcomer who was admitted on
    arrival and has not yet returned the token.
    """

    room: RoomName
    visitor: VisitorId
    arrival_us: int
    issued_at_s: float
    expires_at_s: float
    ends_at_s: float
    confirmed: bool = True
    own_turn_us: int | None = None  # None: the turn follows from the room's order

    @property
    def read_until_s(self) -> float:
        """From then on the token is invalid."""
        return self.ends_at_s


Token = Ticket | Pass


def new_visitor_id() -> VisitorId:
    """128 random bits as 22 base64url characters."""
    return VisitorId(secrets.token_urlsafe(16))


def is_visitor_id(value: object) -> TypeGuard[VisitorId]:
    """Whether `value` is spelled as a visitor id. The only check of this format in the program."""
    return isinstance(value, str) and _VISITOR.fullmatch(value) is not None


def new_device() -> str:
    """48 random bits as 8 base64url characters."""
    return secrets.token_urlsafe(6)


def is_device_or_none(value: object) -> TypeGuard[str | None]:
    """Whether `value` is spelled as a device, or None: the token names no device."""
    return value is None or (isinstance(value, str) and _DEVICE.fullmatch(value) is not None)


def key_id(secret: bytes) -> str:
    """The public id of `secret`: 48 bits of an HMAC, which do not reveal the key."""
    return _base64url(hmac.digest(secret, b"gatekeeper key id", _DIGEST)[:6]).decode()


def _base64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


class Keyring:
    """The secrets by key id: the first signs, all verify."""

    def __init__(self, secrets_: Sequence[bytes]) -> None:
        if not secrets_:
            raise ValueError("a keyring needs at least one secret")
        self._signing_key = _HS256.prepare_key(secrets_[0])
        self._own_secrets = self._secrets = tuple(secrets_)
        # Each header that this gate writes, as spelled in a token, with its key and its kind.
        self._own_headers = self._headers = _headers(secrets_)
        self._signing_headers = {kind: _header(secrets_[0], kind) for kind in _KINDS}

    def accept(self, secrets_: Sequence[bytes]) -> None:
        """Also verify tokens of these secrets, since another worker may sign with them already."""
        self._headers = _headers(secrets_) | self._own_headers
        self._secrets = tuple(dict.fromkeys((*self._own_secrets, *secrets_)))

    def derived_keys(self, purpose: bytes) -> list[bytes]:
        """A key for another purpose from each secret: the first signs, all verify."""
        return [hmac.digest(secret, purpose, _DIGEST) for secret in self._secrets]

    def sign(self, claims: dict[str, object], *, kind: str) -> str:
        signed = b"%b.%b" % (self._signing_headers[kind], _base64url(orjson.dumps(claims)))
        return (signed + b"." + _signature(signed, self._signing_key)).decode("ascii")

    def verify(self, raw: str, *, audience: str) -> tuple[str, dict[str, Any]] | None:
        """The kind and claims of `raw`; None unless this gate signed exactly this text."""
        try:
            signed, _, signature = raw.encode("ascii").rpartition(b".")
        except UnicodeEncodeError:
            return None
        header, _, payload = signed.partition(b".")
        known = self._headers.get(header)
        if known is None:
            return None
        key, kind = known
        # The encoded signature is compared: a lenient base64 decoder would accept padding and spare
        # bits (RFC 4648 section 12), and a token has one canonical encoding.
        if not hmac.compare_digest(_signature(signed, key), signature):
            return None
        try:
            claims = orjson.loads(_decoded(payload))
        except ValueError:  # validly signed, but not JSON in base64url
            return None
        if not isinstance(claims, dict) or claims.get("aud") != audience:
            return None
        return kind, claims


def _to_ms(at_s: float) -> float:
    """Rounded to milliseconds, in a third of the time that `round` takes."""
    return int(at_s * 1000 + 0.5) / 1000


def _signature(signed: bytes, key: bytes) -> bytes:
    return _base64url(_HS256.sign(signed, key))


def _headers(secrets_: Sequence[bytes]) -> dict[bytes, tuple[bytes, str]]:
    keys = [(secret, _HS256.prepare_key(secret)) for secret in secrets_]
    return {_header(secret, kind): (key, kind) for secret, key in keys for kind in _KINDS}


def _header(secret: bytes, kind: str) -> bytes:
    header = {"alg": ALGORITHM, "kid": key_id(secret), "typ": kind}
    return _base64url(orjson.dumps(header))


def _decoded(payload: bytes) -> bytes:
    padded = payload.translate(_FROM_URL) + b"=" * (-len(payload) % 4)
    return binascii.a2b_base64(padded, strict_mode=True)


class Tokens:
    """Signs and reads the tokens of one room."""

    def __init__(self, keyring: Keyring, room: RoomName, *, cache_size: int = 65_536) -> None:
        self._keyring = keyring
        self._room = room
        self._cache: dict[str, Token] = {}
        self._cache_size = cache_size

    def mint(self, token: Token) -> str:
        """The signed text of `token`; times are rounded to milliseconds."""
        claims: dict[str, object] = {
            "aud": token.room,
            "sub": token.visitor,
            "arr": token.arrival_us,
            "iat": _to_ms(token.issued_at_s),
            "exp": _to_ms(token.expires_at_s),
        }
        if token.own_turn_us is not None and token.own_turn_us != token.arrival_us:
            claims["trn"] = token.own_turn_us
        if not token.confirmed:
            claims["new"] = True
        if isinstance(token, Ticket):
            if token.lane:
                claims["lan"] = token.lane
            if token.device is not None:
                claims["dev"] = token.device
            if token.invited_until_s is not None:
                claims["inv"] = token.invited_until_s
            if token.moved_us:
                claims["mov"] = token.moved_us
            if token.returned_at is not None:
                claims["ret"] = token.returned_at
            return self._keyring.sign(claims, kind=_TICKET)
        claims["end"] = _to_ms(token.ends_at_s)
        return self._keyring.sign(claims, kind=_PASS)

    def read(self, raw: str | None, *, now_s: float) -> Token | None:
        """The token in `raw` while it is valid at `now_s`, else None. A pass that has expired is
        read until its absolute end: compare `expires_at_s`."""
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
        if now_s >= token.expires_at_s and now_s >= token.read_until_s:
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
        if not is_visitor_id(visitor) or not is_exact_int(arrival_us):
            return None
        if not is_exact_number(issued_at_s) or not is_exact_number(expires_at_s):
            return None
        if kind == _TICKET and len(claims) == _CLAIMS_OF_ALL:  # nearly every poll
            return Ticket(
                self._room,
                visitor,
                arrival_us,
                issued_at_s,
                expires_at_s,
                reference=reference_of(visitor),
            )
        turn_us = claims.get("trn")
        confirmed = claims.get("new") is not True
        if turn_us is not None and not is_exact_int(turn_us):
            return None
        if kind == _TICKET:
            lane = claims.get("lan", "")
            device, until_s = claims.get("dev"), claims.get("inv")
            if not isinstance(lane, str) or not is_device_or_none(device):
                return None
            if until_s is not None and not is_exact_number(until_s):
                return None
            moved_us = claims.get("mov", 0)
            returned_at = claims.get("ret")
            if not is_exact_int(moved_us):
                return None
            if returned_at is not None and not is_exact_int(returned_at):
                return None
            return Ticket(
                room=self._room,
                visitor=visitor,
                arrival_us=arrival_us,
                issued_at_s=issued_at_s,
                expires_at_s=expires_at_s,
                own_turn_us=turn_us,
                confirmed=confirmed,
                lane=lane,
                device=device,
                invited_until_s=until_s,
                moved_us=moved_us,
                returned_at=returned_at,
                reference=reference_of(visitor),
            )
        ends_at_s = claims.get("end")
        if kind != _PASS or not is_exact_number(ends_at_s):
            return None
        return Pass(
            room=self._room,
            visitor=visitor,
            arrival_us=arrival_us,
            issued_at_s=issued_at_s,
            expires_at_s=min(expires_at_s, ends_at_s),
            ends_at_s=ends_at_s,
            confirmed=confirmed,
            own_turn_us=turn_us,
        )
