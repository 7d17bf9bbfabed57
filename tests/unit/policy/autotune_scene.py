"""Periods of a small shop, and the law of autotune after some of them."""

from __future__ import annotations

from gatekeeper.policy.autotune import (
    LATENCY_BOUNDS,
    Adjustment,
    Memory,
    Period,
    Reason,
    Targets,
    adjust,
)
from gatekeeper.policy.autotune_period import GroupCounts
from tests.origin_periods import FAST, SLOW, period_of

TARGETS = Targets(rate_min=30, rate_max=3000, latency_s=0.8, errors=0.02)
NEAR = LATENCY_BOUNDS.index(0.95)
EACH = 6  # responses of a visitor


def period(
    *,
    admitted: int = 25,
    slow: int = 0,
    near: int = 0,
    failed: int = 0,
    waiting: bool = True,
    each: int = EACH,
    alone: GroupCounts | None = None,
) -> Period:
    responses = admitted * each
    return period_of(
        {FAST: responses - slow - near, NEAR: near, SLOW: slow},
        failed=failed,
        admitted=admitted,
        waiting=waiting,
        alone=alone,
    )


def after(*periods: Period, rate: float = 300) -> Adjustment:
    """The adjustment after these periods, in order."""
    adjusted = Adjustment(rate, Memory(), Reason.RISE)
    for each in periods:
        adjusted = adjust(adjusted.rate, adjusted.memory, each, TARGETS)
    return adjusted


def measured() -> Memory:
    """The memory after a first limit and the measurement of the idle origin."""
    rate, memory, _ = vars_of(after(*[period()] * 20, period(slow=75)))
    for _ in range(12):
        rate, memory, _ = vars_of(adjust(rate, memory, period(admitted=12), TARGETS))
    for _ in range(24):
        rate, memory, _ = vars_of(adjust(rate, memory, period(), TARGETS))
    assert memory.capacity > 0
    assert not memory.is_probing
    return memory


def vars_of(adjusted: Adjustment) -> tuple[float, Memory, Reason]:
    return adjusted.rate, adjusted.memory, adjusted.reason
