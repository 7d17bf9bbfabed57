"""A replica's measurements of the origin."""

import pytest

from gatekeeper.policy.autotune import LATENCY_BOUNDS
from gatekeeper.policy.visitor_groups import GROUPS, group_of
from gatekeeper.room.origin_tally import OriginTally

VISITOR = "anna"
WIDTH = len(LATENCY_BOUNDS) + 3


def tally_of(target_s: float = 0.5) -> OriginTally:
    tally = OriginTally()
    tally.measure_by(target_s)
    return tally


def taken(tally: OriginTally, visitor: str = VISITOR) -> list[int]:
    """The counts of this visitor's group; all others are 0."""
    late, *numbers = (int(number) for number in tally.take().split())
    assert late == 0
    assert len(numbers) == GROUPS * WIDTH
    begin = group_of(visitor) * WIDTH
    own = numbers[begin : begin + WIDTH]
    assert sum(own) == sum(numbers)
    return own


def test_tally_is_taken_once() -> None:
    tally = tally_of()
    tally.of(VISITOR).count(200, seconds=0.1)
    assert tally.take()
    assert tally.take() == ""


def test_counts_are_without_response_failed_and_buckets() -> None:
    tally = tally_of()
    group = tally.of(VISITOR)
    group.count(200, seconds=0.5)  # exactly the target counts as within it
    group.count(502, seconds=1e9)
    group.count_failure()
    group.count_failure()
    without_response, failed, *counts = taken(tally)
    assert (without_response, failed) == (2, 1)
    assert counts[LATENCY_BOUNDS.index(1.0)] == 1
    assert counts[-1] == 1


def test_client_that_disconnects_counts_above_the_target() -> None:
    tally = tally_of()
    tally.of(VISITOR).count_abandoned(seconds=0.5)
    assert tally.take() == ""
    tally.of(VISITOR).count_abandoned(seconds=0.6)
    without_response, failed, *counts = taken(tally)
    assert (without_response, failed, sum(counts)) == (0, 0, 1)
    assert sum(counts[: LATENCY_BOUNDS.index(1.0) + 1]) == 0


@pytest.mark.parametrize(("status", "failed"), [(101, 0), (200, 0), (404, 0), (499, 0), (500, 1)])
def test_server_errors_alone_are_failures(status: int, failed: int) -> None:
    """A refusal for one visitor (404, 429) does not show that the origin is overloaded."""
    tally = tally_of()
    tally.of(VISITOR).count(status, seconds=0.1)
    assert taken(tally)[1] == failed


def test_visitor_is_in_the_same_group_of_every_replica() -> None:
    replicas = [tally_of(), tally_of()]
    for tally in replicas:
        tally.of(VISITOR).count(200, seconds=0.1)
    assert taken(replicas[0]) == taken(replicas[1])


def test_visitors_are_in_all_groups() -> None:
    assert {group_of(f"visitor {number}") for number in range(200)} == set(range(GROUPS))


def test_nothing_is_counted_while_autotune_is_off() -> None:
    """Not even by a cached request from before."""
    tally = tally_of()
    group = tally.of(VISITOR)
    for target_s in (None, 0.5):
        group.count(200, seconds=0.1)
        tally.measure_by(target_s)
        assert tally.take() == ""
    tally.measure_by(None)
    group.count(200, seconds=9)
    group.count_abandoned(seconds=9)
    group.count_failure()
    assert tally.take() == ""


def test_counts_of_another_target_are_dropped() -> None:
    tally = tally_of()
    tally.of(VISITOR).count(200, seconds=0.1)
    tally.measure_by(0.25)
    assert tally.take() == ""
    tally.of(VISITOR).count(200, seconds=0.25)
    assert taken(tally)[2 + LATENCY_BOUNDS.index(1.0)] == 1


def test_pause_of_the_replica_comes_before_the_counts() -> None:
    tally = tally_of()
    assert tally.take(is_late=True) == "1"
    tally.of(VISITOR).count(200, seconds=0.1)
    assert tally.take(is_late=True).startswith("1 0 ")
