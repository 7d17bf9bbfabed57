"""The keys that verify invitations, read from their files.

Rules. The type of a key determines its algorithm; the header of a token does not. A file of secrets
has one secret a line, or is a JWK set (RFC 7517). A file of public keys has PEMs, one after
another, or is a JWK set. A key of a JWK set with a `kid` verifies the invitations with that `kid`;
a key without one verifies any. Private keys, weak keys, and keys of any other kind are problems.
Raises ConfigError, which names the file and never its content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gatekeeper.config.files import read_file
from gatekeeper.config.problems import unreadable
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.secrets import check_not_writable, read_secrets
from gatekeeper.config.types import MIN_SECRET_BYTES
from gatekeeper.errors import ConfigError

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
Key = bytes | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MAX_KEYS: Final = 8  # per file: a token without a `kid` is verified with each
_MAX_BYTES: Final = 65_536
_RSA_BITS: Final = (2048, 8192)  # RFC 7518 section 3.3; a longer key makes verification slow
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_JSON_START: Final = b"{"
_EXPECTED_PUBLIC: Final = "expected RSA (2048 to 8192 bits), EC on P-256, or Ed25519 public keys"
_ALGORITHMS: Final = {"oct": "HS256", "RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_PRIVATE: Final = "d"  # the member of a private JWK of each kind


@dataclass(frozen=True, slots=True)
class InvitationKey:
    """One key, with its only algorithm. `kid`: set by a JWK set; the key then verifies only
    invitations with that `kid`."""

    algorithm: Algorithm
    key: Key = field(repr=False)
    kid: str | None = None


def invitation_keys(room: RoomConfig) -> tuple[InvitationKey, ...]:
    """The keys of a room, in the order of its files; none if it accepts no invitations."""
    return (
        *(_secret_keys(Path(room.invitation_secret_file)) if room.invitation_secret_file else ()),
        *(
            _public_keys(Path(room.invitation_public_key_file))
            if room.invitation_public_key_file
            else ()
        ),
    )


def secret_id(secret: bytes) -> str:
    """A public name for a secret, as the `kid` of invitations that this program signs."""
    digest = hmac.digest(secret, b"gatekeeper invitation key id", hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:6]).decode()


def _secret_keys(path: Path) -> tuple[InvitationKey, ...]:
    data = _read(path)
    if data.lstrip().startswith(_JSON_START):
        return _few(tuple(_of_set(path, data, kinds=("oct",))), path)
    if _PEM.search(data):
        raise ConfigError(["a PEM; expected secrets, one per line, or a JWK set"], source=str(path))
    secrets = read_secrets(path)
    return _few(tuple(InvitationKey("HS256", secret) for secret in secrets), path)


def _public_keys(path: Path) -> tuple[InvitationKey, ...]:
    data = _read(path)
    if data.lstrip().startswith(_JSON_START):
        return _few(tuple(_of_set(path, data, kinds=("RSA", "EC", "OKP"))), path)
    return _few(tuple(_of_pems(path, data)), path)


def _read(path: Path) -> bytes:
    check_not_writable(path)
    try:
        data = read_file(path)
    except OSError as error:
        raise ConfigError([unreadable(error)], source=str(path)) from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(
            [f"too large; expected at most {_MAX_BYTES // 1024} KB"], source=str(path)
        )
    return data


def _few(keys: tuple[InvitationKey, ...], path: Path) -> tuple[InvitationKey, ...]:
    if not 1 <= len(keys) <= MAX_KEYS:
        problem = f"has {len(keys)} keys" if keys else "has no key"
        raise ConfigError([f"{problem}; expected 1 to {MAX_KEYS}"], source=str(path))
    return keys


def _of_pems(path: Path, data: bytes) -> Iterator[InvitationKey]:
    for match in _PEM.finditer(data):
        label = match[1].decode()
        if not label.endswith("PUBLIC KEY"):
            raise ConfigError([f"holds a {label}; {_EXPECTED_PUBLIC}"], source=str(path))
        try:
            key = load_pem_public_key(match[0])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                [f"a PEM that cannot be read; {_EXPECTED_PUBLIC}"], source=str(path)
            ) from error
        yield _checked(key, path)
    if b"-----" in _PEM.sub(b"", data):  # truncated or mistyped
        raise ConfigError([f"a PEM that cannot be read; {_EXPECTED_PUBLIC}"], source=str(path))


def _of_set(path: Path, data: bytes, *, kinds: tuple[str, ...]) -> Iterator[InvitationKey]:
    """The keys of a JWK set. Keys whose `use` is not "sig" are left out (RFC 7517 section 4.2)."""
    try:
        found = json.loads(data)
        members = found["keys"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ConfigError(['not a JWK set; expected {"keys": [ … ]}'], source=str(path)) from error
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        raise ConfigError(['not a JWK set; expected {"keys": [ … ]}'], source=str(path))
    for member in members:
        if member.get("use", "sig") == "sig":
            yield _of_member(path, member, kinds=kinds)


def _of_member(path: Path, member: dict[str, Any], *, kinds: tuple[str, ...]) -> InvitationKey:
    kind, kid = member.get("kty"), member.get("kid")
    if kind not in kinds:
        raise ConfigError(
            [f"a key of kty {json.dumps(kind)}; expected {' or '.join(kinds)}"], source=str(path)
        )
    if kid is not None and not isinstance(kid, str):
        raise ConfigError(["a kid that is not a text; expected a text"], source=str(path))
    algorithm = _ALGORITHMS[kind]
    if member.get("alg", algorithm) != algorithm:
        raise ConfigError(
            [f"a key of alg {json.dumps(member['alg'])}; expected {algorithm}"], source=str(path)
        )
    if kind == "oct":
        return InvitationKey("HS256", _secret_of(path, member), kid)
    if _PRIVATE in member:
        raise ConfigError([f"holds a private key; {_EXPECTED_PUBLIC}"], source=str(path))
    try:
        key = jwt.PyJWK(member, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            [f"a JWK that cannot be read; {_EXPECTED_PUBLIC}"], source=str(path)
        ) from error
    checked = _checked(key, path)
    return InvitationKey(checked.algorithm, checked.key, kid)


def _secret_of(path: Path, member: dict[str, Any]) -> bytes:
    text = member.get("k")
    secret = b""
    # A lenient decoder skips unknown characters, and the rest would be another secret.
    if isinstance(text, str) and _BASE64URL.fullmatch(text):
        with suppress(binascii.Error):
            secret = base64.urlsafe_b64decode(f"{text.rstrip('=')}===")
    if len(secret) < MIN_SECRET_BYTES:
        expected = f"expected at least {MIN_SECRET_BYTES} bytes"
        raise ConfigError(
            [f"a secret that is too short, or not base64url; {expected}"], source=str(path)
        )
    return secret


def _checked(key: object, path: Path) -> InvitationKey:
    match key:
        case RSAPublicKey() if _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]:
            return InvitationKey("RS256", key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return InvitationKey("ES256", key)
        case Ed25519PublicKey():
            return InvitationKey("EdDSA", key)
        case _:
            raise ConfigError(
                [f"a key that no invitation uses; {_EXPECTED_PUBLIC}"], source=str(path)
            )
