"""The disruptions of a chaos run and their times. Pure: the same seed and length, the same result.

Rules. Four tracks run side by side, so that disruptions of different kinds overlap. On each track
one disruption ends before the next begins. One of them is at the opening of the event: the store or
NATS paused across it, or the store emptied shortly before it or a second after it. The last third
is quiet, so that every visitor that stays can be admitted. Instants and durations are shares of the
run, bounded in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

QUIET_AFTER = 0.65  # of the run
_FIRST = (0.08, 0.16)
_DURATION, _DURATION_S = (0.02, 0.05), (0.6, 6.0)
_GAP, _MIN_GAP_S = (0.03, 0.09), 1.5
PREQUEUE_AT, OPENING_AT = 0.1, 0.35  # of the run


class DisruptionKind(StrEnum):
    """The value is the text shown in the log of a run."""

    STORE_PAUSED = "store paused"
    STORE_FLUSHED = "store flushed"
    STORE_KILLED = "store killed, restarted with its data on disk"
    STORE_EMPTIED = "store killed, restarted empty"
    EVENTS_KILLED = "NATS killed"
    EVENTS_PAUSED = "NATS paused"
    WORKER_KILLED = "worker killed"
    WORKER_PAUSED = "worker paused"
    GATE_KILLED = "gate killed"
    GRANTED = "operator grants ten admissions"
    HELD = "operator holds the queue"


LOSSES = {
    DisruptionKind.STORE_FLUSHED,
    DisruptionKind.STORE_EMPTIED,
    DisruptionKind.STORE_KILLED,
}
STORE_UNREACHABLE = LOSSES - {DisruptionKind.STORE_FLUSHED} | {DisruptionKind.STORE_PAUSED}
# After these a replica receives no events, or starts without having received any.
ISOLATING = {
    DisruptionKind.EVENTS_KILLED,
    DisruptionKind.EVENTS_PAUSED,
    DisruptionKind.WORKER_KILLED,
    DisruptionKind.WORKER_PAUSED,
    DisruptionKind.GATE_KILLED,
}
GRANT = 10
TRACKS: tuple[tuple[DisruptionKind, ...], ...] = (
    (
        DisruptionKind.STORE_PAUSED,
        DisruptionKind.STORE_FLUSHED,
        DisruptionKind.STORE_KILLED,
        DisruptionKind.STORE_EMPTIED,
    ),
    (DisruptionKind.EVENTS_KILLED, DisruptionKind.EVENTS_PAUSED),
    (DisruptionKind.WORKER_KILLED, DisruptionKind.WORKER_PAUSED, DisruptionKind.GATE_KILLED),
    (DisruptionKind.GRANTED, DisruptionKind.HELD),
)


@dataclass(frozen=True, slots=True)
class Disruption:
    """Begins at `at_s`; `pick`, from 0 to 1, selects the process it happens to."""

    at_s: float
    kind: DisruptionKind
    duration_s: float
    pick: float

    @property
    def until_s(self) -> float:
        return self.at_s + self.duration_s


def schedule(seed: int, *, seconds: float, gates: int) -> list[Disruption]:
    """All disruptions of one run, by start. A single gate is never killed as a whole."""
    left_out = {DisruptionKind.GATE_KILLED} if gates == 1 else set()
    at_opening = disruption_at_opening(seed, seconds=seconds)
    disruptions = [
        disruption
        for number, track in enumerate(TRACKS)
        for disruption in _disruptions_of(
            track,
            Random(f"{seed} {number}"),
            seconds=seconds,
            taken=at_opening if at_opening.kind in track else None,
        )
        if disruption.kind not in left_out
    ]
    return sorted([*disruptions, at_opening], key=lambda disruption: disruption.at_s)


def disruption_at_opening(seed: int, *, seconds: float) -> Disruption:
    """One of five, by the seed."""
    opening_s, pause_s = OPENING_AT * seconds, min(max(_DURATION[1] * seconds, 1.5), 6.0)
    kind, at_s = (
        (DisruptionKind.STORE_PAUSED, opening_s - pause_s / 2),
        (DisruptionKind.STORE_FLUSHED, opening_s - pause_s / 2),
        (DisruptionKind.STORE_EMPTIED, opening_s - pause_s / 2),
        (DisruptionKind.STORE_FLUSHED, opening_s + 1),
        (DisruptionKind.EVENTS_PAUSED, opening_s - pause_s / 2),
    )[seed % 5]
    is_pause = kind in {DisruptionKind.STORE_PAUSED, DisruptionKind.EVENTS_PAUSED}
    return Disruption(at_s, kind, pause_s if is_pause else _DURATION_S[0], 0.5)


def _disruptions_of(
    track: tuple[DisruptionKind, ...],
    random: Random,
    *,
    seconds: float,
    taken: Disruption | None,
) -> Iterator[Disruption]:
    """In rounds, so that each kind of the track occurs before any occurs twice. No disruption while
    `taken` is in effect."""
    at_s = random.uniform(*_FIRST) * seconds
    while True:
        for kind in random.sample(track, len(track)):
            min_s, max_s = _DURATION_S
            duration_s = min(max(random.uniform(*_DURATION) * seconds, min_s), max_s)
            if taken is not None and taken.at_s - 0.5 < at_s + duration_s and at_s < taken.until_s:
                at_s = taken.until_s + 0.5
            if at_s + duration_s > QUIET_AFTER * seconds:
                return
            yield Disruption(at_s, kind, duration_s, random.random())
            at_s += duration_s + max(random.uniform(*_GAP) * seconds, _MIN_GAP_S)
