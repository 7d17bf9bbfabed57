"""The records of a run: its curve, its progress, broken promises, and forged tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from gatekeeper.simulate.room_monitor import RoomFigures


@dataclass(frozen=True, slots=True)
class Point:
    """Counts of the crowd at one instant."""

    at_s: float
    arrived: int
    waiting: int
    admitted: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run, for display."""

    elapsed_s: float
    arrived: int
    waiting: int
    admitted: int
    done: int
    failed: int
    inversions: int
    rate_per_minute: float  # admissions observed over the last 30 s
    reported_rate_per_minute: float
    requests_per_s: float
    room: RoomFigures | None
    starts_in_s: float | None = None  # the event, while its start is ahead


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise: when, and for which visitor."""

    at_s: float
    visitor: int
    what: str


@dataclass(slots=True)
class ForgedTokens:
    """Counts of forged, swapped and spent tokens."""

    tried: int = 0
    accepted: int = 0
    examples: list[str] = field(default_factory=list)

    def count(self, *, accepted: bool, what: str) -> None:
        self.tried += 1
        self.accepted += accepted
        if accepted and len(self.examples) < 5:
            self.examples.append(what)


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; `held` is None when this run could not judge it."""

    name: str
    held: bool | None
    detail: str
