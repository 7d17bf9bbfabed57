"""What a replica measured of the origin."""

import pytest

from gatekeeper.policy.autotune import LATENCY_BOUNDS
from gatekeeper.room.origin_tally import OriginTally


def test_tally_is_taken_once() -> None:
    tally = OriginTally()
    tally.count(200, seconds=0.1)
    assert tally.take()
    assert tally.take() == ""


def test_counts_are_unanswered_failed_and_buckets() -> None:
    tally = OriginTally()
    tally.target_s = 0.5
    tally.count(200, seconds=0.5)  # the target itself: within it
    tally.count(502, seconds=1e9)
    tally.count_failure()
    tally.count_failure()
    unanswered, failed, *counts = map(int, tally.take().split())
    assert (unanswered, failed) == (2, 1)
    assert len(counts) == len(LATENCY_BOUNDS) + 1
    assert counts[LATENCY_BOUNDS.index(1.0)] == 1
    assert counts[-1] == 1


def test_client_that_disconnects_counts_above_the_target() -> None:
    tally = OriginTally()
    tally.target_s = 0.5
    tally.count_abandoned(seconds=0.5)
    assert tally.take() == ""
    tally.count_abandoned(seconds=0.6)
    unanswered, failed, *counts = map(int, tally.take().split())
    assert (unanswered, failed, sum(counts)) == (0, 0, 1)
    assert sum(counts[: LATENCY_BOUNDS.index(1.0) + 1]) == 0


@pytest.mark.parametrize(("status", "failed"), [(101, 0), (200, 0), (404, 0), (499, 0), (500, 1)])
def test_server_errors_alone_are_failures(status: int, failed: int) -> None:
    """What the origin refuses to one visitor (404, 429) says nothing of its load."""
    tally = OriginTally()
    tally.count(status, seconds=0.1)
    assert int(tally.take().split()[1]) == failed
