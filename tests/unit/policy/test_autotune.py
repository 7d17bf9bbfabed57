"""The control law of autotune, one period at a time. The closed loop is in its own file."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.policy.autotune import (
    LATENCY_BOUNDS,
    PERIOD_S,
    Adjustment,
    Memory,
    Period,
    Reason,
    adjust,
    quantile,
)
from gatekeeper.policy.autotune_period import GroupCounts
from tests.origin_periods import FAST, counts_of, period_of
from tests.unit.policy.autotune_scene import EACH, NEAR, TARGETS, after, measured, period, vars_of


def test_demand_and_fast_responses_raise_the_rate() -> None:
    adjusted = after(*[period()] * 4)
    assert adjusted.reason is Reason.RISE
    assert adjusted.rate > 300


def test_slow_responses_lower_the_rate() -> None:
    steady = after(*[period()] * 4)
    adjusted = adjust(steady.rate, steady.memory, period(slow=75), TARGETS)
    assert adjusted.reason is Reason.TOO_SLOW
    assert adjusted.rate < 200


def test_failed_responses_lower_the_rate() -> None:
    steady = after(*[period()] * 4)
    adjusted = adjust(steady.rate, steady.memory, period(failed=30), TARGETS)
    assert adjusted.reason is Reason.TOO_MANY_ERRORS
    assert adjusted.rate < steady.rate


def test_a_greater_excess_lowers_the_rate_further() -> None:
    steady = after(*[period()] * 4)
    rates = [
        adjust(steady.rate, steady.memory, period(failed=failed), TARGETS).rate
        for failed in (15, 30, 60)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[1] > rates[2]


def test_few_slow_responses_of_few_lower_nothing() -> None:
    """Three of twelve prove nothing."""
    steady = after(*[period()] * 4)
    adjusted = adjust(steady.rate, steady.memory, period(admitted=2, slow=3), TARGETS)
    assert adjusted.rate >= steady.rate


def test_without_demand_the_rate_stays() -> None:
    adjusted = after(*[period(waiting=False)] * 4)
    assert adjusted.rate == 300
    assert adjusted.reason is Reason.NO_DEMAND


def test_too_few_samples_raise_nothing() -> None:
    adjusted = after(*[period(admitted=2, each=1)] * 4)
    assert adjusted.rate == 300
    assert adjusted.reason is Reason.TOO_FEW_SAMPLES


def test_an_origin_that_stops_responding_lowers_the_rate() -> None:
    steady = after(*[period()] * 4)
    adjusted = adjust(steady.rate, steady.memory, period(admitted=20, each=0), TARGETS)
    assert adjusted.reason is Reason.TOO_SLOW
    assert adjusted.rate < steady.rate


def test_few_requests_without_a_response_are_no_overload() -> None:
    """30/min, one request each: five seconds without a request are normal."""
    few = period(admitted=2, each=1)
    steady = after(*[few] * 60, rate=30.0)
    adjusted = adjust(steady.rate, steady.memory, period(admitted=2, each=0), TARGETS)
    assert adjusted.reason is not Reason.TOO_SLOW
    assert adjusted.rate >= steady.rate


def test_no_responses_and_no_admissions_change_nothing() -> None:
    steady = after(*[period()] * 4)
    adjusted = adjust(steady.rate, steady.memory, period(admitted=0), TARGETS)
    assert adjusted.rate == steady.rate


@pytest.mark.parametrize(("rate", "clamped"), [(10_000, 3000), (1, 30)])
def test_a_rate_outside_of_the_bounds_is_clamped(rate: float, clamped: float) -> None:
    assert after(period(waiting=False), rate=rate).rate == clamped


def test_the_highest_rate_is_reported() -> None:
    adjusted = after(*[period(admitted=300)] * 4, rate=3000)
    assert adjusted.rate == 3000
    assert adjusted.reason is Reason.AT_MAX


def follow(rate: float, minutes: float, *, bound: float = 0.25, failed_share: float = 0) -> float:
    """The rate after that time, with an origin that behaves the same at every rate."""
    adjusted = after(*[period()] * 20)
    adjusted = Adjustment(rate, adjusted.memory, adjusted.reason)
    index, owed = LATENCY_BOUNDS.index(bound), 0.0
    for _ in range(round(minutes * 60 / PERIOD_S)):
        admitted = round(adjusted.rate * PERIOD_S / 60)
        owed += admitted * EACH * failed_share
        failed = int(owed)
        owed -= failed
        measured = period_of({index: admitted * EACH}, failed=failed, admitted=admitted)
        adjusted = adjust(adjusted.rate, adjusted.memory, measured, TARGETS)
    return adjusted.rate


def test_a_slower_origin_below_its_target_keeps_most_of_its_rate() -> None:
    """From now on its p95 is 0.7 of the target, and a lower rate would not change that."""
    assert follow(300, 30, bound=0.7) > 200


def test_usual_errors_below_their_target_keep_the_rate() -> None:
    assert follow(300, 30, failed_share=0.015) >= 300


def test_an_origin_that_is_always_too_slow_falls_to_the_minimum() -> None:
    assert follow(300, 30, bound=1.25) == TARGETS.rate_min


def test_short_pause_changes_nothing_and_a_long_one_forgets() -> None:
    memory = after(*[period()] * 20, period(slow=75)).memory
    assert memory.after_pause(10) is memory
    assert memory.after_pause(1000) == Memory()


def test_pause_keeps_the_capacity_and_ends_the_overload() -> None:
    """The room was held for a minute, and the admitted visitors have left meanwhile."""
    memory = after(*[period()] * 20, period(slow=75)).memory
    assert memory.is_draining
    later = memory.after_pause(60)
    assert not later.is_draining
    assert later.capacity == memory.capacity > 0
    assert later.smoothed < 0.01 * memory.smoothed
    assert Memory.decode(later.encode()).capacity == pytest.approx(later.capacity, rel=1e-4)


def late(measured: Period) -> Period:
    """The same period, with a replica that was paused in it."""
    return Period(PERIOD_S, measured.groups, admitted=25, waiting=True, is_late=True)


def test_pause_of_a_replica_is_no_evidence() -> None:
    """All responses took as long as the pause of the machine."""
    steady = after(*[period()] * 20)
    adjusted = adjust(steady.rate, steady.memory, late(period(slow=150)), TARGETS)
    assert (adjusted.rate, adjusted.reason) == (steady.rate, Reason.REPLICA_LATE)
    again = adjust(adjusted.rate, adjusted.memory, period(), TARGETS)
    assert again.rate >= steady.rate


def test_replica_that_is_late_for_long_is_evidence() -> None:
    """The gate itself is too slow, and a lower rate helps."""
    rate, memory, reason = vars_of(after(*[period()] * 20))
    before = rate
    for _ in range(7):
        rate, memory, reason = vars_of(adjust(rate, memory, late(period(slow=150)), TARGETS))
    assert reason is Reason.TOO_SLOW
    assert rate < before


@pytest.mark.parametrize("chosen", [60.0, 900.0])
def test_rate_of_an_operator_is_where_the_law_goes_on(chosen: float) -> None:
    """Also during a fall, since its end would return to a rate that the operator has replaced."""
    fallen = after(*[period()] * 20, period(slow=75))
    adjusted = Adjustment(chosen, fallen.memory, fallen.reason)
    for _ in range(3):
        adjusted = adjust(adjusted.rate, adjusted.memory, period(), TARGETS)
    assert adjusted.rate == pytest.approx(chosen, rel=0.05)


def test_idle_origin_is_measured_at_half_of_a_first_limit() -> None:
    fallen = after(*[period()] * 20, period(slow=75))
    assert fallen.memory.is_probing
    rate, memory, _ = vars_of(adjust(fallen.rate, fallen.memory, period(), TARGETS))
    half = memory.capacity / memory.responses_each / 2
    assert fallen.rate < rate == pytest.approx(half)
    for _ in range(20):
        rate, memory, _ = vars_of(adjust(rate, memory, period(admitted=12), TARGETS))
    assert not memory.is_probing
    assert memory.idle > 0
    assert rate > 1.2 * half


def test_capacity_is_estimated_from_load_and_delay() -> None:
    """The same delay at a lower load is a lower capacity; a longer one too."""
    memory = measured()
    busy, quiet, slower = (
        adjust(300, memory, each, TARGETS).memory.capacity
        for each in (period(admitted=25), period(admitted=20), period(admitted=25, near=60))
    )
    assert quiet < busy
    assert slower < busy


def test_idle_origin_with_few_responses_is_measured_in_time() -> None:
    """One response in each period: the rate is not halved for longer, and rises again."""
    rate, memory, _ = vars_of(after(*[period()] * 20, period(slow=75)))
    one = period(admitted=1, each=1)
    probed = 0
    for _ in range(60):
        rate, memory, _ = vars_of(adjust(rate, memory, one, TARGETS))
        probed += memory.is_probing
    assert 120 <= probed * PERIOD_S <= 180
    assert memory.idle > 0


def test_latencies_that_vary_need_more_responses() -> None:
    """One of two kinds of pages is slow: the mean of 200 responses says little there."""
    probing = Memory(is_probing=True)
    even, uneven = {FAST: 50}, {FAST: 25, NEAR: 25}
    for counts, enough in ((even, 4), (uneven, 14)):
        pools = list(itertools.accumulate([period_of(counts)] * 20, Memory.after, initial=probing))
        assert [pool.is_pool_exact for pool in pools] == [number >= enough for number in range(21)]


def test_usual_failures_do_not_count_as_delay() -> None:
    """They were measured without load. More of them count, where there is a delay as well."""
    memory = replace(measured(), usual=0.005)
    slower = {FAST: 100, NEAR: 100}
    few, many, quick = (
        memory.wait_of(measured_period, TARGETS)
        for measured_period in (
            period_of(slower, failed=2, admitted=25),
            period_of(slower, failed=12, admitted=25),
            period_of({FAST: 200}, failed=12, admitted=25),
        )
    )
    assert few == memory.delay_of(period_of(slower, admitted=25), TARGETS)
    assert many > few + 10
    assert quick < 0.5


GROUP = st.builds(
    GroupCounts,
    st.integers(0, 50),
    st.integers(0, 500),
    st.dictionaries(st.integers(0, len(LATENCY_BOUNDS)), st.integers(0, 5000), max_size=4).map(
        counts_of
    ),
)


@st.composite
def periods(draw: st.DrawFn) -> Period:
    one, other = draw(GROUP), draw(GROUP)
    return Period(
        draw(st.floats(0.1, 15)),
        [one if is_one else other for is_one in draw(st.permutations([True] * 4 + [False] * 4))],
        admitted=draw(st.integers(0, 10_000)),
        waiting=draw(st.booleans()),
    )


@given(st.lists(periods(), max_size=5), st.floats(0, 1e6), st.sampled_from([0.0, 0.02, 1.0]))
def test_any_periods_keep_rate_and_memory_in_bounds(
    run: list[Period], rate: float, errors: float
) -> None:
    adjusted, targets = Adjustment(rate, measured(), Reason.RISE), replace(TARGETS, errors=errors)
    for each in run:
        adjusted = adjust(adjusted.rate, adjusted.memory, each, targets)
        assert TARGETS.rate_min <= adjusted.rate <= TARGETS.rate_max
        text = adjusted.memory.encode()
        assert len(text) <= 400
        assert text.isascii()
        assert text.isprintable()
        assert Memory.decode(text).encode() == text


@given(st.text(max_size=300))
def test_a_garbled_memory_is_a_fresh_one(text: str) -> None:
    assert Memory.decode(text) == Memory()


@pytest.mark.parametrize("bad", ["nan", "inf", "-1", "1e30", ""])
def test_a_number_out_of_bounds_is_no_memory(bad: str) -> None:
    text = after(period()).memory.encode()
    first = text.partition(":")[2].split(",")[0]
    assert Memory.decode(text.replace(f":{first},", f":{bad},", 1)) == Memory()


@pytest.mark.parametrize(
    ("counts", "share", "latency"),
    [
        ({}, 0.95, None),
        ({0.25: 100}, 0.95, 0.2475),
        ({1.0: 96, 10.0: 4}, 0.95, 0.9994791666666667),
        ({1.0: 94, 10.0: 6}, 0.95, pytest.approx(5.8333333)),
        ({1.0: 1, None: 9}, 0.95, LATENCY_BOUNDS[-1]),
    ],
)
def test_quantile(counts: dict[float | None, int], share: float, latency: float | None) -> None:
    histogram = [0] * (len(LATENCY_BOUNDS) + 1)
    for bound, count in counts.items():
        histogram[-1 if bound is None else LATENCY_BOUNDS.index(bound)] = count
    assert quantile(histogram, share) == latency


def test_latency_of_a_period_is_in_seconds() -> None:
    assert period().latency_s(TARGETS) == pytest.approx(0.2475 * 0.8)
    assert period(admitted=0).latency_s(TARGETS) is None
