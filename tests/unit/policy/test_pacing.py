"""Estimated waits, poll intervals, the pacer's tick and the local share of the rate."""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.pacing import (
    IDLE_TICK_S,
    LocalBucket,
    eta_s,
    poll_interval_before_draw_s,
    poll_interval_s,
    recovery_s,
    tick_interval_s,
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
def test_eta_counts_visitors_ahead_at_the_rate(
    ahead: int, rate_per_minute: float, eta: int | None
) -> None:
    assert eta_s(ahead, rate_per_minute=rate_per_minute) == eta


@pytest.mark.parametrize(
    ("ahead", "rate", "refresh"),
    [
        (0, 500, 1),
        (99, 500, 4),
        (499, 500, 24),
        (2_000, 500, 36),
        (100_000, 60_000, 36),
        (1_000, 60_000, 1),
        (3, 1, 1),  # a few visitors who leave can change the whole wait
        (12, 1, 6),
        (60, 1, 30),
        (80, 1, 36),
        (0, 0, 1),
        (20, 0, 10),
        (100_000, 0, 36),
        (None, 500, 10),
    ],
)
def test_poll_interval_is_two_fifths_of_the_wait_or_less(
    ahead: int | None, rate: float, refresh: int
) -> None:
    assert poll_interval_s(ahead, rate_per_minute=rate, rules=RULES) == refresh


@given(AHEAD, AHEAD, RATE | st.just(0.0))
def test_poll_interval_shrinks_toward_the_front(one: int, other: int, rate: float) -> None:
    near, far = (
        poll_interval_s(each, rate_per_minute=rate, rules=RULES) for each in sorted((one, other))
    )
    assert near <= far


@given(st.none() | AHEAD, RATE | st.just(0.0), st.floats(0.001, 100_000), st.floats(1, 1000))
def test_poll_interval_fits_the_timeouts(
    ahead: int | None, rate: float, within_s: float, ceiling_s: float
) -> None:
    rules = replace(RULES, poll_interval_max_s=ceiling_s)
    for bound in (
        replace(rules, heartbeat_timeout_s=within_s),
        replace(rules, claim_timeout_s=within_s),
    ):
        refresh = poll_interval_s(ahead, rate_per_minute=rate, rules=bound)
        assert 1 <= refresh <= ceiling_s
        assert refresh * 2.5 <= within_s or refresh == 1


@given(st.integers(0, 2**53 - 1), AHEAD, RATE)
def test_poll_intervals_are_jittered_by_arrival(arrival_us: int, ahead: int, rate: float) -> None:
    longest = poll_interval_s(ahead, rate_per_minute=rate, rules=RULES)
    interval_s = poll_interval_s(ahead, rate_per_minute=rate, rules=RULES, arrival_us=arrival_us)
    assert longest * 0.9 - 1 <= interval_s <= longest


def test_poll_intervals_far_back_are_spread() -> None:
    intervals_s = [
        poll_interval_s(100_000, rate_per_minute=1, rules=RULES, arrival_us=us)
        for us in range(10_000)
    ]
    assert {intervals_s.count(seconds) > 2_000 for seconds in (34, 35, 36)} == {True}


# The line in virtual time. The client's jitter is ±15 %.

JITTER = st.floats(0.85, 1.15)
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 600),  # after this time
        st.floats(1, 60_000),  # the rate is this
        st.integers(0, 100_000) | st.just(0),  # and this many visitors ahead have left
    ),
    max_size=8,
)


@dataclass
class Line:
    """The number of visitors ahead of one visitor, while the rate changes and others leave."""

    ahead: int
    rate: float
    changes: list[tuple[float, float, int]]

    def at(self, time_s: float) -> tuple[float, float]:
        """The number of visitors ahead, negative after the release, and the rate."""
        ahead, rate = float(self.ahead), self.rate
        for after_s, next_rate, left in self.changes:
            if time_s < after_s:
                break
            ahead -= after_s * rate / 60
            if ahead < 0:  # released before the change
                return ahead - (time_s - after_s), rate
            time_s -= after_s
            ahead, rate = max(ahead - left, 0.0), next_rate
        return ahead - time_s * rate / 60, rate

    def released_s(self) -> float:
        """When the visitor is released: the admission is due."""
        low, high = 0.0, 1e9
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.at(middle)[0] > -1 else (low, middle)
        return high


@given(AHEAD.map(lambda ahead: ahead % 100_000), st.floats(1, 60_000), CHANGES, st.data())
def test_release_near_the_front_is_learned_within_two_seconds(
    ahead: int, rate: float, changes: list[tuple[float, float, int]], data: st.DataObject
) -> None:
    line = Line(ahead, rate, changes)
    released_s = line.released_s()
    # Starts at any time before the release, since only the last interval matters.
    now_s = released_s - data.draw(st.floats(0, min(released_s, 60)))
    for _ in range(200):
        ahead_now, rate_now = line.at(now_s)
        shown_ahead = max(math.floor(ahead_now), 0)
        interval_s = poll_interval_s(shown_ahead, rate_per_minute=rate_now, rules=RULES)
        next_s = now_s + interval_s * data.draw(JITTER)
        if next_s >= released_s:
            near = shown_ahead < 4 or (shown_ahead + 1) * 60 / rate_now < 5
            late_s = next_s - released_s
            assert not near or late_s <= 2
            assert late_s <= 36 * 1.15
            return
        now_s = next_s


@given(
    AHEAD.map(lambda ahead: ahead % 100_000), st.floats(1, 60_000), st.floats(0.01, 2), st.data()
)
def test_queue_twice_as_fast_delays_no_claim(
    ahead: int, rate: float, factor: float, data: st.DataObject
) -> None:
    """For any place, if the rate changes right after the response, or visitors leave."""
    interval_s = poll_interval_s(ahead, rate_per_minute=rate, rules=RULES)
    released_in_s = (ahead + 1) * 60 / (rate * factor)
    assert interval_s * data.draw(JITTER) - released_in_s <= 2


@pytest.mark.parametrize("rate", [0, 1, 60, 500, 2_500, 6_000])
def test_queue_of_100000_polls_below_4000_per_second(rate: int) -> None:
    assert asked_per_s(100_000, rate=rate) < 4_000


@pytest.mark.parametrize("rate", [10_000, 20_000, 60_000])
def test_fast_queue_polls_a_dozen_times_per_admission(rate: int) -> None:
    """If a hundred thousand are admitted within minutes, fewer polls are not possible."""
    assert asked_per_s(100_000, rate=rate) < 4_000 + 12 * rate / 60


def asked_per_s(waiting: int, *, rate: float, each: int = 10) -> float:
    """Polls per second by every tenth place, since the interval grows steadily with the place."""
    return each * sum(
        1 / poll_interval_s(ahead, rate_per_minute=rate, rules=RULES, arrival_us=ahead * 7919)
        for ahead in range(0, waiting, each)
    )


@pytest.mark.parametrize(
    ("rate", "most"), [(1, 600), (10, 180), (60, 180), (500, 180), (5_000, 180), (60_000, 180)]
)
def test_wait_of_an_hour_polls_a_quarter_of_every_five_seconds(rate: int, most: int) -> None:
    now_s, asked = 0.0, 0
    while (ahead := rate * 60 - math.floor(now_s * rate / 60)) > 0:
        now_s += poll_interval_s(ahead, rate_per_minute=rate, rules=RULES)
        asked += 1
    assert asked <= most


@given(RATE | st.just(0.0), st.integers(1, 1_000_000), st.integers(0, 10_000_000))
def test_tick_interval_stays_within_bounds(rate: float, burst: int, waiting: int) -> None:
    beat = tick_interval_s(rate_per_minute=rate, burst=burst, waiting=waiting)
    assert 0.02 <= beat <= IDLE_TICK_S
    assert waiting == 0 or beat <= 0.25


@given(st.floats(0.001, 60_000), st.integers(1, 1000))
def test_tick_interval_loses_no_admission_to_a_full_bucket(rate: float, burst: int) -> None:
    beat = tick_interval_s(rate_per_minute=rate, burst=burst, waiting=1)
    fills_in_s = burst / (rate / 60)
    assert beat <= max(fills_in_s / 2, 0.02)


@given(AHEAD, RATE | st.just(0.0))
def test_recovery_window_covers_the_longest_poll_interval(waiting: int, rate: float) -> None:
    window_s = recovery_s(waiting, rate_per_minute=rate, rules=RULES)
    assert window_s >= RULES.confirm_timeout_s
    for ahead in {0, waiting // 2, max(waiting - 1, 0)}:
        assert window_s > poll_interval_s(ahead, rate_per_minute=rate, rules=RULES)


@given(AHEAD, RATE | st.just(0.0), st.floats(-5, 200), st.integers(0, 10**6))
def test_recovery_window_covers_the_first_poll_after_an_opening(
    waiting: int, rate: float, until_start_s: float, arrival_us: int
) -> None:
    """Also of a page that polls 15 % later than the interval."""
    window_s = recovery_s(waiting + 1, rate_per_minute=rate, rules=RULES, is_opening=True)
    interval_s = poll_interval_before_draw_s(
        until_start_s=until_start_s,
        waiting=waiting,
        rate_per_minute=rate,
        rules=RULES,
        arrival_us=arrival_us,
    )
    assert window_s >= interval_s * 1.15


def test_polls_during_a_long_draw_are_spread_over_an_interval() -> None:
    intervals_s = [
        poll_interval_before_draw_s(
            until_start_s=-5,
            waiting=100_000,
            rate_per_minute=2000,
            rules=RULES,
            arrival_us=arrival_us * 1_013,
        )
        for arrival_us in range(20_000)
    ]
    assert 15 < sum(intervals_s) / len(intervals_s) < 21
    assert sum(each <= 2 for each in intervals_s) < len(intervals_s) / 10


# A replica's local share while the store is unreachable


def test_share_begins_empty() -> None:
    assert not LocalBucket(RULES).take(now_s=0, rate_per_minute=600, replicas=1)


def test_share_gives_what_fell_due() -> None:
    bucket = LocalBucket(RULES)
    taken = [bucket.take(now_s=tick / 10, rate_per_minute=60, replicas=1) for tick in range(101)]
    assert sum(taken) == 10


def test_share_holds_at_most_its_burst() -> None:
    bucket = LocalBucket(replace(RULES, burst=4))
    bucket.take(now_s=0, rate_per_minute=60, replicas=2)
    taken = [bucket.take(now_s=1000, rate_per_minute=60, replicas=2) for _ in range(10)]
    assert taken == [True] * 2 + [False] * 8


def test_share_at_rate_zero_gives_nothing() -> None:
    bucket = LocalBucket(RULES)
    assert not any(bucket.take(now_s=t, rate_per_minute=0, replicas=1) for t in range(1000))


def test_share_gives_nothing_for_a_jumping_clock() -> None:
    bucket = LocalBucket(RULES)
    bucket.take(now_s=1000, rate_per_minute=60, replicas=1)
    assert not bucket.take(now_s=900, rate_per_minute=60, replicas=1)
    assert not bucket.take(now_s=900.5, rate_per_minute=60, replicas=1)


def test_share_counts_at_least_one_replica() -> None:
    bucket = LocalBucket(RULES)
    bucket.take(now_s=0, rate_per_minute=60, replicas=0)
    assert bucket.take(now_s=1, rate_per_minute=60, replicas=0)


@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.floats(1, 100_000),
    st.lists(st.floats(0, 5), min_size=1, max_size=50),
)
def test_all_shares_stay_within_rate_and_one_per_replica(
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


def test_newcomer_polls_before_confirm_timeout() -> None:
    rules = Rules.of(RoomConfig(confirm_timeout="20s"))  # type: ignore[arg-type]
    far_back = poll_interval_s(36_000, rate_per_minute=60, rules=rules)
    assert far_back > rules.confirm_timeout_s
    for ahead in (36_000, None):
        interval_s = poll_interval_s(ahead, rate_per_minute=60, rules=rules, newcomer=True)
        assert interval_s * 1.15 < rules.confirm_timeout_s
