"""How long people wait, how often they ask, how often the pacer looks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config import RoomConfig
from gatekeeper.policy.pacing import (
    IDLE_BEAT_S,
    LocalBucket,
    beat_s,
    eta_s,
    recovery_s,
    refresh_s,
)
from gatekeeper.policy.rules import Rules

RULES = Rules.of(RoomConfig())
RATE = st.floats(0.001, 60_000_000)
AHEAD = st.integers(0, 10_000_000)


@pytest.mark.parametrize(
    ("ahead", "rate_per_minute", "eta"),
    [
        (0, 60, 1),
        (9, 60, 10),
        (0, 500, 1),
        (99, 500, 12),
        (0, 1, 60),
        (0, 0.5, 120),
        (1_000_000, 60_000_000, 2),
        (5, 0, None),
        (5, -1, None),
    ],
)
def test_the_wait_is_the_people_ahead_and_oneself_at_the_rate(
    ahead: int, rate_per_minute: float, eta: int | None
) -> None:
    assert eta_s(ahead, rate_per_minute=rate_per_minute) == eta


@pytest.mark.parametrize(
    ("eta", "refresh"),
    [(1, 2), (12, 2), (13, 2), (30, 5), (60, 10), (180, 30), (181, 30), (100_000, 30), (None, 10)],
)
def test_one_asks_again_after_a_sixth_of_the_wait(eta: int | None, refresh: int) -> None:
    assert refresh_s(eta, rules=RULES) == refresh


@given(AHEAD, AHEAD, RATE)
def test_one_asks_more_often_toward_the_front(one: int, other: int, rate: float) -> None:
    near, far = sorted((one, other))
    eta_near, eta_far = (eta_s(each, rate_per_minute=rate) for each in (near, far))
    assert eta_near is not None
    assert eta_far is not None
    assert eta_near <= eta_far
    assert refresh_s(eta_near, rules=RULES) <= refresh_s(eta_far, rules=RULES)


@given(st.none() | st.integers(1, 10**9), st.floats(0.001, 100_000))
def test_one_always_asks_again_in_time_to_be_kept(eta: int | None, abandon_after_s: float) -> None:
    rules = replace(RULES, abandon_after_s=abandon_after_s)
    refresh = refresh_s(eta, rules=rules)
    assert 1 <= refresh <= 30
    assert refresh * 3 <= abandon_after_s or refresh == 1


@given(RATE | st.just(0.0), st.integers(1, 1_000_000), st.integers(0, 10_000_000))
def test_the_pacer_looks_within_bounds(rate: float, burst: int, waiting: int) -> None:
    beat = beat_s(rate_per_minute=rate, burst=burst, waiting=waiting)
    assert 0.02 <= beat <= IDLE_BEAT_S
    assert waiting == 0 or beat <= 0.25


@given(st.floats(0.001, 60_000), st.integers(1, 1000))
def test_no_admission_is_lost_to_a_full_bucket_while_people_wait(rate: float, burst: int) -> None:
    beat = beat_s(rate_per_minute=rate, burst=burst, waiting=1)
    fills_in_s = burst / (rate / 60)
    assert beat <= max(fills_in_s / 2, 0.02)


@given(AHEAD, RATE | st.just(0.0))
def test_an_emptied_store_waits_for_everybody_who_was_told_when_to_ask(
    waiting: int, rate: float
) -> None:
    window_s = recovery_s(waiting, rate_per_minute=rate, rules=RULES)
    assert window_s >= RULES.prove_within_s
    for ahead in {0, waiting // 2, max(waiting - 1, 0)}:
        assert window_s > refresh_s(eta_s(ahead, rate_per_minute=rate), rules=RULES)


# A replica's own share while the store is away


def test_a_share_begins_empty() -> None:
    assert not LocalBucket(RULES).take(now_s=0, rate_per_minute=600, replicas=1)


def test_a_share_gives_what_fell_due_and_no_more() -> None:
    bucket = LocalBucket(RULES)
    taken = [bucket.take(now_s=tick / 10, rate_per_minute=60, replicas=1) for tick in range(101)]
    assert sum(taken) == 10


def test_a_share_saves_up_no_more_than_its_burst() -> None:
    bucket = LocalBucket(replace(RULES, burst=4))
    bucket.take(now_s=0, rate_per_minute=60, replicas=2)
    taken = [bucket.take(now_s=1000, rate_per_minute=60, replicas=2) for _ in range(10)]
    assert taken == [True] * 2 + [False] * 8


def test_a_share_of_a_rate_of_zero_gives_nothing() -> None:
    bucket = LocalBucket(RULES)
    assert not any(bucket.take(now_s=t, rate_per_minute=0, replicas=1) for t in range(1000))


def test_a_share_gives_nothing_for_a_clock_that_steps_back_and_forth() -> None:
    bucket = LocalBucket(RULES)
    bucket.take(now_s=1000, rate_per_minute=60, replicas=1)
    assert not bucket.take(now_s=900, rate_per_minute=60, replicas=1)
    assert not bucket.take(now_s=900.5, rate_per_minute=60, replicas=1)


def test_a_share_counts_itself_when_nobody_counted_it() -> None:
    bucket = LocalBucket(RULES)
    bucket.take(now_s=0, rate_per_minute=60, replicas=0)
    assert bucket.take(now_s=1, rate_per_minute=60, replicas=0)


@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.floats(1, 100_000),
    st.lists(st.floats(0, 5), min_size=1, max_size=50),
)
def test_all_shares_together_stay_within_the_rooms_rate_and_one_a_replica(
    replicas: int, burst: int, rate: float, pauses_s: list[float]
) -> None:
    buckets = [LocalBucket(replace(RULES, burst=burst)) for _ in range(replicas)]
    now_s, taken = 0.0, 0
    for bucket in buckets:
        bucket.take(now_s=0, rate_per_minute=rate, replicas=replicas)
    for pause_s in pauses_s:
        now_s += pause_s
        for bucket in buckets:
            for _ in range(burst + 1):
                taken += bucket.take(now_s=now_s, rate_per_minute=rate, replicas=replicas)
    assert taken <= rate / 60 * now_s + 1e-6


def test_a_newcomer_is_told_to_come_back_well_before_being_swept() -> None:
    rules = Rules.of(RoomConfig(prove_within="20s"))  # type: ignore[arg-type]
    far_back = refresh_s(36_000, rules=rules)
    assert far_back > rules.prove_within_s
    assert refresh_s(36_000, rules=rules, newcomer=True) * 1.15 < rules.prove_within_s
    assert refresh_s(None, rules=rules, newcomer=True) * 1.15 < rules.prove_within_s
