"""How long a store that lost the line waits for its visitors to return."""

from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.pacing import poll_interval_s
from gatekeeper.policy.rules import Rules
from gatekeeper.room.return_window import ReturnWindow
from gatekeeper.room.state import RoomState
from tests.builders import room_state

RULES = Rules.of(RoomConfig())
START_US = 1_800_000_000_000_000
MAX_S = RULES.longest_poll_interval_s
PATIENT_S = MAX_S * 1.15  # a page polls up to 15 % later than the interval


def state_at(after_s: float, *, waiting: int, rate: float = 60) -> RoomState:
    return replace(
        room_state(rate=rate), now_us=START_US + round(after_s * 1_000_000), queue_length=waiting
    )


def window_after(*states: RoomState, known: RoomState | None = None) -> float:
    window = ReturnWindow()
    for state in states:
        window.note(state, rules=RULES)
    return window.seconds(known or states[-1], rules=RULES)


def test_second_loss_waits_for_visitors_yet_to_return() -> None:
    before, recovering = state_at(0, waiting=5000), state_at(2, waiting=3)
    assert window_after(recovering) == RULES.confirm_timeout_s
    assert window_after(before, recovering) >= PATIENT_S - 2


def test_losses_one_after_another_never_wait_longer_than_once() -> None:
    line = state_at(0, waiting=5000)
    few = [state_at(after_s, waiting=3) for after_s in range(1, 30)]
    assert window_after(line, *few, known=few[-1]) < window_after(line)


@pytest.mark.parametrize("rate", [600.0, 6000.0, 60_000.0])
def test_faster_rate_does_not_shorten_earlier_intervals(rate: float) -> None:
    slow, fast = state_at(0, waiting=500, rate=1), state_at(0.5, waiting=500, rate=rate)
    told_s = poll_interval_s(499, rate_per_minute=1, rules=RULES)
    assert window_after(slow, fast) >= told_s * 1.15 - 0.5
    assert window_after(slow, fast) > window_after(fast)


def test_shorter_line_does_not_shorten_earlier_intervals() -> None:
    long, short = state_at(0, waiting=5000), state_at(1, waiting=2)
    assert window_after(long, short) >= PATIENT_S - 1


def test_interval_of_long_ago_is_over() -> None:
    long, short = state_at(0, waiting=5000), state_at(2 * MAX_S, waiting=2)
    assert window_after(long, short) == window_after(short) == RULES.confirm_timeout_s


def test_window_is_bounded_if_another_store_has_another_clock() -> None:
    ahead, behind = state_at(86_400, waiting=5000), state_at(0, waiting=5000)
    assert window_after(ahead, behind) <= MAX_S * 2.5
    assert window_after(behind, ahead) == window_after(ahead)


def test_replica_without_a_state_waits_for_newcomers() -> None:
    assert ReturnWindow().seconds(None, rules=RULES) == RULES.confirm_timeout_s
