"""Who is let in late is found out, and only what is the gate's for sure counts."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.simulate.judge import Order, Place
from gatekeeper.simulate.promptness import Promptness, is_near


@dataclass
class Wait:
    """Ann waits near the front, told to ask again in a second; each step is a request of hers."""

    seen: Promptness = field(default_factory=Promptness)
    order: Order = field(default_factory=Order)
    ann: Place = field(default_factory=lambda: Place(arrival_us=1000, near=True))

    def waits(self, *, asks_s: float, hears_s: float, known: bool = True) -> None:
        self.order.asks(self.ann, now_s=asks_s)
        self.order.waits(self.ann, now_s=hears_s, refresh_s=1, known=known)

    def enters(self, *, asks_s: float, hears_s: float) -> tuple[float, ...]:
        """What is the gate's for sure of the delays seen."""
        self.order.asks(self.ann, now_s=asks_s)
        self.seen.passed(self.ann.arrival_us, now_s=hears_s)
        self.seen.admitted(self.ann, now_s=hears_s)
        return tuple(self.seen.proven_s)


@pytest.fixture
def wait() -> Wait:
    wait = Wait()
    wait.waits(asks_s=10, hears_s=10)
    return wait


def test_the_delay_runs_from_when_one_who_came_later_was_in(wait: Wait) -> None:
    wait.seen.passed(2000, now_s=10.25)
    wait.seen.passed(3000, now_s=10.5)

    assert wait.enters(asks_s=11, hears_s=11) == (0.75,)


def test_whoever_came_earlier_and_is_in_proves_nothing(wait: Wait) -> None:
    wait.seen.passed(999, now_s=10.25)

    assert wait.enters(asks_s=11, hears_s=11) == (0,)


def test_one_who_is_told_to_wait_on_and_on_after_the_release_is_late(wait: Wait) -> None:
    wait.seen.passed(1000, now_s=10.5)
    wait.waits(asks_s=11, hears_s=11)
    wait.waits(asks_s=12, hears_s=12)

    assert wait.enters(asks_s=13, hears_s=13) == (2.5,)


def test_how_much_later_than_told_one_asked_is_not_the_gates(wait: Wait) -> None:
    wait.seen.passed(2000, now_s=10.25)

    [proven_s] = wait.enters(asks_s=12.2, hears_s=12.2)
    assert proven_s == pytest.approx(0.9)  # as if at 11.15, which is the latest that pages ask


def test_what_the_answers_took_is_seen_and_not_called_the_gates() -> None:
    wait = Wait()
    wait.waits(asks_s=7, hears_s=10)
    wait.seen.passed(2000, now_s=7.25)

    assert wait.enters(asks_s=11, hears_s=15) == (0.75,)
    assert tuple(wait.seen.delays_s) == (7.75,)


def test_who_is_far_back_or_was_away_is_not_judged(wait: Wait) -> None:
    wait.seen.passed(2000, now_s=10)
    wait.waits(asks_s=14, hears_s=14)  # told to come at 11
    assert wait.enters(asks_s=20, hears_s=20) == ()

    far = Wait(ann=Place(arrival_us=1000))
    far.waits(asks_s=10, hears_s=10)
    assert far.enters(asks_s=20, hears_s=20) == ()


def test_who_was_told_no_position_is_not_judged(wait: Wait) -> None:
    wait.seen.passed(2000, now_s=10)
    wait.waits(asks_s=11, hears_s=11, known=False)

    assert wait.enters(asks_s=20, hears_s=20) == ()


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 41))
def test_a_release_is_certain_from_the_first_proof_on(proofs: list[int], arrival_us: int) -> None:
    seen = Promptness()
    for now_s, proof_us in enumerate(proofs):
        seen.passed(proof_us, now_s=now_s)

    expected = next((at for at, proof_us in enumerate(proofs) if proof_us >= arrival_us), None)
    assert seen.released_s(arrival_us) == expected


@pytest.mark.parametrize(
    ("position", "rate_per_minute", "near"),
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
def test_near_is_among_the_first_four_or_within_six_seconds(
    position: int | None, rate_per_minute: float | None, near: bool
) -> None:
    assert is_near(position, rate_per_minute=rate_per_minute) is near
