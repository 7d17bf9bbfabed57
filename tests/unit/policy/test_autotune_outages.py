"""What the control law of autotune learns, and does not learn, while the origin is down and while
the room is quiet or empty."""

from dataclasses import replace

import pytest

from gatekeeper.policy.autotune import Reason, adjust
from tests.unit.policy.autotune_scene import TARGETS, after, measured, period, vars_of


def test_capacity_below_the_lowest_rate_rises_again() -> None:
    """An origin that was down served nearly nothing, and the lowest rate is far above that."""
    rate, memory = 30.0, replace(measured(), capacity=1.0, known=1.0)
    memory = replace(memory, given=rate)
    for _ in range(60):
        rate, memory, _ = vars_of(adjust(rate, memory, period(admitted=3), TARGETS))
    assert rate > 40


def test_fall_goes_on_without_any_response() -> None:
    """A period without a response is no sign that the origin is back."""
    rate, memory, reason = vars_of(adjust(300, measured(), period(failed=150), TARGETS))
    for _ in range(20):
        rate, memory, reason = vars_of(adjust(rate, memory, period(admitted=1, each=0), TARGETS))
    assert (rate, reason) == (TARGETS.rate_min, Reason.SETTLING)
    assert memory.is_draining


def test_capacity_is_not_measured_by_few_visitors() -> None:
    """The origin is down, and one in four of the last requests succeeds. When it is back, so is
    the rate."""
    rate, memory = 300.0, measured()
    memory = replace(memory, given=rate)
    few = [period(admitted=2, failed=12)] * 12 + [period(admitted=2, failed=9)] * 20
    for measured_period in [period(failed=150), *few]:
        rate, memory, _ = vars_of(adjust(rate, memory, measured_period, TARGETS))
    assert rate == TARGETS.rate_min
    back = adjust(rate, memory, period(admitted=3), TARGETS)
    assert back.reason is Reason.RECOVERED
    assert back.rate > 200


def test_outage_before_a_first_limit_keeps_the_rate() -> None:
    rate, memory, _ = vars_of(after(*[period()] * 8))
    assert not memory.capacity
    for measured_period in [period(failed=150)] * 6 + [period(admitted=3)]:
        rate, memory, _ = vars_of(adjust(rate, memory, measured_period, TARGETS))
    assert rate > 100


def test_idle_origin_whose_load_stays_is_not_waited_for() -> None:
    """Visitors inside, or the lowest rate, keep the load near the limit. What is measured there is
    no idle origin."""
    rate, memory, _ = vars_of(after(*[period()] * 20, period(slow=75)))
    idle = memory.idle
    for _ in range(26):
        rate, memory, _ = vars_of(adjust(rate, memory, period(near=75), TARGETS))
    assert not memory.is_probing
    assert memory.idle == idle


def test_rate_of_a_quiet_room_stays() -> None:
    """At night a visitor makes one request in place of six, which says nothing about the crowd."""
    memory = measured()
    rate = memory.given
    for _ in range(100):
        one = period(admitted=1, each=1, waiting=False)
        rate, memory, _ = vars_of(adjust(rate, memory, one, TARGETS))
    assert rate == measured().given


def test_empty_room_keeps_the_responses_of_a_visitor() -> None:
    memory = measured()
    for _ in range(1000):
        memory = memory.after(period(admitted=0))
    assert memory.each_load == pytest.approx(measured().each_load, rel=0.1)


def test_rate_of_an_operator_in_an_overload_is_no_capacity() -> None:
    """It is far too high. The next overload shows what the origin serves."""
    rate, memory, _ = vars_of(after(*[period()] * 20, period(slow=75)))
    assert memory.is_draining
    for measured_period in (period(), period(slow=75)):
        rate, memory, _ = vars_of(adjust(3000, memory, measured_period, TARGETS))
    assert memory.capacity < 2000
    assert rate < 300


def test_pause_ends_the_measurement_of_an_overload() -> None:
    memory = after(*[period()] * 20, period(slow=75)).memory
    assert memory.is_measured
    assert not memory.after_pause(60).is_measured
