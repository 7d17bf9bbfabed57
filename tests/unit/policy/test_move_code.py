"""Codes that move a place: their contents, and invalid codes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.move_code import CODE_LIFE_S, MoveCode, MoveCodes, device_of, is_nonce
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Pass, Ticket, Tokens, VisitorId
from tests.builders import SECRET

NOW_S = 1_800_000_000.0
ROOM = RoomName("default")
VISITOR = VisitorId("AAAAAAAAAAAAAAAAAAAAAA")
KEYRING = Keyring([SECRET])
CODES = MoveCodes(KEYRING, ROOM)
TICKET = Ticket(ROOM, VISITOR, 1_799_999_000_000_000, NOW_S - 50, NOW_S + 7200)
INVITED = replace(
    TICKET,
    own_turn_us=1_799_998_000_000_000,
    lane="members",
    device="phone-01",
    invited_until_s=NOW_S + 60,
)


@pytest.mark.parametrize("ticket", [TICKET, INVITED])
def test_code_brings_the_whole_place_to_the_new_device(ticket: Ticket) -> None:
    """Turn, lane and invitation; only the device and the dates are new."""
    raw = CODES.mint(MoveCode.of(ticket, now_s=NOW_S))
    code = CODES.read(raw, now_s=NOW_S + CODE_LIFE_S - 1)
    assert code is not None
    assert code.made_on == ticket.device
    rules = Rules.of(RoomConfig())
    assert code.issued_at_s == NOW_S
    moved = code.ticket("laptop01", moved_us=9, rules=rules, now_s=NOW_S + 200)
    life_s = rules.ticket_life_s
    assert moved == replace(
        ticket,
        device="laptop01",
        moved_us=9,
        issued_at_s=NOW_S + 200,
        expires_at_s=NOW_S + 200 + life_s,
    )


def test_code_ends_after_five_minutes_or_with_its_ticket() -> None:
    raw = CODES.mint(MoveCode.of(TICKET, now_s=NOW_S))
    assert CODES.read(raw, now_s=NOW_S + 299) is not None
    for later_s in (300, 301, 86_400):
        assert CODES.read(raw, now_s=NOW_S + later_s) is None
    short = CODES.mint(MoveCode.of(replace(TICKET, expires_at_s=NOW_S + 60.5), now_s=NOW_S))
    assert CODES.read(short, now_s=NOW_S + 59) is not None
    assert CODES.read(short, now_s=NOW_S + 60.6) is None


def test_tokens_are_no_codes_and_codes_no_tokens() -> None:
    tokens = Tokens(KEYRING, ROOM)
    raw = CODES.mint(MoveCode.of(INVITED, now_s=NOW_S))
    assert tokens.read(raw, now_s=NOW_S) is None
    pass_ = Pass(ROOM, VISITOR, 1, NOW_S, NOW_S + 60, NOW_S + 600)
    for token in (TICKET, INVITED, pass_):
        minted = tokens.mint(token)
        assert tokens.read(minted, now_s=NOW_S) == token
        assert CODES.read(minted, now_s=NOW_S) is None


def test_altered_code_is_none() -> None:
    raw = CODES.mint(MoveCode.of(TICKET, now_s=NOW_S))
    header, payload, signature = raw.split(".")
    other = MoveCodes(Keyring([b"another secret of at least 32 bytes"]), ROOM)
    foreign = MoveCodes(KEYRING, RoomName("checkout"))
    none = "eyJhbGciOiJub25lIiwidHlwIjoibW92ZStqd3QifQ"
    altered = [
        "",
        "x",
        raw[:-1],
        raw + "A",
        raw + "=",
        f"{header}.{payload}.",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{payload[:-2]}AA.{signature}",
        f"{header}.{payload}.{signature[::-1]}",
        f"{raw}\n",
        "é" + raw,
        raw * 5,
        other.mint(MoveCode.of(TICKET, now_s=NOW_S)),
        foreign.mint(MoveCode.of(TICKET, now_s=NOW_S)),
    ]
    for each in altered:
        assert CODES.read(each, now_s=NOW_S) is None, each


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sub", "short"),
        ("sub", None),
        ("arr", "1"),
        ("arr", 1.5),
        ("trn", "1"),
        ("dev", "too-long-1"),
        ("dev", 5),
        ("lan", 5),
        ("inv", "soon"),
        ("iat", None),
        ("iat", "now"),
        ("exp", None),
        ("exp", "later"),
        ("exp", True),
    ],
)
def test_code_with_wrong_claims_is_none(name: str, value: object) -> None:
    """Signed with the right key, but not written by any release of this program."""
    claims: dict[str, object] = {"aud": ROOM, "sub": VISITOR, "arr": 1, "iat": 1, "exp": NOW_S + 60}
    good = KEYRING.sign(claims, kind="move+jwt")
    assert CODES.read(good, now_s=NOW_S) is not None
    bad = KEYRING.sign(claims | {name: value}, kind="move+jwt")
    assert CODES.read(bad, now_s=NOW_S) is None


def test_device_is_of_one_code_and_one_browser() -> None:
    devices = {device_of(code, nonce) for code in ("a", "b") for nonce in ("n" * 22, "m" * 22)}
    assert len(devices) == 4
    assert device_of("a", "n" * 22) in devices
    tokens = Tokens(KEYRING, ROOM)
    for device in devices:  # in the format of a ticket
        ticket = replace(TICKET, device=device, moved_us=1_799_999_500_000_000)
        assert tokens.read(tokens.mint(ticket), now_s=NOW_S) == ticket


def test_nonce_has_one_spelling() -> None:
    assert is_nonce("abcdefghijklmnopqrstu_")
    for bad in ("", "a" * 21, "a" * 23, "a" * 21 + "=", "a" * 21 + "\n", "a" * 22 + "\n"):
        assert not is_nonce(bad)
