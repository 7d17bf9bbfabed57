"""The files of invitation keys: the formats that are read, and every problem."""

import base64
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gatekeeper.config.invitation_keys import InvitationKey, invitation_keys
from gatekeeper.config.schema import RoomConfig
from gatekeeper.errors import ConfigError
from gatekeeper.policy.invitations import Invitation, Invitations, InvitationScope
from tests.unit.policy.invitation_scene import (
    NOW_S,
    OTHER_SECRET,
    PRIVATE_EC,
    PRIVATE_RSA,
    PUBLIC,
    ROOM,
    SECRET,
    claims,
    pem,
    signed,
)


def read(raw: str, *keys: InvitationKey) -> object:
    return Invitations(ROOM, keys, b"k").read(raw, now_s=NOW_S, scope=InvitationScope())


def keys_of(tmp_path: Path, content: bytes, *, public: bool) -> tuple[InvitationKey, ...]:
    path = tmp_path / "keys"
    path.write_bytes(content)
    key = "invitation_public_key_file" if public else "invitation_secret_file"
    return invitation_keys(RoomConfig.model_validate({"name": ROOM, key: str(path)}))


def jwk_set(*keys: dict[str, object]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def public_jwk(name: str, **more: object) -> dict[str, object]:
    algorithm = jwt.get_algorithm_by_name(name)
    return json.loads(algorithm.to_jwk(PUBLIC[name])) | more  # type: ignore[no-any-return]


def oct_jwk(secret: bytes, **more: object) -> dict[str, object]:
    return {"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()} | more


def test_secrets_are_read_line_by_line(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, SECRET + b"\n\n" + OTHER_SECRET + b"\n", public=False)
    assert [(key.algorithm, key.key, key.kid) for key in keys] == [
        ("HS256", SECRET, None),
        ("HS256", OTHER_SECRET, None),
    ]
    assert "ssss" not in repr(keys)


def test_several_pems_are_read(tmp_path: Path) -> None:
    content = b"# rotated in May\n" + b"".join(pem(key) for key in PUBLIC.values())
    keys = keys_of(tmp_path, content, public=True)
    assert [key.algorithm for key in keys] == ["RS256", "ES256", "EdDSA"]
    for name in PUBLIC:
        assert isinstance(read(signed(name), *keys), Invitation)


def test_jwk_sets_are_read(tmp_path: Path) -> None:
    members = [public_jwk(name, kid=name, use="sig") for name in PUBLIC]
    members.append({"kty": "RSA", "use": "enc"})
    keys = keys_of(tmp_path, jwk_set(*members), public=True)
    assert [key.kid for key in keys] == ["RS256", "ES256", "EdDSA"]
    raw = jwt.encode(claims(), PRIVATE_EC, algorithm="ES256", headers={"kid": "ES256"})
    assert isinstance(read(raw, *keys), Invitation)
    keys = keys_of(tmp_path, jwk_set(oct_jwk(SECRET, kid="a", alg="HS256")), public=False)
    assert keys == (InvitationKey("HS256", SECRET, "a"),)
    padded: dict[str, object] = {
        "kty": "oct",
        "k": base64.urlsafe_b64encode(SECRET + b"xx").decode(),
    }
    assert keys_of(tmp_path, jwk_set(padded), public=False)[0].key == SECRET + b"xx"


WEAK_RSA = rsa.generate_private_key(65537, 1024).public_key()
BAD_PUBLIC = {
    "empty": b"",
    "no key": b"hello",
    "a private key": PRIVATE_RSA.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ),
    "a broken PEM": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "a PEM that is cut short": pem(PUBLIC["ES256"]) + pem(PUBLIC["RS256"])[:-9],
    "a PEM with a typing mistake": pem(PUBLIC["ES256"])
    + pem(PUBLIC["RS256"]).replace(b"BEGIN PUBLIC", b"BEGIN PUBIC"),
    "a weak RSA key": pem(WEAK_RSA),
    "another curve": pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "a secret": jwk_set(oct_jwk(SECRET)),
    "a private JWK": jwk_set(json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(PRIVATE_EC))),
    "another algorithm": jwk_set(public_jwk("RS256", alg="RS512")),
    "a broken JWK": jwk_set({"kty": "RSA", "n": "x", "e": "AQAB"}),
    "a kid that is a number": jwk_set(public_jwk("ES256", kid=7)),
    "another JSON": b'{"key": []}',
    "a broken JSON": b'{"keys": [',
    "no keys": jwk_set(),
    "too many keys": jwk_set(*[public_jwk("ES256", kid=str(at)) for at in range(9)]),
    "a large file": b"x" * 70_000,
}
BAD_SECRETS = {
    "empty": b"\n",
    "a short line": SECRET + b"\nshort\n",
    "a PEM": pem(PUBLIC["RS256"]),
    "a public JWK": jwk_set(public_jwk("ES256")),
    "a short JWK": jwk_set(oct_jwk(b"short")),
    "a JWK without a secret": jwk_set({"kty": "oct", "k": 7}),
    "a JWK in standard base64": jwk_set({"kty": "oct", "k": "+/" * 32}),
    "a JWK with blanks": jwk_set({"kty": "oct", "k": "a b\n" * 32}),
    "a JWK that is cut short": jwk_set({"kty": "oct", "k": "a" * 61}),
    "too many": b"".join(b"%02d" % at + b"x" * 40 + b"\n" for at in range(9)),
}


@pytest.mark.parametrize("name", BAD_PUBLIC)
def test_bad_file_of_public_keys_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keys_of(tmp_path, BAD_PUBLIC[name], public=True)
    assert "expected" in str(caught.value)
    assert "keys" in str(caught.value)  # the file


@pytest.mark.parametrize("name", BAD_SECRETS)
def test_bad_file_of_secrets_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keys_of(tmp_path, BAD_SECRETS[name], public=False)
    assert "expected" in str(caught.value)
    assert "ssss" not in str(caught.value)
    assert ("a PEM; expected" in str(caught.value)) is (name == "a PEM")
