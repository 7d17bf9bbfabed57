"""The phase of a room, the rate of its queue and the reason for waiting."""

from typing import Any

import pytest

from gatekeeper.policy.phase import (
    Mode,
    Phase,
    Reason,
    effective_rate,
    expected_rate,
    is_full,
    is_moving,
    phase_of,
    reason_of,
)


@pytest.mark.parametrize(
    ("mode", "phase"),
    [(Mode.HOLD, Phase.HELD), (Mode.OPEN, Phase.OPEN), (Mode.ENDED, Phase.ENDED)],
)
@pytest.mark.parametrize("scheduled", Phase)
def test_operators_mode_overrides_the_schedule(mode: Mode, phase: Phase, scheduled: Phase) -> None:
    if mode is Mode.HOLD and scheduled is Phase.BEFORE:
        phase = Phase.BEFORE  # no places before those of the event
    assert phase_of(mode, scheduled=scheduled) is phase


@pytest.mark.parametrize("scheduled", Phase)
def test_auto_leaves_the_phase_to_the_schedule(scheduled: Phase) -> None:
    assert phase_of(Mode.AUTO, scheduled=scheduled) is scheduled


def test_room_without_a_schedule_is_running() -> None:
    assert phase_of(Mode.AUTO) is Phase.RUNNING


def test_unknown_mode_has_no_phase() -> None:
    unknown: Any = "ajar"
    with pytest.raises(AssertionError):
        phase_of(unknown)


@pytest.mark.parametrize(
    ("phase", "moving", "effective", "expected"),
    [
        (Phase.BEFORE, False, 0, 60),
        (Phase.PREQUEUE, False, 0, 60),
        (Phase.DRAW, False, 0, 60),
        (Phase.RUNNING, True, 60, 60),
        (Phase.HELD, False, 0, 60),  # the line may move again at any time
        (Phase.OPEN, True, 60, 60),
        (Phase.ENDED, False, 0, 0),
    ],
)
def test_rate_of_the_queue_in_each_phase(
    phase: Phase, *, moving: bool, effective: float, expected: float
) -> None:
    assert is_moving(phase) is moving
    assert effective_rate(phase, 60) == effective
    assert expected_rate(phase, 60) == expected


@pytest.mark.parametrize(
    ("phase", "rate", "active", "reason"),
    [
        (Phase.RUNNING, 60, 9, "line"),
        (Phase.RUNNING, 60, 10, "full"),
        (Phase.RUNNING, 60, 11, "full"),
        (Phase.RUNNING, 0, 10, "held"),
        (Phase.OPEN, 60, 10, "line"),
        (Phase.HELD, 60, 10, "held"),
        (Phase.BEFORE, 60, 10, "before"),
        (Phase.PREQUEUE, 60, 10, "prequeue"),
        (Phase.DRAW, 60, 10, "draw"),
        (Phase.ENDED, 60, 10, "ended"),
        (Phase.ENDED, 0, 0, "ended"),
    ],
)
def test_reason_is_what_holds_the_queue_up_longest(
    phase: Phase, rate: float, active: int, reason: Reason
) -> None:
    assert reason_of(phase, rate_per_minute=rate, active=active, max_active=10) == reason


def test_room_without_max_active_is_never_full() -> None:
    assert not is_full(Phase.RUNNING, active=10**6, max_active=0)
