"""Sample periods of autotune: responses to many visitors, or to one."""

from __future__ import annotations

from collections.abc import Mapping

from gatekeeper.policy.autotune import LATENCY_BOUNDS, PERIOD_S, Period
from gatekeeper.policy.autotune_period import GroupCounts
from gatekeeper.policy.visitor_groups import GROUPS
from gatekeeper.room.origin_tally import OriginTally

FAST, SLOW = LATENCY_BOUNDS.index(0.25), LATENCY_BOUNDS.index(2.0)
VISITORS = tuple(f"visitor {number}" for number in range(4 * GROUPS))


def counts_of(by_bucket: Mapping[int, int]) -> list[int]:
    """The histogram with these numbers of responses in the buckets."""
    counts = [0] * (len(LATENCY_BOUNDS) + 1)
    for bucket, count in by_bucket.items():
        counts[bucket] = count
    return counts


def spread(count: int) -> list[int]:
    """Spread as evenly as possible over the groups."""
    return [(count + group) // GROUPS for group in range(GROUPS)]


def period_of(
    by_bucket: Mapping[int, int],
    *,
    failed: int = 0,
    admitted: int = 0,
    waiting: bool = True,
    alone: GroupCounts | None = None,
) -> Period:
    """Responses to all groups of visitors, plus those to one more visitor."""
    by_group = {bucket: spread(count) for bucket, count in by_bucket.items()}
    groups = [
        GroupCounts(0, bad, counts_of({bucket: each[group] for bucket, each in by_group.items()}))
        for group, bad in enumerate(spread(failed))
    ]
    if alone is not None:
        without_response, bad, counts = groups[0]
        groups[0] = GroupCounts(
            without_response + alone.without_response,
            bad + alone.failed,
            [one + other for one, other in zip(counts, alone.counts, strict=True)],
        )
    return Period(PERIOD_S, groups, admitted=admitted, waiting=waiting)


def count_all(tally: OriginTally, responses: int, *, status: int = 200, seconds: float) -> None:
    """Responses to many visitors in turn."""
    for number in range(responses):
        tally.of(VISITORS[number % len(VISITORS)]).count(status, seconds=seconds)
