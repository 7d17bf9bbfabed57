"""The gate's HS256 signs what PyJWT signs, and accepts what PyJWT accepts."""

import base64
import hmac
import json
from dataclasses import fields, replace
from typing import Any

import jwt
import orjson
from hypothesis import given
from hypothesis import strategies as st
from jwt.utils import base64url_decode

from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Token, Tokens, VisitorId, key_id
from tests.unit.policy.test_tokens import JSON, PASS, ROOM, SECRET, TICKET, base64url, spelled

OTHER = b"another secret of at least thirty-two bytes"
KEYS = {key_id(secret): secret for secret in (SECRET, OTHER)}
KEYRING = Keyring([SECRET, OTHER])
HEADERS = {
    spelled({"alg": "HS256", "kid": kid, "typ": kind}): key
    for kid, key in KEYS.items()
    for kind in ("ticket+jwt", "pass+jwt")
}
# The caller checks times by the store's clock; claims that the gate never issues are ignored.
CHECKED_BY_THE_GATE: Any = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_sub": False,
    "verify_jti": False,
    "strict_aud": True,
}


def as_pyjwt_reads(raw: str) -> tuple[str, dict[str, Any]] | None:
    """The claims by PyJWT, with our stricter rules: one spelling of the header and of the
    signature, and JSON by RFC 8259, without NaN and lone surrogates."""
    try:
        key = KEYS.get(jwt.get_unverified_header(raw).get("kid", ""))
        if key is None:
            return None
        token = jwt.decode_complete(
            raw, key, algorithms=["HS256"], audience=ROOM, options=CHECKED_BY_THE_GATE
        )
        claims = orjson.loads(base64url_decode(raw.split(".")[1]))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    if not raw.endswith("." + base64url(token["signature"])):
        return None
    if raw.partition(".")[0] not in {base64url(header.encode()) for header in HEADERS}:
        return None
    return token["header"]["typ"], claims


def same(raw: str) -> bool:
    """Both libraries give the same result for this token."""
    ours, theirs = KEYRING.verify(raw, audience=ROOM), as_pyjwt_reads(raw)
    # Compared as text: NaN is never equal to itself.
    assert repr(ours) == repr(theirs), raw
    return ours is not None


def signed(header: bytes, payload: bytes, key: bytes) -> str:
    text = f"{base64url(header)}.{base64url(payload)}"
    return f"{text}.{base64url(hmac.digest(key, text.encode(), 'sha256'))}"


# Seconds since 1970; orjson and json spell floats below 0.0001 differently.
times = st.floats(1, 2**53 - 1) | st.integers(0, 2**53 - 1)
visitors = st.text("ABCxyz019-_", min_size=22, max_size=22).map(VisitorId)
arrivals = st.integers(0, 2**53 - 1)
turns = st.none() | arrivals
names = st.none() | st.text("abcxyz019-_", min_size=1, max_size=63)


def built(kind: type[Ticket | Pass], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Tokens with these fields. Hypothesis generates the missing ones, without bounds."""
    assert parts.keys() == {each.name for each in fields(kind) if each.compare}
    return st.builds(kind, **parts)


in_both: dict[str, st.SearchStrategy[Any]] = {
    "room": st.just(ROOM),
    "visitor": visitors,
    "arrival_us": arrivals,
    "issued_at_s": times,
    "expires_at_s": times,
    "own_turn_us": turns,
    "confirmed": st.booleans(),
}
tickets = built(
    Ticket,
    **in_both,
    lane=names,
    device=names,
    invited_until_s=st.none() | times,
    moved_us=st.just(0) | arrivals,
    returned_at=turns,
)
passes = built(Pass, **in_both, ends_at_s=times)


@given(tickets | passes)
def test_minted_token_equals_that_of_pyjwt(token: Token) -> None:
    raw = Tokens(KEYRING, ROOM).mint(token)
    found = as_pyjwt_reads(raw)
    assert found is not None
    kind, claims = found
    headers = {"typ": kind, "kid": key_id(SECRET)}
    assert raw == jwt.encode(claims, SECRET, algorithm="HS256", headers=headers)
    assert same(raw)


@given(
    st.sampled_from(sorted(HEADERS)) | st.text(max_size=40),
    JSON | st.dictionaries(st.sampled_from(["aud", "sub", "arr", "exp"]), JSON | st.just(ROOM)),
    st.sampled_from([SECRET, OTHER, b""]),
)
def test_same_claims_are_accepted_as_by_pyjwt(header: str, claims: object, key: bytes) -> None:
    same(signed(header.encode("utf-8", "replace"), json.dumps(claims).encode(), key))


@given(st.sampled_from(sorted(HEADERS)), st.binary(max_size=60))
def test_same_hostile_payloads_are_none_as_by_pyjwt(header: str, payload: bytes) -> None:
    same(signed(header.encode(), payload, HEADERS[header]))


@given(
    st.sampled_from(
        [TICKET, replace(TICKET, confirmed=False), PASS, replace(PASS, confirmed=False)]
    ),
    st.integers(0, 400),
    st.integers(0, 3),
    st.text(max_size=3) | st.sampled_from([".", "=", "==", "+", "/", "-", "_", " ", "\n", "\0"]),
)
def test_same_edits_are_none_as_by_pyjwt(token: Token, at: int, cut: int, put: str) -> None:
    raw = Tokens(KEYRING, ROOM).mint(token)
    edited = raw[:at] + put + raw[at + cut :]
    assert same(edited) == (edited == raw)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_same_shapes_are_none_as_by_pyjwt(parts: list[bytes]) -> None:
    assert not same(".".join(base64.urlsafe_b64encode(part).decode() for part in parts))


def test_token_of_another_key_is_none_as_by_pyjwt() -> None:
    assert same(Tokens(KEYRING, ROOM).mint(TICKET))
    assert not same(Tokens(Keyring([b"x" * 32]), ROOM).mint(TICKET))
    assert same(Tokens(Keyring([OTHER]), ROOM).mint(PASS))


@given(issued_at_s=st.floats(1.6e9, 4e9), life_s=st.floats(0.001, 1e6))
def test_times_are_minted_in_milliseconds(issued_at_s: float, life_s: float) -> None:
    ticket = replace(TICKET, issued_at_s=issued_at_s, expires_at_s=issued_at_s + life_s)
    claims = jwt.decode(Tokens(KEYRING, ROOM).mint(ticket), options={"verify_signature": False})
    for minted_s, time_s in ((claims["iat"], issued_at_s), (claims["exp"], issued_at_s + life_s)):
        assert minted_s == round(minted_s, 3)
        assert abs(minted_s - time_s) < 0.000_501
