"""Invitations and their keys for tests."""

from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gatekeeper.config.invitation_keys import InvitationKey
from gatekeeper.config.types import RoomName

ROOM = RoomName("sale")
SECRET, OTHER_SECRET = b"s" * 40, b"o" * 40
NOW_S = 1_800_000_000.0
PRIVATE_RSA = rsa.generate_private_key(65537, 2048)
PRIVATE_EC = ec.generate_private_key(ec.SECP256R1())
PRIVATE_ED = ed25519.Ed25519PrivateKey.generate()
SIGNERS: dict[str, Any] = {
    "HS256": SECRET,
    "RS256": PRIVATE_RSA,
    "ES256": PRIVATE_EC,
    "EdDSA": PRIVATE_ED,
}
PUBLIC = {name: key.public_key() for name, key in SIGNERS.items() if name != "HS256"}
KEYS = {
    name: InvitationKey(name, PUBLIC.get(name, SECRET))  # type: ignore[arg-type]
    for name in SIGNERS
}


def pem(key: Any) -> bytes:
    return bytes(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def claims(**changed: object) -> dict[str, object]:
    found = {"sub": "ann@example.com", "room": ROOM, "exp": int(NOW_S) + 600} | changed
    return {name: value for name, value in found.items() if value is not None}


def signed(algorithm: str = "HS256", /, **changed: object) -> str:
    return jwt.encode(claims(**changed), SIGNERS[algorithm], algorithm=algorithm)
