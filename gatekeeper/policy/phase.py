"""The phase of a room, the rate of its queue, and the reason why its visitors wait.

Rules. Pure. The operator's mode comes first; `auto` leaves the room to its schedule
(`policy.schedule`). Without an event the schedule is `RUNNING` at all times, so that only
`running`, `held`, `open` and `ended` occur.

    mode    phase
    auto    the scheduled one
    hold    held; before an event that keeps the room closed, before: a place would be ahead of it
    open    open
    ended   ended

    phase      admits                          rate of the queue    reason
    before     no visitor, and no places       0                    before
    prequeue   no visitor                      0                    prequeue
    draw       no visitor                      0                    draw
    running    by rate, grants and slots       the room's           line; full; held at rate 0
    held       no visitor                      0                    held
    open       every visitor                   the room's           line; held at rate 0
    ended      no visitor                      0                    ended

The store gates admissions by the same table: `phase_gate` in `room/scripts/_admission.lua`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, assert_never


class Mode(StrEnum):
    """The operator's setting."""

    AUTO = "auto"  # by schedule, rate, burst and slots
    HOLD = "hold"  # no visitor is released, also not by grants
    OPEN = "open"  # every visitor is admitted
    ENDED = "ended"  # no visitor is released, as in HOLD, and pages say that the sale is over


class Phase(StrEnum):
    """What a room does now."""

    BEFORE = "before"  # closed until an event begins
    PREQUEUE = "prequeue"
    DRAW = "draw"
    RUNNING = "running"
    HELD = "held"
    OPEN = "open"
    ENDED = "ended"


# Why a visitor waits. `full`: every slot is held. `reconnecting`: the store is unreachable.
# `challenge`: it is not solved yet.
Reason = Literal[
    "line", "held", "full", "before", "prequeue", "draw", "ended", "reconnecting", "challenge"
]


def phase_of(mode: Mode, *, scheduled: Phase = Phase.RUNNING) -> Phase:
    """The phase by the operator's mode; in mode `auto`, by the schedule."""
    # Compared by identity: hashing an enum member takes longer than all of these, on every poll.
    if mode is Mode.AUTO:
        return scheduled
    if mode is Mode.HOLD:
        return Phase.BEFORE if scheduled is Phase.BEFORE else Phase.HELD
    if mode is Mode.OPEN:
        return Phase.OPEN
    if mode is Mode.ENDED:
        return Phase.ENDED
    assert_never(mode)


def is_moving(phase: Phase) -> bool:
    """Whether visitors are released in this phase."""
    return phase is Phase.RUNNING or phase is Phase.OPEN


def effective_rate(phase: Phase, rate_per_minute: float) -> float:
    """The rate of the queue, per minute: 0 while no visitor is released."""
    return rate_per_minute if is_moving(phase) else 0.0


def expected_rate(phase: Phase, rate_per_minute: float) -> float:
    """The rate for which polls are paced, per minute.

    A held queue may continue at its rate at any time; a queue that has ended will not.
    """
    return 0.0 if phase is Phase.ENDED else rate_per_minute


def is_full(phase: Phase, *, active: int, max_active: int) -> bool:
    """Whether the queue waits for slots: all are held, and the phase limits them. 0: no limit."""
    return phase is Phase.RUNNING and 0 < max_active <= active


def reason_of(phase: Phase, *, rate_per_minute: float, active: int, max_active: int) -> Reason:
    """The reason why visitors with a place wait; of several, the one that lasts longest."""
    if phase is Phase.ENDED:
        return "ended"
    if phase is Phase.PREQUEUE:
        return "prequeue"
    if phase is Phase.DRAW:
        return "draw"
    if phase is Phase.BEFORE:
        return "before"
    if effective_rate(phase, rate_per_minute) == 0:
        return "held"
    return "full" if is_full(phase, active=active, max_active=max_active) else "line"
