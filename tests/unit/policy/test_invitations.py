"""Invitations: which are accepted, and which are not."""

import base64
import hmac
import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.invitation_keys import InvitationKey
from gatekeeper.config.types import RoomName
from gatekeeper.policy.invitations import (
    MAX_INVITATION_LENGTH,
    Invitation,
    Invitations,
    InvitationScope,
    signed_invitation,
    visitor_key,
    visitor_of,
)
from gatekeeper.policy.tokens import is_visitor_id
from tests.unit.policy.invitation_scene import (
    KEYS,
    NOW_S,
    OTHER_SECRET,
    PUBLIC,
    ROOM,
    SECRET,
    SIGNERS,
    claims,
    pem,
    signed,
)

SCOPE = InvitationScope(lanes=("members",), events=("autumn",))
KEY = visitor_key(b"k" * 48)


def reader(*keys: InvitationKey) -> Invitations:
    return Invitations(ROOM, keys or tuple(KEYS.values()), KEY)


def read(raw: str, *keys: InvitationKey, now_s: float = NOW_S) -> object:
    return reader(*keys).read(raw, now_s=now_s, scope=SCOPE)


def raw_jwt(header: object, payload: bytes, *, secret: bytes = SECRET) -> str:
    """A token with exactly this header, always signed by HS256."""
    parts = [json.dumps(header).encode(), payload]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = jwt.get_algorithm_by_name("HS256").sign(text, secret)
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_invitation_is_read_by_each_algorithm(algorithm: str) -> None:
    found = read(signed(algorithm, lane="members"))
    assert found == Invitation(visitor_of("ann@example.com", ROOM, key=KEY), "members", NOW_S + 600)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_key_verifies_its_own_algorithm_alone(algorithm: str) -> None:
    others = [key for name, key in KEYS.items() if name != algorithm]
    assert read(signed(algorithm), *others) == "invitation_invalid"


@pytest.mark.parametrize("public", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_public_key_is_no_secret(public: str, algorithm: str) -> None:
    """Algorithm confusion: a client that knows the public key signs nothing with it."""
    secret = pem(PUBLIC[public])
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=")
    payload = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=")
    text = header + b"." + payload
    hashes = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
    for key in (secret, secret.strip(), secret.replace(b"\n", b"")):
        signature = base64.urlsafe_b64encode(hmac.digest(key, text, hashes[algorithm]))
        raw = (text + b"." + signature.rstrip(b"=")).decode()
        assert read(raw, KEYS[public]) == "invitation_invalid"
        assert read(raw) == "invitation_invalid"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "HS384", "RS256", 7, ["HS256"]])
def test_header_cannot_choose_the_algorithm(alg: object) -> None:
    raw = raw_jwt({"alg": alg}, json.dumps(claims()).encode())
    assert read(raw) == "invitation_invalid"
    assert read(raw.rpartition(".")[0] + ".") == "invitation_invalid"


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"b64": True},
    ],
)
def test_header_with_an_extension_is_refused(extra: dict[str, object]) -> None:
    raw = raw_jwt({"alg": "HS256"} | extra, json.dumps(claims()).encode())
    assert read(raw) == "invitation_invalid"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_key_in_the_header_counts_for_nothing(name: str) -> None:
    secret = base64.urlsafe_b64encode(OTHER_SECRET).decode()
    given = {"jwk": {"kty": "oct", "k": secret}, "x5c": ["MIIB"]}.get(name, "https://evil.example")
    header = {"alg": "HS256", name: given}
    payload = json.dumps(claims()).encode()
    assert read(raw_jwt(header, payload, secret=OTHER_SECRET)) == "invitation_invalid"
    assert isinstance(read(raw_jwt(header, payload)), Invitation)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sub": None}, "invitation_invalid"),
        ({"sub": ""}, "invitation_invalid"),
        ({"sub": "x" * 256}, "invitation_invalid"),
        ({"exp": None}, "invitation_invalid"),
        ({"exp": NOW_S}, "invitation_expired"),
        ({"exp": NOW_S - 1}, "invitation_expired"),
        ({"nbf": NOW_S + 60}, "invitation_early"),
        ({"room": None}, "invitation_invalid"),
        ({"room": "other"}, "invitation_elsewhere"),
        ({"room": "Sale"}, "invitation_elsewhere"),
        ({"event": "winter"}, "invitation_elsewhere"),
        ({"room": None, "event": "winter"}, "invitation_elsewhere"),
        ({"room": "other", "event": "autumn"}, "invitation_elsewhere"),
        ({"aud": "payments"}, "invitation_elsewhere"),
        ({"aud": []}, "invitation_elsewhere"),
        ({"lane": "press"}, "invitation_invalid"),
        ({"lane": ""}, "invitation_invalid"),
    ],
)
def test_wrong_claim_is_named(changed: dict[str, object], problem: str) -> None:
    assert read(signed(**changed)) == problem


@pytest.mark.parametrize(
    "changed",
    [
        {"sub": 7},
        {"sub": ["ann"]},
        {"exp": "1800000600"},
        {"exp": True},
        {"exp": [1]},
        {"exp": 2**60},
        {"exp": -1},
        {"nbf": "soon"},
        {"room": ["sale"]},
        {"room": 7},
        {"event": {"a": 1}},
        {"lane": ["members"]},
        {"aud": 7},
        {"aud": None},
        {"aud": {"gatekeeper": 1}},
        {"aud": ["gatekeeper", 7]},
    ],
)
def test_claim_of_another_type_is_invalid(changed: dict[str, object]) -> None:
    raw = raw_jwt({"alg": "HS256"}, json.dumps(claims() | changed).encode())
    assert read(raw) == "invitation_invalid"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"7",
        b'"text"',
        b"null",
        b"not json",
        b"\xff\xfe",
        b"[" * 2900,
        b'{"exp": NaN, "sub": "a", "room": "sale"}',
        b'{"exp": Infinity, "sub": "a", "room": "sale"}',
        b'{"exp": 1e400, "sub": "a", "room": "sale"}',
        signed().encode(),  # a JWT in a JWT
    ],
)
def test_odd_payload_is_invalid(payload: bytes) -> None:
    assert read(raw_jwt({"alg": "HS256", "cty": "JWT"}, payload)) == "invitation_invalid"


@pytest.mark.parametrize("header", [[], "HS256", None, 7, {"alg": "HS256", "kid": 7}, {}])
def test_odd_header_is_invalid(header: object) -> None:
    assert read(raw_jwt(header, json.dumps(claims()).encode())) == "invitation_invalid"


def test_event_and_begin_that_fit_are_accepted() -> None:
    for changed in (
        {"event": "autumn"},
        {"room": None, "event": "autumn"},
        {"nbf": NOW_S},
        {"nbf": NOW_S + 5},  # the shop's clock is ahead
        {"exp": NOW_S + 0.5},
        {"iat": NOW_S + 60, "jti": "1", "aud": "gatekeeper", "iss": "shop"},
    ):
        assert isinstance(read(signed(**changed)), Invitation)


def test_every_altered_byte_is_invalid() -> None:
    raw = signed()
    header, payload, signature = raw.split(".")
    for part, text in enumerate((header, payload, signature)):
        for at in range(len(text)):
            parts = [header, payload, signature]
            parts[part] = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            assert read(".".join(parts)) == "invitation_invalid"


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_invitation_has_one_spelling(algorithm: str) -> None:
    """A lenient decoder reads all of these as the same signature (RFC 4648 section 12)."""
    raw = signed(algorithm)
    signed_part, _, signature = raw.rpartition(".")
    others = [raw + end for end in ("=", "==", "====", "\n", "\r\n", " ", "\t", "\x00", ".", "!")]
    others += [f" {raw}", f"\n{raw}", f"{raw}={raw}", f"{raw},{raw}", f"{raw}\u200b", f'"{raw}"']
    for inside in ("=", "\n", " ", "!", "%"):
        others.append(f"{signed_part}.{signature[:9]}{inside}{signature[9:]}")
    spare = {"HS256": 4, "RS256": 4}.get(algorithm, 16)  # of 32, 256 and 64 bytes
    at = _ALPHABET.index(signature[-1])
    block = range(at - at % spare, at - at % spare + spare)
    others += [raw[:-1] + _ALPHABET[each] for each in block if each != at]
    if set("-_") & set(signature):
        plain = signature.translate(str.maketrans("-_", "+/"))
        others.append(f"{signed_part}.{plain}")
    assert isinstance(read(raw), Invitation)
    assert {other: read(other) for other in others if read(other) != "invitation_invalid"} == {}


def test_padding_that_the_shop_signed_is_invalid() -> None:
    """RFC 7515 section 2: base64url of a JWT has none."""
    payload = base64.urlsafe_b64encode(json.dumps(claims(padding="x")).encode() + b" " * 2)
    for padded in (payload.rstrip(b"=") + b"=" * count for count in (1, 2, 3)):
        text = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=") + b"." + padded
        signature = base64.urlsafe_b64encode(hmac.digest(SECRET, text, "sha256")).rstrip(b"=")
        assert read((text + b"." + signature).decode()) == "invitation_invalid"


def test_size_is_bounded() -> None:
    raw = signed(padding="x" * 4000)
    assert len(raw) > MAX_INVITATION_LENGTH
    assert read(raw) == "invitation_invalid"
    for odd in ("", ".", "..", "...", "a.b", "a.b.c.d.e", "ü.b.c", "\x00", raw[:200]):
        assert read(odd) == "invitation_invalid"


@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*"))
def test_any_text_is_an_invitation_or_a_problem(raw: str) -> None:
    assert read(raw) == "invitation_invalid"


# Keys by `kid`.


def test_kid_chooses_among_named_keys() -> None:
    old, new = InvitationKey("HS256", SECRET, "old"), InvitationKey("HS256", OTHER_SECRET, "new")
    named = jwt.encode(claims(), SECRET, headers={"kid": "old"})
    assert isinstance(read(named, new, old), Invitation)
    for kid in ("new", "older", "OLD"):
        raw = jwt.encode(claims(), SECRET, headers={"kid": kid})
        assert read(raw, new, old) == "invitation_invalid"
    assert isinstance(read(signed(), new, old), Invitation)  # without a `kid` all are tried
    assert read(named, new) == "invitation_invalid"  # rotated out


def test_key_without_a_kid_verifies_any() -> None:
    raw = jwt.encode(claims(), SECRET, headers={"kid": "whatever"})
    assert isinstance(read(raw, InvitationKey("HS256", OTHER_SECRET), KEYS["HS256"]), Invitation)


def test_refused_tokens_cannot_evict_verified_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not verified again each time either."""
    monkeypatch.setattr("gatekeeper.policy.invitations._MAX_CACHED", 4)
    invitations = reader(KEYS["RS256"])
    good = signed("RS256")
    assert isinstance(invitations.read(good, now_s=NOW_S, scope=SCOPE), Invitation)
    bad = [good[:-2] + f"{each:02x}" for each in range(20)]
    for raw in bad:
        invitations.read(raw, now_s=NOW_S, scope=SCOPE)
    monkeypatch.setattr(
        "gatekeeper.policy.invitations._verified_payload", lambda *_: pytest.fail("verified again")
    )
    assert isinstance(invitations.read(good, now_s=NOW_S, scope=SCOPE), Invitation)
    assert invitations.read(bad[-1], now_s=NOW_S, scope=SCOPE) == "invitation_invalid"
    assert invitations.read(good, now_s=NOW_S + 601, scope=SCOPE) == "invitation_expired"


# Visitors.


def test_visitor_is_of_the_account_and_the_room() -> None:
    ann = visitor_of("ann", ROOM, key=KEY)
    assert is_visitor_id(ann)
    assert visitor_of("ann", ROOM, key=KEY) == ann
    assert visitor_of("bob", ROOM, key=KEY) != ann
    assert visitor_of("ann", RoomName("other"), key=KEY) != ann
    assert visitor_of("ann", ROOM, key=visitor_key(b"x" * 48)) != ann


@pytest.mark.parametrize(
    "other",
    [
        "Ann\u00e9",
        "ann\u00e9 ",
        " ann\u00e9",
        "anne\u0301",
        "ann\u00e9\n",
        "ann\u00e9\u200b",
        "\uff41nn\u00e9",
    ],
)
def test_account_is_compared_character_by_character(other: str) -> None:
    """Nothing is trimmed, folded or normalised. Different JSON escapes of a character are equal."""
    sub = "ann\u00e9"
    places = {
        getattr(read(raw_jwt({"alg": "HS256"}, text.encode())), "visitor", None)
        for text in (json.dumps(claims(sub=sub)), json.dumps(claims(sub=sub), ensure_ascii=False))
    }
    assert places == {visitor_of(sub, ROOM, key=KEY)}
    assert getattr(read(signed(sub=other)), "visitor", None) not in places | {None}


def test_account_is_unicode_text() -> None:
    """Half of a surrogate pair is not (RFC 8259 section 8.2). The limit is 255 characters, not
    bytes."""
    payload = json.dumps(claims(sub="SUB"))
    for sub in ("\\ud800", "a\\udc00"):
        raw = raw_jwt({"alg": "HS256"}, payload.replace("SUB", sub).encode())
        assert read(raw) == "invitation_invalid"
    assert isinstance(read(signed(sub="\u00e9" * 255)), Invitation)
    assert read(signed(sub="\u00e9" * 256)) == "invitation_invalid"


def test_own_invitation_is_accepted() -> None:
    raw = signed_invitation(
        KEYS["HS256"], sub="ann", now_s=NOW_S, valid_s=60, room=ROOM, lane="members"
    )
    assert read(raw) == Invitation(visitor_of("ann", ROOM, key=KEY), "members", NOW_S + 60)
    assert read(raw, now_s=NOW_S + 60) == "invitation_expired"
