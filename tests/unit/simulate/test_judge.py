"""The judge finds every broken promise that the evidence proves, and no other."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.simulate.judge import (
    Order,
    Place,
    Sample,
    most_above_limit,
    most_above_rate,
    most_certain_above_rate,
    most_certain_in,
    most_counted_in,
)

REFRESH_S = 10.0


@dataclass
class Line:
    """A history told step by step; each step is one request and its answer."""

    order: Order = field(default_factory=Order)
    places: dict[str, Place] = field(default_factory=dict)
    _arrivals: Iterator[int] = field(default_factory=lambda: count(1000))

    def arrives(self, name: str, *, at_s: float) -> None:
        self.places[name] = place = Place()
        self.order.asks(place, now_s=at_s)
        place.arrival_us = next(self._arrivals)
        self._waits(place, at_s=at_s)

    def waits(self, name: str, *, at_s: float, known: bool = True) -> None:
        self.order.asks(self.places[name], now_s=at_s)
        self._waits(self.places[name], at_s=at_s, known=known)

    def asks(self, name: str, *, at_s: float) -> None:
        self.order.asks(self.places[name], now_s=at_s)

    def hears_wait(self, name: str, *, at_s: float) -> None:
        self._waits(self.places[name], at_s=at_s)

    def enters(self, name: str, *, at_s: float) -> None:
        self.order.asks(self.places[name], now_s=at_s)
        self.order.admitted(self.places[name])

    def enters_at_once(self, name: str, *, at_s: float) -> None:
        self.places[name] = place = Place()
        self.order.asks(place, now_s=at_s)
        place.arrival_us = next(self._arrivals)
        self.order.admitted(place)

    def _waits(self, place: Place, *, at_s: float, known: bool = True) -> None:
        self.order.waits(place, now_s=at_s + 0.1, refresh_s=REFRESH_S, known=known)


@pytest.fixture
def line() -> Line:
    line = Line()
    line.arrives("ann", at_s=0)
    line.arrives("bob", at_s=1)
    return line


def test_in_order_is_in_order(line: Line) -> None:
    line.enters("ann", at_s=5)
    line.waits("bob", at_s=6)
    line.enters("bob", at_s=12)

    assert line.order.inversions == 0
    assert line.order.answers_judged == 3


def test_whoever_still_waits_after_a_later_one_entered_was_overtaken(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.waits("ann", at_s=6)

    assert line.order.inversions == 1
    assert line.order.overtaken == 1
    (found,) = line.order.examples
    assert (found.waiting_arrival_us, found.admitted_arrival_us) == (1000, 1001)


def test_one_who_is_overtaken_again_and_again_is_one_person(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.waits("ann", at_s=6)
    line.waits("ann", at_s=14)

    assert (line.order.inversions, line.order.overtaken) == (2, 1)


def test_seeing_the_own_turn_later_than_the_next_one_is_no_inversion(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.enters("ann", at_s=9)

    assert line.order.inversions == 0


def test_a_request_that_was_under_way_when_the_later_one_entered_proves_nothing(line: Line) -> None:
    line.asks("ann", at_s=5)
    line.enters("bob", at_s=5.1)
    line.hears_wait("ann", at_s=5.2)

    assert line.order.inversions == 0


def test_whoever_came_and_was_let_in_at_once_overtook_those_in_line(line: Line) -> None:
    line.enters_at_once("cat", at_s=3)
    line.waits("bob", at_s=4)

    assert line.order.inversions == 1


def test_whoever_was_away_may_have_been_passed_meanwhile(line: Line) -> None:
    line.waits("bob", at_s=20)
    line.enters("bob", at_s=29)
    line.waits("ann", at_s=60)  # back at the head, not yet released
    line.waits("ann", at_s=68)

    assert line.order.inversions == 0
    assert line.order.answers_excused == 2  # bob's and ann's first answers after a silence


def test_whoever_is_back_is_not_to_be_passed_any_more(line: Line) -> None:
    line.waits("bob", at_s=5)
    line.waits("bob", at_s=14)
    line.waits("ann", at_s=30)
    line.waits("bob", at_s=31)  # here and not released, with ann before them again
    line.enters("bob", at_s=39)
    line.waits("ann", at_s=40)

    assert line.order.inversions == 1


def test_a_release_from_before_the_return_counts_for_nothing_when_claimed_later(line: Line) -> None:
    line.waits("bob", at_s=10)  # released at some time after this …
    line.waits("ann", at_s=30)
    line.enters("bob", at_s=31)  # … which may have been before ann was back
    line.waits("ann", at_s=39)

    assert line.order.inversions == 0


def test_while_nobody_knows_positions_nobody_is_judged(line: Line) -> None:
    line.waits("ann", at_s=4, known=False)
    line.enters("bob", at_s=5)
    line.waits("ann", at_s=6, known=False)

    assert line.order.inversions == 0
    assert line.order.answers_excused == 2


def test_a_little_late_is_still_present(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.waits("ann", at_s=0.1 + REFRESH_S * 1.25 + 0.9)

    assert line.order.inversions == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40
    ),  # began and arrival of each admission
    st.integers(-1, 41),
)
def test_the_latest_admitted_is_found_as_by_looking_at_all(
    admissions: list[tuple[int, int]], since: int
) -> None:
    order = Order()
    for began_s, arrival_us in admissions:
        order.admitted(Place(arrival_us=arrival_us, last_waiting_began_s=began_s))
    asking = Place(present_since_s=since)
    order.asks(asking, now_s=100)

    # `asks` of a newcomer keeps the presence it was given.
    expected = max((arrival for began, arrival in admissions if began >= since), default=-1)
    assert asking.mark_us == expected


# Rate and limits.


def test_admissions_known_to_the_instant_are_counted_in_the_fullest_span() -> None:
    instants = [0.0, 1.0, 2.0, 59.0, 60.0, 61.0, 200.0]

    assert most_certain_in(60, began_s=instants, ended_s=instants) == 5  # 1 … 61, both included


def test_an_admission_that_may_lie_outside_the_span_is_not_counted() -> None:
    assert most_certain_in(10, began_s=[0, 0, 5], ended_s=[9, 30, 6]) == 2


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), min_size=1, max_size=20))
def test_the_fullest_span_is_found_as_by_trying_all(spans: list[tuple[int, int]]) -> None:
    began = [float(at) for at, _ in spans]
    ended = [float(at + length) for at, length in spans]

    expected = max(
        sum(start <= b and e <= start + 10 for b, e in zip(began, ended, strict=True))
        for start in began
    )
    assert most_certain_in(10, began_s=began, ended_s=ended) == expected


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), min_size=1, max_size=20),
    st.integers(0, 240),
)
def test_the_most_above_a_rate_is_found_as_by_trying_all(
    spans: list[tuple[int, int]], rate_per_minute: int
) -> None:
    began = [float(at) for at, _ in spans]
    ended = [float(at + length) for at, length in spans]

    expected = max(
        sum(start <= b and e <= end for b, e in zip(began, ended, strict=True))
        - rate_per_minute / 60 * (end - start)
        for start in began
        for end in ended
        if start <= end
    )
    found = most_certain_above_rate(rate_per_minute, began_s=began, ended_s=ended)
    assert max(found, 0) == pytest.approx(max(expected, 0))


def test_a_burst_is_seen_in_what_the_crowd_saw_however_short() -> None:
    instants = [0.0, 30.0, 60.0, 60.1, 60.2, 60.3, 100.0]

    found = most_certain_above_rate(6, began_s=instants, ended_s=instants)
    assert found == pytest.approx(4 - 0.3 * 6 / 60)


def sample(at_s: float, released: int, *, active: int = 0, max_active: int = 0) -> Sample:
    return Sample(
        began_s=at_s,
        ended_s=at_s,
        released_total=released,
        active=active,
        max_active=max_active,
        queue_length=0,
        rate_per_minute=60,
        direct_certain=0,
        direct_possible=0,
    )


def test_a_bucket_that_spends_its_burst_and_then_its_rate_stays_at_its_burst() -> None:
    samples = [sample(0, 100), sample(1, 106), sample(2, 107), sample(60, 160)]

    assert most_above_rate(samples, rate_per_minute=60) == 5


def test_a_burst_in_the_middle_is_seen_though_the_whole_is_within_the_rate() -> None:
    samples = [sample(0, 0), sample(50, 10), sample(51, 31), sample(100, 32)]

    assert most_above_rate(samples, rate_per_minute=60) == 20


def test_admissions_on_arrival_count_with_the_releases() -> None:
    samples = [
        sample(0, 0),
        Sample(1, 1, 3, 0, 0, 0, 60, direct_certain=4, direct_possible=9),
    ]

    assert most_above_rate(samples, rate_per_minute=60) == 6


def test_a_store_that_forgot_its_totals_and_was_told_them_again_released_nobody() -> None:
    samples = [sample(0, 500), sample(1, 0), sample(2, 500)]

    assert most_above_rate(samples, rate_per_minute=0) == 0


def test_a_single_sample_proves_no_rate() -> None:
    assert most_above_rate([sample(0, 500)], rate_per_minute=60) is None
    assert most_counted_in(60, [sample(0, 500)]) is None


def test_the_fullest_minute_is_found_by_the_gates_own_count() -> None:
    samples = [sample(at_s, released) for at_s, released in ((0, 5), (30, 6), (50, 40), (90, 70))]

    assert most_counted_in(60, samples) == 64  # from 30 to 90
    assert most_counted_in(59, samples) == 35  # from 0 to 50


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 5)), min_size=2),
    st.integers(1, 30),
)
def test_the_fullest_counted_span_is_found_as_by_trying_all(
    steps: list[tuple[int, int, int]], window_s: int
) -> None:
    samples: list[Sample] = []
    at_s = released = 0
    for pause_s, length_s, more in steps:
        at_s, released = at_s + pause_s, released + more
        samples.append(replace(sample(at_s, released), ended_s=at_s + length_s))
        at_s += length_s

    expected = max(
        (
            later.released_total - earlier.released_total
            for number, later in enumerate(samples)
            for earlier in samples[:number]
            if later.ended_s - earlier.began_s <= window_s
        ),
        default=None,
    )
    assert most_counted_in(window_s, samples) == expected


def test_one_too_many_inside_is_seen() -> None:
    samples = [sample(0, 0, active=9, max_active=10), sample(1, 0, active=11, max_active=10)]

    assert most_above_limit(samples) == 1
    assert most_above_limit(samples[:1]) == -1
    assert most_above_limit([sample(0, 0, active=99)]) is None
