"""How far one period moves the rate, and what a period counts of one group of visitors."""

from gatekeeper.policy.autotune import LATENCY_BOUNDS, Memory, Reason, adjust
from gatekeeper.policy.autotune_period import GroupCounts
from tests.origin_periods import FAST, counts_of, period_of
from tests.unit.policy.autotune_scene import TARGETS, after, measured, period, vars_of


def test_rise_before_a_first_limit_is_a_quarter_at_most() -> None:
    rate, memory = 300.0, Memory()
    for _ in range(8):
        risen, memory, _ = vars_of(adjust(rate, memory, period(admitted=100), TARGETS))
        assert risen <= 1.25 * rate + 1e-9
        rate = risen
    assert rate > 600


def test_each_rise_before_a_limit_needs_new_responses() -> None:
    """Twelve responses in a period: two periods for each step."""
    rate, memory, reasons = 100.0, Memory(), []
    for _ in range(12):
        rate, memory, reason = vars_of(adjust(rate, memory, period(admitted=12, each=1), TARGETS))
        reasons.append(reason)
    assert 3 <= reasons.count(Reason.RISE) <= 6


def test_longer_latencies_lower_the_rate_further() -> None:
    """With the same number of slow responses."""
    memory = measured()
    rates = [
        adjust(memory.given, memory, period_of({FAST: 75, index: 75}, admitted=25), TARGETS).rate
        for index in map(LATENCY_BOUNDS.index, (1.25, 2.0, 3.0))
    ]
    assert rates[0] > 1.2 * rates[1] > 1.4 * rates[2]


def test_a_greater_share_of_failures_lowers_the_rate_further() -> None:
    """Deeper than what the origin serves explains."""
    memory = measured()
    few, many = (
        adjust(memory.given, memory, period(admitted=80, failed=failed), TARGETS)
        for failed in (30, 120)
    )
    each = memory.responses_each
    assert few.rate > 1.3 * many.rate
    assert many.rate < 0.6 * many.memory.capacity / each


def test_resume_begins_a_new_pool() -> None:
    """The responses of an overload say nothing about the origin after it."""
    fallen = adjust(300, measured(), period(slow=75), TARGETS)
    resumed = adjust(fallen.rate, fallen.memory, period(), TARGETS)
    assert resumed.reason is Reason.RECOVERED
    assert resumed.memory.samples == 0


def test_memory_of_another_version_is_a_fresh_one() -> None:
    text = measured().encode()
    assert Memory.decode(text).capacity > 0
    assert Memory.decode(text.replace("4:", "3:", 1)) == Memory()


def test_failures_of_one_visitor_count_little() -> None:
    alone = GroupCounts(400, 0, counts_of({}))
    measured_period = period_of({FAST: 80}, admitted=10, alone=alone)
    assert measured_period.failed == 2
    assert measured_period.responses <= 82


def test_small_differences_are_deferred() -> None:
    rate, memory, _ = vars_of(after(*[period()] * 20, period(slow=75)))
    for _ in range(60):
        steered, memory, _ = vars_of(adjust(rate, memory, period(admitted=15), TARGETS))
        assert steered == rate or abs(steered - rate) > 0.003 * rate
        rate = steered
