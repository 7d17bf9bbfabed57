"""What one visitor can do to the rate, among many and in a small room."""

import pytest

from gatekeeper.policy.autotune import LATENCY_BOUNDS, PERIOD_S, Period, Reason, adjust
from gatekeeper.policy.autotune_period import GroupCounts
from gatekeeper.policy.visitor_groups import GROUPS
from tests.origin_periods import FAST, SLOW, counts_of, period_of
from tests.unit.policy.autotune_scene import TARGETS, after, measured, period, vars_of

BAD = {
    "slow": GroupCounts(0, 0, counts_of({SLOW: 10})),
    "failed": GroupCounts(0, 10, counts_of({FAST: 10})),
    "without_response": GroupCounts(10, 0, counts_of({})),
}
alone = pytest.mark.parametrize("alone", BAD.values(), ids=BAD)


def few(by_bucket: dict[int, int], alone: GroupCounts | None = None) -> Period:
    return period_of(by_bucket, admitted=4, alone=alone)


@alone
def test_fall_ends_despite_one_visitor_with_bad_responses(alone: GroupCounts) -> None:
    """Two of 26 are above both targets: with the low rate of a fall it would never end."""
    rate, memory, reason = vars_of(adjust(300, measured(), period(slow=75), TARGETS))
    reasons = []
    for _ in range(5):
        rate, memory, reason = vars_of(adjust(rate, memory, few({FAST: 24}, alone), TARGETS))
        reasons.append(reason)
    assert reasons == [Reason.SETTLING] * 4 + [Reason.RECOVERED]


def test_bad_responses_of_two_groups_count() -> None:
    """A fall goes on while visitors of two groups are affected."""
    rate, memory, reason = vars_of(adjust(300, measured(), period(slow=75), TARGETS))
    two = period_of({FAST: 24}, failed=2, admitted=4)
    for _ in range(20):
        rate, memory, reason = vars_of(adjust(rate, memory, two, TARGETS))
        assert reason is Reason.SETTLING


@pytest.mark.parametrize(
    "alone",
    [
        GroupCounts(0, 0, counts_of({SLOW: 400})),
        GroupCounts(0, 400, counts_of({FAST: 400})),
        GroupCounts(400, 0, counts_of({})),
        GroupCounts(0, 0, counts_of({LATENCY_BOUNDS.index(0.95): 400})),
    ],
    ids=["slow", "failed", "without_response", "near"],
)
@pytest.mark.parametrize("admitted", [2, 5, 250])
def test_one_visitor_does_not_lower_the_rate(alone: GroupCounts, admitted: int) -> None:
    """With any requests without pause for ten minutes, in a room with 24 visitors a minute and with
    3,000."""
    steady = after(*[period(admitted=admitted)] * 20, rate=admitted * 12)
    rate, memory = steady.rate, steady.memory
    for _ in range(120):
        measured = period(admitted=admitted, waiting=False, alone=alone)
        rate, memory, reason = vars_of(adjust(rate, memory, measured, TARGETS))
        assert reason is Reason.NO_DEMAND
    assert rate == steady.rate


def test_quick_responses_to_one_visitor_hide_no_overload() -> None:
    steady = after(*[period()] * 20)
    alone = GroupCounts(0, 0, counts_of({FAST: 5000}))
    adjusted = adjust(steady.rate, steady.memory, period(slow=40, alone=alone), TARGETS)
    assert adjusted.reason is Reason.TOO_SLOW


def test_visitors_of_three_groups_lower_the_rate_of_a_small_room() -> None:
    """An origin that is down, and few visitors who are affected."""
    steady = after(*[period(admitted=3)] * 20)
    groups = [GroupCounts(2 if number < 3 else 0, 0, counts_of({})) for number in range(GROUPS)]
    measured = Period(PERIOD_S, groups, admitted=3, waiting=True)
    adjusted = adjust(steady.rate, steady.memory, measured, TARGETS)
    assert adjusted.reason is Reason.TOO_MANY_ERRORS
