"""Delay from release to admission: late admissions are found, client delays do not count."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.simulate.judge import Order, Place
from gatekeeper.simulate.release_delays import ReleaseDelays, is_near_front


@dataclass
class WaitingVisitor:
    """Ann waits near the front with a poll interval of 1 s; each step is one of her requests."""

    delays: ReleaseDelays = field(default_factory=ReleaseDelays)
    order: Order = field(default_factory=Order)
    ann: Place = field(
        default_factory=lambda: Place(turn_us=1000, near_front=True, confirm_began_s=0)
    )

    def is_released(self, turn_us: int, *, at_s: float, began_s: float = 10) -> None:
        self.delays.record_release(turn_us, began_s=began_s, now_s=at_s)

    def received_waiting(self, *, sent_s: float, received_s: float, known: bool = True) -> None:
        self.order.request_began(self.ann, now_s=sent_s)
        self.order.received_waiting(self.ann, now_s=received_s, poll_interval_s=1, known=known)

    def enters(self, *, sent_s: float, received_s: float) -> tuple[float, ...]:
        """The visitor enters. Returns the part of the delays that the gate certainly caused."""
        self.order.request_began(self.ann, now_s=sent_s)
        self.is_released(self.ann.turn_us, at_s=received_s, began_s=self.ann.last_waiting_began_s)
        self.delays.record_admission(self.ann, now_s=received_s)
        return tuple(self.delays.certain_s)


@pytest.fixture
def visitor() -> WaitingVisitor:
    visitor = WaitingVisitor()
    visitor.received_waiting(sent_s=10, received_s=10)
    return visitor


def test_delay_starts_at_later_admission(visitor: WaitingVisitor) -> None:
    visitor.is_released(2000, at_s=10.25)
    visitor.is_released(3000, at_s=10.5)

    assert visitor.enters(sent_s=11, received_s=11) == (0.75,)


def test_delay_earlier_admission_proves_no_release(visitor: WaitingVisitor) -> None:
    visitor.is_released(999, at_s=10.25)

    assert visitor.enters(sent_s=11, received_s=11) == (0,)


def test_delay_repeated_waiting_responses_add_up(visitor: WaitingVisitor) -> None:
    visitor.is_released(1000, at_s=10.5)
    visitor.received_waiting(sent_s=11, received_s=11)
    visitor.received_waiting(sent_s=12, received_s=12)

    assert visitor.enters(sent_s=13, received_s=13) == (2.5,)


def test_delay_excludes_late_poll_of_client(visitor: WaitingVisitor) -> None:
    visitor.is_released(2000, at_s=10.25)

    [certain_s] = visitor.enters(sent_s=12.2, received_s=12.2)
    assert certain_s == pytest.approx(0.9)  # as if sent at 11.15, the latest poll of a page


def test_delay_round_trips_are_observed_but_uncertain() -> None:
    visitor = WaitingVisitor()
    visitor.received_waiting(sent_s=7, received_s=10)
    visitor.is_released(2000, at_s=7.25)

    assert visitor.enters(sent_s=11, received_s=15) == (0.75,)
    assert tuple(visitor.delays.delays_s) == (7.75,)


def test_delay_far_back_or_absent_is_not_judged(visitor: WaitingVisitor) -> None:
    visitor.is_released(2000, at_s=10)
    visitor.received_waiting(sent_s=14, received_s=14)  # due at 11
    assert visitor.enters(sent_s=20, received_s=20) == ()

    far = WaitingVisitor(ann=Place(turn_us=1000, confirm_began_s=0))
    far.received_waiting(sent_s=10, received_s=10)
    assert far.enters(sent_s=20, received_s=20) == ()


def test_delay_unknown_position_is_not_judged(visitor: WaitingVisitor) -> None:
    visitor.is_released(2000, at_s=10)
    visitor.received_waiting(sent_s=11, received_s=11, known=False)

    assert visitor.enters(sent_s=20, received_s=20) == ()


def test_delay_of_a_turn_passed_before_confirming_is_not_judged(
    visitor: WaitingVisitor,
) -> None:
    """The watermark passed the turn before the ticket was returned, so the visitor was released
    later."""
    visitor.is_released(2000, began_s=9.5, at_s=10.25)

    assert visitor.enters(sent_s=14, received_s=14) == ()


def test_turn_is_passed_by_later_release_within_the_span() -> None:
    delays = ReleaseDelays()
    for turn_us, began_s, now_s in ((500, 1, 2), (900, 2, 3), (1500, 4, 6)):
        delays.record_release(turn_us, began_s=began_s, now_s=now_s)

    assert delays.was_passed(700, from_s=2, until_s=5)
    assert delays.was_passed(700, from_s=4, until_s=7)
    assert not delays.was_passed(700, from_s=2.5, until_s=6)  # began before, or ended after
    assert not delays.was_passed(1500, from_s=0, until_s=9)  # the visitor's own release


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 41))
def test_release_is_certain_from_first_proof(proofs: list[int], turn_us: int) -> None:
    delays = ReleaseDelays()
    for now_s, proof_us in enumerate(proofs):
        delays.record_release(proof_us, began_s=0, now_s=now_s)

    expected = next((at for at, proof_us in enumerate(proofs) if proof_us >= turn_us), None)
    assert delays.released_at_s(turn_us) == expected


@pytest.mark.parametrize(
    ("position", "rate_per_minute", "near_front"),
    [
        (4, 1, True),
        (4, None, True),
        (5, 50, False),
        (5, 51, True),
        (5, None, False),
        (1999, 20_000, True),
        (2000, 20_000, False),
        (None, 20_000, False),
    ],
)
def test_near_front_is_first_four_or_within_six_seconds(
    position: int | None, rate_per_minute: float | None, near_front: bool
) -> None:
    assert is_near_front(position, rate_per_minute=rate_per_minute) is near_front
