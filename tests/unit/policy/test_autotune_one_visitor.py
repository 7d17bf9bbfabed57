"""What one visitor can do to the rate of a small room in which visitors wait."""

import pytest

from gatekeeper.policy.autotune import Period, Reason, adjust
from gatekeeper.policy.autotune_period import GroupCounts
from tests.origin_periods import FAST, SLOW, counts_of, period_of
from tests.unit.policy.test_autotune import TARGETS, measured, period, vars_of

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
