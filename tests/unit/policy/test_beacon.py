"""Rounds of a beacon, their times and addresses, and responses that drand cannot have sent."""

import hashlib
import json
from typing import Any

import orjson
import pytest

from gatekeeper.policy.beacon import (
    BeaconChain,
    BeaconError,
    address_of,
    parse_chain,
    parse_round,
)

# The public chain "default" as the API's reference shows it; its signatures have 96 bytes.
CHAIN = {"public_key": "868f", "period": 30, "genesis_time": 1_595_431_050, "hash": "8990"}
SIGNATURE = "ab" * 48
RANDOMNESS = hashlib.sha256(bytes.fromhex(SIGNATURE)).hexdigest()
ROUND = {"round": 367, "randomness": RANDOMNESS, "signature": SIGNATURE, "previous_signature": "cd"}
HASH = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"


@pytest.mark.parametrize(
    ("after_us", "number"),
    [
        (0, 1),
        (1_000_000_000 - 1, 1),
        (1_000_000_000, 2),  # at the genesis time, where round 1 is not *after* it
        (1_000_000_001, 2),
        (1_003_000_000 - 1, 2),
        (1_003_000_000, 3),
        (1_003_000_001, 3),
    ],
)
def test_first_round_after_a_moment_is_later(after_us: int, number: int) -> None:
    chain = BeaconChain(genesis_s=1_000, period_s=3)
    assert chain.first_after(after_us) == number
    assert chain.time_us(number) > after_us
    assert number == 1 or chain.time_us(number - 1) <= after_us


def test_info_gives_the_times_of_the_chain() -> None:
    chain = parse_chain(orjson.dumps(CHAIN))
    assert chain == BeaconChain(genesis_s=1_595_431_050, period_s=30)
    assert chain.time_us(1) == 1_595_431_050_000_000


@pytest.mark.parametrize(
    ("url", "info", "round_7"),
    [
        ("https://b.example", "/info", "/public/7"),
        ("https://b.example/", "/info", "/public/7"),
        ("https://b.example/info", "/info", "/public/7"),
        ("https://b.example/public/latest", "/info", "/public/7"),
        (f"https://b.example/{HASH}", f"/{HASH}/info", f"/{HASH}/public/7"),
        (f"https://b.example/{HASH}/public/latest", f"/{HASH}/info", f"/{HASH}/public/7"),
        (
            "https://b.example/v2/beacons/quicknet",
            "/v2/beacons/quicknet/info",
            "/v2/beacons/quicknet/rounds/7",
        ),
        (
            f"https://b.example/v2/chains/{HASH}/rounds/latest",
            f"/v2/chains/{HASH}/info",
            f"/v2/chains/{HASH}/rounds/7",
        ),
    ],
)
def test_addresses_follow_from_any_of_the_chains(url: str, info: str, round_7: str) -> None:
    address = address_of(url)
    assert address.info == f"https://b.example{info}"
    assert address.round(7) == f"https://b.example{round_7}"


@pytest.mark.parametrize("body", [ROUND, {"round": 367, "signature": SIGNATURE}])
def test_randomness_of_a_round_hashes_its_signature(body: dict[str, Any]) -> None:
    found = parse_round(orjson.dumps(body), expected=367)
    assert (found.number, found.randomness.hex()) == (367, RANDOMNESS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"round": 366}, "round 366 came instead of round 367"),
        ({"round": 368}, "round 368"),
        ({"round": "367"}, "round '367'"),
        ({"round": 367.0}, "round 367.0"),
        ({"round": None}, "round None"),
        ({"round": 10**400}, "not JSON|round"),
        ({"signature": None}, "not hexadecimal"),
        ({"signature": ""}, "not hexadecimal"),
        ({"signature": "abc"}, "not hexadecimal"),
        ({"signature": "zz" * 48}, "not hexadecimal"),
        ({"signature": "ab" * 48 + "\n"}, "not hexadecimal"),
        ({"signature": "cd" * 48}, "not SHA-256 of its signature"),
        ({"randomness": "00" * 32}, "not SHA-256 of its signature"),
        ({"randomness": ""}, "not 64 hex digits"),
        ({"randomness": None}, "not 64 hex digits"),
        ({"randomness": RANDOMNESS[:-2]}, "not 64 hex digits"),
        ({"randomness": RANDOMNESS + "00"}, "not 64 hex digits"),
    ],
)
def test_round_with_a_wrong_field_is_an_error(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BeaconError, match=words):
        parse_round(json.dumps(ROUND | change).encode(), expected=367)


@pytest.mark.parametrize(
    "change",
    [
        {"period": 0},
        {"period": -3},
        {"period": 10**6},
        {"period": "30"},
        {"period": True},
        {"period": 2.5},
        {"period": None},
        {"genesis_time": 0},
        {"genesis_time": -1},
        {"genesis_time": "1595431050"},
        {"genesis_time": 1_595_431_050_000},  # milliseconds
        {"genesis_time": None},
    ],
)
def test_chain_with_a_wrong_field_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(BeaconError, match="expected seconds"):
        parse_chain(orjson.dumps(CHAIN | change))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"7", b"{", b"\xff{}", b'{"period": NaN}', b" " * 20_000],
)
def test_other_text_is_an_error(body: bytes) -> None:
    with pytest.raises(BeaconError):
        parse_chain(body)
    with pytest.raises(BeaconError):
        parse_round(body, expected=1)
