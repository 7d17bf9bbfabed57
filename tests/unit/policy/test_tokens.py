"""A token is read or it is None: only tokens signed by this gate are read, and nothing raises."""

import base64
import hmac
import json
import math
from collections.abc import Callable
from dataclasses import replace

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.types import RoomName
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.tokens import (
    MAX_TOKEN_LENGTH,
    Keyring,
    Pass,
    Ticket,
    Token,
    Tokens,
    VisitorId,
    key_id,
    new_visitor_id,
)

SECRET = b"a secret of at least thirty-two bytes"
OTHER_SECRET = b"another secret, not known to the gate"
ROOM = RoomName("default")
VISITOR = VisitorId("AAAAAAAAAAAAAAAAAAAA-_")
NOW_S = 1_700_000_000.0
TICKET = Ticket(ROOM, VISITOR, 1_700_000_000_000_001, NOW_S, NOW_S + 600)
PASS = Pass(ROOM, VISITOR, 1_700_000_000_000_001, NOW_S, NOW_S + 600, NOW_S + 3600)
CLAIMS: dict[str, object] = {
    "aud": ROOM,
    "sub": VISITOR,
    "arr": 1_700_000_000_000_001,
    "iat": NOW_S,
    "exp": NOW_S + 600,
    "end": NOW_S + 3600,
}


def tokens(*secrets: bytes, room: RoomName = ROOM, cache_size: int = 100) -> Tokens:
    return Tokens(Keyring(secrets or [SECRET]), room, cache_size=cache_size)


def read(raw: str, *, now_s: float = NOW_S) -> Token | None:
    return tokens().read(raw, now_s=now_s)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def spelled(part: object) -> str:
    return json.dumps(part, separators=(",", ":"), sort_keys=True)


def signed(
    header: object, payload: object, *, secret: bytes = SECRET, digest: str = "sha256"
) -> str:
    """A token signed by the test, so that any header and any payload are possible."""
    parts = [
        base64url(part if isinstance(part, bytes) else spelled(part).encode())
        for part in (header, payload)
    ]
    signature = hmac.digest(secret, ".".join(parts).encode(), digest)
    return ".".join([*parts, base64url(signature)])


def header(**changes: object) -> dict[str, object]:
    return {"alg": "HS256", "typ": "pass+jwt", "kid": key_id(SECRET)} | changes


def claims_of(raw: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(raw, options={"verify_signature": False})
    return claims


def test_hand_signed_token_is_read() -> None:
    assert read(signed(header(), CLAIMS)) == PASS


@pytest.mark.parametrize(
    "token",
    [
        TICKET,
        PASS,
        replace(PASS, confirmed=False),
        replace(TICKET, confirmed=False),
        replace(TICKET, arrival_us=2**53 - 1),
        replace(TICKET, own_turn_us=0),
        replace(TICKET, own_turn_us=2**53 - 1),
        replace(PASS, own_turn_us=7),
    ],
)
def test_minted_token_is_read_back_equal(token: Token) -> None:
    assert read(tokens().mint(token)) == token


@pytest.mark.parametrize("ticket", [TICKET, replace(TICKET, lane="fans", confirmed=False)])
def test_ticket_that_was_read_has_its_reference(ticket: Ticket) -> None:
    known = read(tokens().mint(ticket))
    assert isinstance(known, Ticket)
    assert known.reference == reference_of(VISITOR)


@pytest.mark.parametrize("token", [TICKET, PASS])
def test_minted_token_fits_in_a_cookie_and_a_header(token: Token) -> None:
    raw = tokens().mint(token)
    assert len(raw) < 512
    assert set(raw) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@pytest.mark.parametrize("nothing", [None, ""])
def test_missing_token_is_none(nothing: str | None) -> None:
    assert tokens().read(nothing, now_s=NOW_S) is None


FORGERIES: dict[str, Callable[[], str]] = {
    "the algorithm none, unsigned": lambda: (
        signed(header(alg="none"), CLAIMS).rpartition(".")[0] + "."
    ),
    "the algorithm none over a good signature": lambda: signed(header(alg="none"), CLAIMS),
    "the algorithm NONE in capitals": lambda: signed(header(alg="NONE"), CLAIMS),
    "HS512 with the right key": lambda: signed(header(alg="HS512"), CLAIMS, digest="sha512"),
    "HS384 with the right key": lambda: signed(header(alg="HS384"), CLAIMS, digest="sha384"),
    "RS256 in the header, signed with the secret": lambda: signed(header(alg="RS256"), CLAIMS),
    "ES256 in the header": lambda: signed(header(alg="ES256"), CLAIMS),
    "a public key brought along": lambda: signed(
        header(jwk={"kty": "oct", "k": base64url(OTHER_SECRET)}), CLAIMS, secret=OTHER_SECRET
    ),
    "the address of a key": lambda: signed(
        header(jku="https://attacker.example/keys"), CLAIMS, secret=OTHER_SECRET
    ),
    "an empty key": lambda: signed(header(), CLAIMS, secret=b""),
    "another key under our key's name": lambda: signed(header(), CLAIMS, secret=OTHER_SECRET),
    "another key under its own name": lambda: Keyring([OTHER_SECRET]).sign(CLAIMS, kind="pass+jwt"),
    "no key id": lambda: signed({"alg": "HS256", "typ": "pass+jwt"}, CLAIMS),
    "a key id that is a list": lambda: signed(header(kid=[key_id(SECRET)]), CLAIMS),
    "a key id that is an object": lambda: signed(header(kid={}), CLAIMS),
    "a key id that is null": lambda: signed(header(kid=None), CLAIMS),
    "a key id that walks the file system": lambda: signed(
        header(kid="../../dev/null"), CLAIMS, secret=b""
    ),
    "no kind": lambda: signed({"alg": "HS256", "kid": key_id(SECRET)}, CLAIMS),
    "the kind of any other JWT": lambda: signed(header(typ="JWT"), CLAIMS),
    "a kind in other letters": lambda: signed(header(typ="PASS+JWT"), CLAIMS),
    "a kind that is a list": lambda: signed(header(typ=["pass+jwt"]), CLAIMS),
    "a detached payload": lambda: signed(header(b64=False, crit=["b64"]), CLAIMS),
    "a critical extension nobody knows": lambda: signed(header(crit=["x"], x=1), CLAIMS),
    "no header at all": lambda: signed(None, CLAIMS),
    "a header that is a list": lambda: signed([header()], CLAIMS),
    "a header that is not JSON": lambda: signed(b"{", CLAIMS),
    "a header that is not UTF-8": lambda: signed(b"\xff\xfe", CLAIMS),
    "no payload": lambda: signed(header(), b""),
    "a payload that is a list": lambda: signed(header(), [CLAIMS]),
    "a payload that is a number": lambda: signed(header(), 1),
    "a payload that is not UTF-8": lambda: signed(header(), b"\xff"),
    "a payload nested deeply": lambda: signed(header(), b"[" * 400 + b"]" * 400),
    "a header nested deeply": lambda: signed(b'{"a":' * 150 + b"1" + b"}" * 150, CLAIMS),
    "the other room's ticket": lambda: tokens().mint(replace(TICKET, room=RoomName("other"))),
    "the other room's pass": lambda: tokens().mint(replace(PASS, room=RoomName("other"))),
    "a list of rooms with ours among them": lambda: signed(
        header(), CLAIMS | {"aud": ["other", ROOM]}
    ),
    "a room that ours begins with": lambda: signed(header(), CLAIMS | {"aud": ROOM[:-1]}),
    "only dots": lambda: "..",
    "a fourth part": lambda: signed(header(), CLAIMS) + ".x",
    "a huge text": lambda: "a" * 10_000_000,
    "a huge signed token": lambda: signed(header(), CLAIMS | {"x": "x" * 10_000}),
    "a NUL in front": lambda: "\0" + signed(header(), CLAIMS),
    "a NUL behind": lambda: signed(header(), CLAIMS) + "\0",
    "a NUL within": lambda: signed(header(), CLAIMS).replace(".", ".\0", 1),
    "a blank in front": lambda: " " + signed(header(), CLAIMS),
    "a line break behind": lambda: signed(header(), CLAIMS) + "\n",
    "padding behind": lambda: signed(header(), CLAIMS) + "=",
    "letters that are not ASCII": lambda: signed(header(), CLAIMS) + "é",
    "a lone surrogate": lambda: signed(header(), CLAIMS) + "\udc80",
    "full-width letters": lambda: "ｅｙＪ.ｅｙＪ.ｅｙＪ",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_token_is_none(forgery: str) -> None:
    assert read(FORGERIES[forgery]()) is None


BAD_CLAIMS: list[tuple[str, object]] = [
    ("arr", True),
    ("arr", 1.0),
    ("arr", "1"),
    ("arr", -1),
    ("arr", 2**53),
    ("arr", 10**300),
    ("arr", None),
    ("arr", [1]),
    ("arr", math.nan),
    ("sub", 1),
    ("sub", ""),
    ("sub", "A" * 21),
    ("sub", "A" * 23),
    ("sub", "é" * 22),
    ("sub", "A" * 21 + "\n"),
    ("sub", ["A" * 22]),
    ("sub", None),
    ("iat", True),
    ("iat", "1"),
    ("iat", None),
    ("iat", math.nan),
    ("iat", math.inf),
    ("iat", -1),
    ("exp", True),
    ("exp", "1800000000"),
    ("exp", None),
    ("exp", math.nan),
    ("exp", math.inf),
    ("exp", -math.inf),
    ("exp", 10**400),
    ("exp", [1_800_000_000]),
    ("end", True),
    ("end", "1800000000"),
    ("end", None),
    ("end", math.nan),
    ("end", math.inf),
    ("end", 10**400),
    ("aud", None),
    ("aud", 1),
    ("aud", {}),
    ("trn", True),
    ("trn", 1.0),
    ("trn", "1"),
    ("trn", -1),
    ("trn", 2**53),
    ("trn", 10**300),
    ("trn", [1]),
    ("trn", math.nan),
]


@pytest.mark.parametrize(("claim", "value"), BAD_CLAIMS)
def test_claim_of_another_type_is_none(claim: str, value: object) -> None:
    assert read(signed(header(), CLAIMS | {claim: value})) is None


@pytest.mark.parametrize("token", [TICKET, PASS])
def test_token_names_its_turn_only_where_it_is_not_the_arrival(token: Token) -> None:
    moved = replace(token, own_turn_us=token.arrival_us - 1)
    assert claims_of(tokens().mint(moved))["trn"] == token.arrival_us - 1
    for same in (token, replace(token, own_turn_us=token.arrival_us)):
        assert "trn" not in claims_of(tokens().mint(same))
        assert read(tokens().mint(same)) == token


@pytest.mark.parametrize("claim", CLAIMS)
def test_missing_claim_is_none(claim: str) -> None:
    assert read(signed(header(), {k: v for k, v in CLAIMS.items() if k != claim})) is None


def test_ticket_is_never_taken_for_a_pass() -> None:
    _, payload, _ = tokens().mint(TICKET).split(".")
    pass_header, _, signature = tokens().mint(PASS).split(".")
    assert read(".".join([pass_header, payload, signature])) is None
    assert read(signed(header(), {k: v for k, v in CLAIMS.items() if k != "end"})) is None


def test_pass_under_the_header_of_a_ticket_is_none() -> None:
    ticket_header, _, _ = tokens().mint(TICKET).split(".")
    _, payload, signature = tokens().mint(PASS).split(".")
    assert read(".".join([ticket_header, payload, signature])) is None


@pytest.mark.parametrize("token", [TICKET, PASS])
def test_truncated_token_is_none(token: Token) -> None:
    raw = tokens().mint(token)
    reader = tokens()
    assert [length for length in range(len(raw)) if reader.read(raw[:length], now_s=NOW_S)] == []


@pytest.mark.parametrize("token", [TICKET, PASS])
def test_token_with_a_flipped_bit_is_none(token: Token) -> None:
    raw = tokens().mint(token)
    reader = tokens()
    taken = [
        (at, bit)
        for at in range(len(raw))
        for bit in range(7)
        if reader.read(raw[:at] + chr(ord(raw[at]) ^ 1 << bit) + raw[at + 1 :], now_s=NOW_S)
    ]
    assert taken == []


@given(st.text(max_size=MAX_TOKEN_LENGTH + 10))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert read(text) is None


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_any_parts_are_read_without_an_error(parts: list[bytes]) -> None:
    assert read(".".join(map(base64url, parts))) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["alg", "typ", "kid", "b64", "crit", "zip"]), JSON))
def test_only_the_gates_own_header_is_read(changes: dict[str, object]) -> None:
    token = read(signed(header(**changes), CLAIMS))
    assert (token is not None) == (header(**changes) == header())


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ": ")])
def test_header_in_another_spelling_is_none(separators: tuple[str, str]) -> None:
    spelling = json.dumps(header(), separators=separators, sort_keys=True).encode()
    assert read(signed(spelling, CLAIMS)) is None
    assert read(signed(spelled(header())[::-1].encode(), CLAIMS)) is None


@given(
    st.dictionaries(st.sampled_from([*CLAIMS, "trn", "nbf", "new", "jti", "iss"]), JSON, min_size=1)
)
def test_any_signed_claims_are_read_without_an_error(changes: dict[str, object]) -> None:
    token = read(signed(header(), CLAIMS | changes))
    if token is not None:
        assert type(token.arrival_us) is int
        assert math.isfinite(token.issued_at_s)
        assert math.isfinite(token.expires_at_s)
        assert NOW_S < token.read_until_s < math.inf


@pytest.mark.parametrize(("token", "life_s"), [(TICKET, 600), (PASS, 3600)])
def test_token_is_read_until_its_end(token: Token, life_s: float) -> None:
    """A pass that has expired before its absolute end may still hold its slot."""
    raw = tokens().mint(token)
    for age_s in (0, 599.999, 600, 3599.999):
        expected = token if age_s < life_s else None
        assert read(raw, now_s=NOW_S + age_s) == expected
    assert read(raw, now_s=NOW_S + life_s) is None


def test_machine_clock_is_not_used() -> None:
    long_ago_s = 1000.0
    token = replace(TICKET, issued_at_s=long_ago_s, expires_at_s=long_ago_s + 1)
    raw = tokens().mint(token)
    assert read(raw, now_s=long_ago_s) == token
    far_ahead_s = 9_000_000_000.0
    token = replace(TICKET, issued_at_s=far_ahead_s, expires_at_s=far_ahead_s + 1)
    assert read(tokens().mint(token), now_s=far_ahead_s) == token


def test_pass_expires_at_its_end_at_the_latest() -> None:
    token = read(tokens().mint(replace(PASS, expires_at_s=NOW_S + 9999)))
    assert token is not None
    assert token.expires_at_s == PASS.ends_at_s


def test_visitor_id_is_128_random_bits() -> None:
    ids = {new_visitor_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(base64.urlsafe_b64decode(each + "==")) == 16 for each in ids)
