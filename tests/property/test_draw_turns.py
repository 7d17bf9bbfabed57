"""The turns of any draw are in range, depend only on seed and visitor, and are the same in any
program."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.policy.draw import draw_secret, drawn_turn_us, seed_of
from gatekeeper.policy.numbers import EXACT_END

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
visitors = st.text(BASE64URL, min_size=22, max_size=22)
seeds = st.binary(min_size=32, max_size=32)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
times_us = st.integers(10**15, 4 * 10**15)
spans_us = st.integers(1, 10**13)


@given(seeds, visitors, times_us, spans_us)
def test_turn_lies_in_the_span_before_the_start(
    seed: bytes, visitor: str, start_us: int, span_us: int
) -> None:
    turn = drawn_turn_us(seed, visitor, start_us=start_us, span_us=span_us)
    assert start_us - span_us <= turn < start_us
    assert 0 < turn < EXACT_END


@given(seeds, visitors, times_us, spans_us)
def test_turn_is_the_designs_formula_spelled_out(
    seed: bytes, visitor: str, start_us: int, span_us: int
) -> None:
    digest = hmac.new(seed, hashlib.sha256(visitor.encode("ascii")).digest(), "sha256").hexdigest()
    expected = start_us - span_us + int(digest, 16) % span_us
    assert drawn_turn_us(seed, visitor, start_us=start_us, span_us=span_us) == expected


@given(seeds, st.binary(max_size=64))
def test_seed_is_never_the_commitment(secret: bytes, randomness: bytes) -> None:
    assert seed_of(secret, randomness) != hashlib.sha256(secret).digest()


@given(st.binary(min_size=32), names, names, times_us, names, names, times_us)
def test_secrets_of_two_events_are_equal_only_if_these_are(
    key: bytes, room: str, event: str, start_us: int, room2: str, event2: str, start2_us: int
) -> None:
    one = draw_secret(key, room=room, event=event, announced_us=start_us)
    two = draw_secret(key, room=room2, event=event2, announced_us=start2_us)
    assert (one == two) == ((room, event, start_us) == (room2, event2, start2_us))
