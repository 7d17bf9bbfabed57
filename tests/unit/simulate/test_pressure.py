"""Waits, throughput, places and lurkers: every broken promise is found, and no other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.simulate.pressure import (
    LurkerRecord,
    PromisedWait,
    PromisedWaits,
    QueueRecord,
    Throughput,
)


@dataclass
class Ann:
    """A visitor at 60/min who arrived at 0 s and is in line since 1 s; each step is one poll."""

    waits: PromisedWaits = field(default_factory=PromisedWaits)
    promised: PromisedWait | None = None
    present_since_s: float = 1.0

    def polls(
        self, *, at_s: float, position: int | None, rate_per_minute: float | None = 60
    ) -> None:
        self.promised = self.waits.received_waiting(
            self.promised,
            position=position,
            rate_per_minute=rate_per_minute,
            waited_s=at_s,
            present_since_s=self.present_since_s,
            sent_s=at_s,
            now_s=at_s,
        )


def test_waits_until_promised_instant_keep_promise() -> None:
    ann = Ann()
    ann.polls(at_s=3, position=10)
    ann.polls(at_s=8, position=5)
    ann.polls(at_s=15, position=1)

    assert (ann.waits.judged, ann.waits.late, ann.waits.worst_s) == (1, 0, 2)


def test_waits_longer_than_promised_is_counted_once() -> None:
    ann = Ann()
    ann.polls(at_s=3, position=10)
    ann.polls(at_s=15.1, position=10)
    ann.polls(at_s=20, position=10)

    assert (ann.waits.judged, ann.waits.late) == (1, 1)


def test_waits_first_positions_promise_nothing() -> None:
    """Earlier arrivals who confirm a moment later are still placed ahead."""
    ann = Ann()
    ann.polls(at_s=1, position=1)
    ann.polls(at_s=2.9, position=30)

    assert ann.promised is None
    assert ann.waits.judged == 0


def test_waits_returned_visitor_moves_promise_by_one_admission() -> None:
    ann = Ann()
    ann.polls(at_s=3, position=10)
    ann.waits.visitor_returned()
    ann.polls(at_s=16, position=1)
    assert ann.waits.late == 0

    ann.polls(at_s=16.1, position=1)
    assert ann.waits.late == 1


@pytest.mark.parametrize("change", ["stopped", "rate", "absent", "no position"])
def test_waits_change_of_the_line_ends_promise(change: str) -> None:
    ann = Ann()
    ann.polls(at_s=3, position=10)
    match change:
        case "stopped":
            ann.waits.line_stopped(now_s=5)
        case "absent":
            ann.present_since_s = 12
        case "no position":
            ann.polls(at_s=5, position=None)
    ann.polls(at_s=14, position=9, rate_per_minute=30 if change == "rate" else 60)
    ann.polls(at_s=17, position=9, rate_per_minute=30 if change == "rate" else 60)
    assert ann.waits.late == 0

    ann.polls(at_s=60, position=9, rate_per_minute=30 if change == "rate" else 60)
    assert ann.waits.late == 1, "the next position makes a new promise"


@given(st.lists(st.floats(0.1, 3), min_size=5, max_size=40), st.integers(1, 30))
def test_waits_exact_release_never_breaks_promise(pauses_s: list[float], position: int) -> None:
    """A line that moves one place per second, for all times of polls."""
    ann, at_s, end_s = Ann(), 0.0, float(position)
    for pause_s in pauses_s:
        at_s += pause_s
        if at_s < end_s:
            ann.polls(at_s=at_s, position=math.ceil(end_s - at_s))

    assert ann.waits.late == 0


# Throughput.


def throughput_of(
    per_s: Sequence[float], *, waiting: int = 1000, claim_timeout_s: float = 0
) -> Throughput:
    """The origin receives `per_s[n]` admissions in second n, of 600 a minute."""
    throughput, admissions = Throughput(claim_timeout_s=claim_timeout_s), 0.0
    for second, each in enumerate(per_s):
        for tenth in range(10):
            throughput.sample(
                now_s=second + tenth / 10,
                waiting=waiting,
                rate_per_minute=600,
                admissions=int(admissions),
            )
            admissions += each / 10
    return throughput


@pytest.mark.parametrize(
    ("per_s", "held"), [(10, True), (9.6, True), (9.2, False), (10.4, True), (10.8, False)]
)
def test_throughput_outside_95_to_105_percent_is_broken(per_s: float, held: bool) -> None:
    span = throughput_of([50, 10, 10, *[per_s] * 40]).longest

    assert span is not None
    assert span.expected > 350
    assert span.keeps_rate() is held


def test_throughput_grants_may_come_on_top() -> None:
    span = throughput_of([10] * 20 + [35] + [10] * 20).longest

    assert span is not None
    assert not span.keeps_rate()
    assert span.keeps_rate(granted=25)


@pytest.mark.parametrize(("crowd_late_s", "held"), [(0, False), (1, False), (2.5, True)])
def test_throughput_of_late_crowd_has_wider_edges(crowd_late_s: float, held: bool) -> None:
    """8 % of 390 admissions are missing: 20 of them, if the crowd sends 2 s late."""
    span = throughput_of([10, 10, 10, *[9.2] * 40]).longest

    assert span is not None
    assert span.edge(crowd_late_s) == pytest.approx(1 + 10 * crowd_late_s)
    assert span.keeps_rate(edge=span.edge(crowd_late_s)) is held


def test_throughput_is_not_judged_without_a_line() -> None:
    assert throughput_of([2] * 60, waiting=30).longest is None
    assert throughput_of([2] * 60, waiting=31).longest is not None
    assert throughput_of([2] * 22).longest is None  # 200 admissions are not due yet


def test_throughput_settles_for_two_claim_windows() -> None:
    """The first no-shows give nothing back until their claim window has ended."""
    span = throughput_of([6] * 14 + [10] * 30, claim_timeout_s=4).longest

    assert span is not None
    assert span.keeps_rate()
    assert (unsettled := throughput_of([6] * 14 + [10] * 10).longest) is not None
    assert not unsettled.keeps_rate()


def test_throughput_span_ends_when_the_rate_does_not_apply() -> None:
    throughput = throughput_of([10] * 30)
    before = throughput.longest
    throughput.sample(now_s=30, waiting=1000, rate_per_minute=None, admissions=300)
    for second in range(31, 38):
        throughput.sample(now_s=second, waiting=1000, rate_per_minute=600, admissions=300)

    assert throughput.longest == before


# Places.


def test_queue_longer_than_confirmed_visitors_is_found() -> None:
    queue = QueueRecord()
    queue.sample(4, gone=0, now_s=0)  # from before the run
    queue.confirmed = 10
    queue.sample(14, gone=0, now_s=1)
    assert (queue.excess, queue.excess_at_s) == (0, None)

    queue.sample(14, gone=2, now_s=2)
    queue.sample(9, gone=2, now_s=3)
    assert (queue.excess, queue.excess_at_s) == (2, 2)


# Lurkers.


@pytest.mark.parametrize(
    ("position", "later", "ahead"), [(100, 0, False), (95, 5, False), (94, 5, True), (1, 90, True)]
)
def test_lurker_after_second_miss_is_behind_earlier_visitors(
    position: int, later: int, ahead: bool
) -> None:
    lurkers = LurkerRecord()

    assert lurkers.is_ahead(behind=100 - position, later=later) is ahead
    assert (lurkers.judged, lurkers.ahead) == (1, ahead)
