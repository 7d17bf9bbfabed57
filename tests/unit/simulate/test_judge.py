"""The judge finds every broken promise that the records prove, and no others."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.simulate.judge import (
    Order,
    Place,
    RoomSample,
    max_above_limit,
    max_above_rate,
    max_certain_above_rate,
    max_certain_in_window,
    max_counted_in_window,
)

POLL_INTERVAL_S = 10.0


@dataclass
class Line:
    """A history built step by step; each step is one request and its response."""

    order: Order = field(default_factory=Order)
    places: dict[str, Place] = field(default_factory=dict)
    _turns: Iterator[int] = field(default_factory=lambda: count(1000))

    def arrives(self, name: str, *, at_s: float, confirms_at_s: float | None = None) -> None:
        """A newcomer, who polls at once by default."""
        self.places[name] = place = Place()
        self.order.request_began(place, now_s=at_s)
        place.turn_us = next(self._turns)
        self.order.received_ticket(place, now_s=at_s, poll_interval_s=1)
        self.received_waiting(name, at_s=at_s if confirms_at_s is None else confirms_at_s)

    def received_waiting(self, name: str, *, at_s: float, known: bool = True) -> None:
        self.order.request_began(self.places[name], now_s=at_s)
        self._waits(self.places[name], at_s=at_s, known=known)

    def request_began(self, name: str, *, at_s: float) -> None:
        self.order.request_began(self.places[name], now_s=at_s)

    def receives_waiting(self, name: str, *, at_s: float) -> None:
        self._waits(self.places[name], at_s=at_s)

    def enters(self, name: str, *, at_s: float) -> None:
        self.order.request_began(self.places[name], now_s=at_s)
        self.order.received_admitted(self.places[name])

    def enters_at_once(self, name: str, *, at_s: float) -> None:
        self.places[name] = place = Place()
        self.order.request_began(place, now_s=at_s)
        place.turn_us = next(self._turns)
        self.order.received_admitted(place)

    def _waits(self, place: Place, *, at_s: float, known: bool = True) -> None:
        self.order.received_waiting(
            place, now_s=at_s + 0.1, poll_interval_s=POLL_INTERVAL_S, known=known
        )


@pytest.fixture
def line() -> Line:
    line = Line()
    line.arrives("ann", at_s=0)
    line.arrives("bob", at_s=1)
    return line


def test_order_admissions_by_arrival_no_inversion(line: Line) -> None:
    line.enters("ann", at_s=5)
    line.received_waiting("bob", at_s=6)
    line.enters("bob", at_s=12)

    assert line.order.inversions == 0
    assert line.order.responses_judged == 1


def test_order_waiting_after_later_admission_is_inversion(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.received_waiting("ann", at_s=6)

    assert line.order.inversions == 1
    assert line.order.overtaken == 1
    (found,) = line.order.examples
    assert (found.waiting_turn_us, found.admitted_turn_us) == (1000, 1001)


def test_order_repeated_inversion_counts_one_visitor(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.received_waiting("ann", at_s=6)
    line.received_waiting("ann", at_s=14)

    assert (line.order.inversions, line.order.overtaken) == (2, 1)


def test_order_admitted_after_later_arrival_no_inversion(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.enters("ann", at_s=9)

    assert line.order.inversions == 0


def test_order_request_in_flight_no_inversion(line: Line) -> None:
    line.request_began("ann", at_s=5)
    line.enters("bob", at_s=5.1)
    line.receives_waiting("ann", at_s=5.2)

    assert line.order.inversions == 0


def test_order_admission_on_arrival_past_queue_is_inversion(line: Line) -> None:
    line.enters_at_once("cat", at_s=3)
    line.received_waiting("bob", at_s=4)

    assert line.order.inversions == 1


def test_order_absent_visitor_is_excused(line: Line) -> None:
    line.received_waiting("bob", at_s=20)
    line.enters("bob", at_s=29)
    line.received_waiting("ann", at_s=60)  # returns to the front, not yet released
    line.received_waiting("ann", at_s=68)

    assert line.order.inversions == 0
    assert line.order.responses_excused == 4  # the first polls of both, also after a silence


def test_order_returned_visitor_overtaken_is_inversion(line: Line) -> None:
    line.received_waiting("bob", at_s=5)
    line.received_waiting("bob", at_s=14)
    line.received_waiting("ann", at_s=30)
    line.received_waiting("bob", at_s=31)  # present and not released, behind ann again
    line.enters("bob", at_s=39)
    line.received_waiting("ann", at_s=40)

    assert line.order.inversions == 1


def test_order_release_before_return_no_inversion(line: Line) -> None:
    line.received_waiting("bob", at_s=10)  # released at some time after this …
    line.received_waiting("ann", at_s=30)
    line.enters("bob", at_s=31)  # … which may have been before ann returned
    line.received_waiting("ann", at_s=39)

    assert line.order.inversions == 0


def test_order_unknown_positions_are_excused(line: Line) -> None:
    line.received_waiting("ann", at_s=4, known=False)
    line.enters("bob", at_s=5)
    line.received_waiting("ann", at_s=6, known=False)

    assert line.order.inversions == 0
    assert line.order.responses_excused == 4


def test_order_newcomer_may_be_passed_until_first_poll(line: Line) -> None:
    """A visitor who has not returned the ticket is not in line yet."""
    line.arrives("cat", at_s=2, confirms_at_s=8)
    line.arrives("dan", at_s=3)
    line.enters("dan", at_s=6)
    line.received_waiting("cat", at_s=15)

    assert line.order.inversions == 0


def test_order_confirmed_newcomer_keeps_turn_of_arrival(line: Line) -> None:
    line.arrives("cat", at_s=2, confirms_at_s=8)
    line.arrives("dan", at_s=3, confirms_at_s=9)
    line.enters("dan", at_s=12)
    line.received_waiting("cat", at_s=15)

    assert line.order.inversions == 1


@pytest.mark.parametrize(("arrived_s", "inversions"), [(0.5, 0), (2.5, 1)])
def test_order_admission_on_first_poll_counts_from_the_arrival(
    line: Line, arrived_s: float, inversions: int
) -> None:
    """The store may have given Eve a slot at her arrival, in a reply that the gate lost. That is an
    inversion if bob was in line before."""
    line.received_waiting("bob", at_s=2)
    line.places["eve"] = eve = Place()
    line.order.request_began(eve, now_s=arrived_s)
    eve.turn_us = 1500
    line.order.received_ticket(eve, now_s=arrived_s, poll_interval_s=1)
    line.enters("eve", at_s=5)
    line.received_waiting("bob", at_s=6)

    assert line.order.inversions == inversions


def test_order_slightly_late_poll_is_still_present(line: Line) -> None:
    line.enters("bob", at_s=5)
    line.received_waiting("ann", at_s=0.1 + POLL_INTERVAL_S * 1.25 + 0.9)

    assert line.order.inversions == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=40
    ),  # began and arrival of each admission
    st.integers(-1, 41),
)
def test_latest_admitted_equals_brute_force(admissions: list[tuple[int, int]], since: int) -> None:
    order = Order()
    for began_s, turn_us in admissions:
        order.received_admitted(Place(turn_us=turn_us, last_waiting_began_s=began_s))
    asking = Place(present_since_s=since)
    order.request_began(asking, now_s=100)

    # `request_began` keeps the presence of a newcomer.
    expected = max((arrival for began, arrival in admissions if began >= since), default=-1)
    assert asking.admitted_up_to_us == expected


# Rate and limits.


def test_window_exact_instants_counts_fullest_span() -> None:
    instants = [0.0, 1.0, 2.0, 59.0, 60.0, 61.0, 200.0]

    # The time from 1 to 61, both ends included.
    assert max_certain_in_window(60, began_s=instants, ended_s=instants) == 5


def test_window_uncertain_admission_is_not_counted() -> None:
    assert max_certain_in_window(10, began_s=[0, 0, 5], ended_s=[9, 30, 6]) == 2


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), min_size=1, max_size=20))
def test_window_maximum_equals_brute_force(spans: list[tuple[int, int]]) -> None:
    began = [float(at) for at, _ in spans]
    ended = [float(at + length) for at, length in spans]

    expected = max(
        sum(start <= b and e <= start + 10 for b, e in zip(began, ended, strict=True))
        for start in began
    )
    assert max_certain_in_window(10, began_s=began, ended_s=ended) == expected


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), min_size=1, max_size=20),
    st.integers(0, 240),
)
def test_rate_excess_equals_brute_force(spans: list[tuple[int, int]], rate_per_minute: int) -> None:
    began = [float(at) for at, _ in spans]
    ended = [float(at + length) for at, length in spans]

    expected = max(
        sum(start <= b and e <= end for b, e in zip(began, ended, strict=True))
        - rate_per_minute / 60 * (end - start)
        for start in began
        for end in ended
        if start <= end
    )
    found = max_certain_above_rate(rate_per_minute, began_s=began, ended_s=ended)
    assert max(found, 0) == pytest.approx(max(expected, 0))


def test_rate_excess_short_burst_is_found() -> None:
    instants = [0.0, 30.0, 60.0, 60.1, 60.2, 60.3, 100.0]

    found = max_certain_above_rate(6, began_s=instants, ended_s=instants)
    assert found == pytest.approx(4 - 0.3 * 6 / 60)


def sample(
    at_s: float, released: int, *, active: int = 0, max_active: int = 0, returned: int = 0
) -> RoomSample:
    return RoomSample(
        began_s=at_s,
        ended_s=at_s,
        released_total=released,
        active=active,
        max_active=max_active,
        queue_length=0,
        rate_per_minute=60,
        direct_certain=0,
        direct_possible=0,
        returned_certain=returned,
        returned_possible=returned,
    )


def test_rate_counts_full_bucket_excess_equals_burst() -> None:
    samples = [sample(0, 100), sample(1, 106), sample(2, 107), sample(60, 160)]

    assert max_above_rate(samples, rate_per_minute=60) == 5


def test_rate_counts_returned_admissions_are_taken_off() -> None:
    samples = [sample(0, 0), sample(4, 4, returned=0), sample(8, 12, returned=4)]

    assert max_above_rate(samples, rate_per_minute=60) == 0
    assert max_counted_in_window(60, samples) == 8


def test_rate_counts_burst_in_the_middle_is_found() -> None:
    samples = [sample(0, 0), sample(50, 10), sample(51, 31), sample(100, 32)]

    assert max_above_rate(samples, rate_per_minute=60) == 20


def test_rate_counts_include_admissions_on_arrival() -> None:
    samples = [
        sample(0, 0),
        RoomSample(1, 1, 3, 0, 0, 0, 60, direct_certain=4, direct_possible=9),
    ]

    assert max_above_rate(samples, rate_per_minute=60) == 6


def test_rate_counts_store_loss_is_no_release() -> None:
    samples = [sample(0, 500), sample(1, 0), sample(2, 500)]

    assert max_above_rate(samples, rate_per_minute=0) == 0


def test_rate_counts_single_sample_returns_none() -> None:
    assert max_above_rate([sample(0, 500)], rate_per_minute=60) is None
    assert max_counted_in_window(60, [sample(0, 500)]) is None


def test_window_counts_fullest_minute_is_found() -> None:
    samples = [sample(at_s, released) for at_s, released in ((0, 5), (30, 6), (50, 40), (90, 70))]

    assert max_counted_in_window(60, samples) == 64  # from 30 to 90
    assert max_counted_in_window(59, samples) == 35  # from 0 to 50


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 5)), min_size=2),
    st.integers(1, 30),
)
def test_window_counts_maximum_equals_brute_force(
    steps: list[tuple[int, int, int]], window_s: int
) -> None:
    samples: list[RoomSample] = []
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
    assert max_counted_in_window(window_s, samples) == expected


def test_limit_one_above_max_active_is_found() -> None:
    samples = [sample(0, 0, active=9, max_active=10), sample(1, 0, active=11, max_active=10)]

    assert max_above_limit(samples) == 1
    assert max_above_limit(samples[:1]) == -1
    assert max_above_limit([sample(0, 0, active=99)]) is None
