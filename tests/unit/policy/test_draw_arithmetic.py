"""The arithmetic of a draw, against vectors that other programs computed.

The vectors come from `hmac.new` and `hashlib`; that of the secret also from
`openssl dgst -sha256 -mac HMAC`.
"""

import hashlib

import pytest

from gatekeeper.policy.draw import (
    commitment_of,
    draw_key_id,
    draw_secret,
    drawn_turn_us,
    hashed_turn_us,
    id_hash,
    seed_of,
)

SIGNING_SECRET = bytes(range(32))
START_US = 1_796_115_600_000_000  # 2026-12-01T09:00:00Z
SPAN_US = 1_800_000_000  # a prequeue of half an hour
SECRET = bytes.fromhex("2bde620f56a1e2462831cd395e4ffec039be67e5f1b56b3e72a1e58f2a1b8256")
COMMITMENT = "4a30e1b0a42f1b65e2c2680f85cdc15b9503024894e87ee1d17b106b49cc6ec8"
RANDOMNESS = bytes.fromhex("aa" * 32)
BEACON_SEED = bytes.fromhex("f9937e9e7146dd13e6ef4b2f6aaf14c860e00cebf6a48faa3f96383c107c2836")
VISITORS = {
    "A" * 22: "8a5bdb4cc15164126c6ef2668de9dd240d299ce6397a42c95a9411b93d080ed8",
    "z" * 21 + "-": "6c37b5e43b0c248cc669534c3980eebb1cc3c2c7517720d874ae06505c52d0eb",
    "0123456789abcdefghij_w": "037a2d586b0a0d3801c1444a1558cc1e3fb20620e5ade945a16f3dfa8d823658",
}
TURNS_US = {
    SECRET: (1_796_114_622_235_441, 1_796_114_946_435_171, 1_796_115_459_900_102),
    BEACON_SEED: (1_796_114_862_404_597, 1_796_115_388_418_090, 1_796_113_868_189_115),
}


def test_secret_is_the_hmac_of_room_event_and_start() -> None:
    secret = draw_secret(SIGNING_SECRET, room="default", event="autumn-sale", announced_us=START_US)
    assert secret == SECRET


@pytest.mark.parametrize(
    ("signing_secret", "room", "event", "announced_us"),
    [
        (b"\xff" * 32, "default", "autumn-sale", START_US),
        (SIGNING_SECRET, "other", "autumn-sale", START_US),
        (SIGNING_SECRET, "default", "winter-sale", START_US),
        (SIGNING_SECRET, "default", "autumn-sale", START_US + 1),
    ],
)
def test_secret_of_any_other_event_differs(
    signing_secret: bytes, room: str, event: str, announced_us: int
) -> None:
    other = draw_secret(signing_secret, room=room, event=event, announced_us=announced_us)
    assert other != SECRET


def test_commitment_is_the_hash_of_the_secret() -> None:
    assert commitment_of(SECRET) == COMMITMENT


def test_seed_with_a_beacon_hashes_secret_and_randomness() -> None:
    assert seed_of(SECRET, RANDOMNESS) == BEACON_SEED


def test_seed_without_a_beacon_is_the_secret() -> None:
    assert seed_of(SECRET) == SECRET


@pytest.mark.parametrize("randomness", [b"", RANDOMNESS, bytes(32)])
def test_seed_is_not_what_is_public_before_the_start(randomness: bytes) -> None:
    """Otherwise every participant could compute every turn from the announcement on."""
    seed = seed_of(SECRET, randomness)
    public = bytes.fromhex(commitment_of(SECRET))
    assert seed not in (public, hashlib.sha256(public).digest(), bytes(32))


@pytest.mark.parametrize(("visitor", "hashed"), VISITORS.items())
def test_id_hash_is_the_hash_of_the_ids_text(visitor: str, hashed: str) -> None:
    assert id_hash(visitor).hex() == hashed


@pytest.mark.parametrize(("seed", "turns_us"), TURNS_US.items())
def test_turn_of_a_visitor_is_the_vectors(seed: bytes, turns_us: tuple[int, ...]) -> None:
    drawn = [drawn_turn_us(seed, v, start_us=START_US, span_us=SPAN_US) for v in VISITORS]
    assert tuple(drawn) == turns_us


@pytest.mark.parametrize(("seed", "turns_us"), TURNS_US.items())
def test_turn_of_an_id_hash_is_that_of_its_visitor(seed: bytes, turns_us: tuple[int, ...]) -> None:
    hashes = [bytes.fromhex(hashed) for hashed in VISITORS.values()]
    drawn = [hashed_turn_us(seed, h, start_us=START_US, span_us=SPAN_US) for h in hashes]
    assert tuple(drawn) == turns_us


def test_turn_of_a_delayed_start_moves_with_the_start() -> None:
    """The place in the order stays: a delay does not repeat the draw."""
    for visitor in VISITORS:
        turn = drawn_turn_us(SECRET, visitor, start_us=START_US, span_us=SPAN_US)
        later = drawn_turn_us(SECRET, visitor, start_us=START_US + 60, span_us=SPAN_US)
        assert later - turn == 60


def test_key_id_reveals_neither_of_the_secrets() -> None:
    key = draw_key_id(SIGNING_SECRET)
    assert key == "e0e733a645ef72fb"
    assert key != draw_key_id(SIGNING_SECRET + b"\0")
    assert bytes.fromhex(key) not in hashlib.sha256(SIGNING_SECRET).digest() + SIGNING_SECRET
