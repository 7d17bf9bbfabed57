"""The cache of tokens: bounded, with valid tokens only, and none after its end."""

from dataclasses import replace

import pytest

from gatekeeper.policy.tokens import Token
from tests.unit.policy.test_tokens import NOW_S, OTHER_SECRET, PASS, TICKET, tokens


@pytest.mark.parametrize(("token", "life_s"), [(TICKET, 600), (PASS, 3600)])
def test_cached_token_ends(token: Token, life_s: float) -> None:
    reader = tokens()
    raw = reader.mint(token)
    assert reader.read(raw, now_s=NOW_S) is reader.read(raw, now_s=NOW_S + 1)
    assert reader.read(raw, now_s=NOW_S + life_s) is None
    assert raw not in reader._cache


def test_cache_is_bounded() -> None:
    reader = tokens(cache_size=10)
    for number in range(50):
        reader.read(reader.mint(replace(PASS, arrival_us=number)), now_s=NOW_S)
    assert len(reader._cache) == 10


def test_forged_tokens_do_not_enter_the_cache() -> None:
    reader = tokens(cache_size=3)
    raw = reader.mint(PASS)
    good = reader.read(raw, now_s=NOW_S)
    forger = tokens(OTHER_SECRET)
    for number in range(20):
        reader.read(forger.mint(replace(PASS, arrival_us=number)), now_s=NOW_S)
        reader.read(raw + "=" * number, now_s=NOW_S)
    assert list(reader._cache) == [raw]
    assert reader.read(raw, now_s=NOW_S) is good


def test_evicted_token_is_read_again() -> None:
    reader = tokens(cache_size=1)
    first, second = reader.mint(PASS), reader.mint(TICKET)
    for _ in range(2):
        assert reader.read(first, now_s=NOW_S) == PASS
        assert reader.read(second, now_s=NOW_S) == TICKET
