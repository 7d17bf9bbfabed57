"""What goes wrong in a chaos run, and when. Pure: the same seed and length, the same trouble.

Rules. Four tracks run side by side, so that troubles of different kinds fall together, and on each
track one trouble ends before the next begins. The last third is quiet, in which everybody who
stayed has to get in. Instants and durations are shares of the run, bounded in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

QUIET_AFTER = 0.65  # of the run
_FIRST = (0.08, 0.16)
_LASTS, _LASTS_S = (0.02, 0.05), (0.6, 6.0)
_GAP, _LEAST_GAP_S = (0.05, 0.12), 1.5


class What(StrEnum):
    """The value is how it is told."""

    STORE_PAUSED = "the store is paused"
    STORE_FLUSHED = "the store is flushed"
    STORE_KILLED = "the store is killed and finds on its disk what it wrote last"
    STORE_EMPTIED = "the store is killed and comes back empty"
    EVENTS_KILLED = "NATS is killed"
    EVENTS_PAUSED = "NATS is paused"
    WORKER_KILLED = "a worker is killed"
    WORKER_PAUSED = "a worker is paused"
    GATE_KILLED = "a whole gate is killed"
    GRANTED = "the operator grants ten"
    HELD = "the operator holds the line"


LOSSES = {What.STORE_FLUSHED, What.STORE_EMPTIED, What.STORE_KILLED}
STORE_AWAY = LOSSES - {What.STORE_FLUSHED} | {What.STORE_PAUSED}
# What keeps a replica from hearing the others, or has one begin that has heard nothing.
DEAFENING = {
    What.EVENTS_KILLED,
    What.EVENTS_PAUSED,
    What.WORKER_KILLED,
    What.WORKER_PAUSED,
    What.GATE_KILLED,
}
GRANT = 10
TRACKS: tuple[tuple[What, ...], ...] = (
    (What.STORE_PAUSED, What.STORE_FLUSHED, What.STORE_KILLED, What.STORE_EMPTIED),
    (What.EVENTS_KILLED, What.EVENTS_PAUSED),
    (What.WORKER_KILLED, What.WORKER_PAUSED, What.GATE_KILLED),
    (What.GRANTED, What.HELD),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Begins `at_s` and lasts; `pick`, from 0 to 1, chooses among those it can happen to."""

    at_s: float
    what: What
    lasts_s: float
    pick: float


def schedule(seed: int, *, seconds: float, gates: int) -> list[Trouble]:
    """All of one run, in the order in which they begin. An only gate is not killed whole."""
    left_out = {What.GATE_KILLED} if gates == 1 else set()
    troubles = [
        trouble
        for number, track in enumerate(TRACKS)
        for trouble in _troubles(track, Random(f"{seed} {number}"), seconds=seconds)
        if trouble.what not in left_out
    ]
    return sorted(troubles, key=lambda trouble: trouble.at_s)


def _troubles(track: tuple[What, ...], random: Random, *, seconds: float) -> Iterator[Trouble]:
    """In rounds, so that each of the track comes before one comes twice."""
    at_s = random.uniform(*_FIRST) * seconds
    while True:
        for what in random.sample(track, len(track)):
            least_s, most_s = _LASTS_S
            lasts_s = min(max(random.uniform(*_LASTS) * seconds, least_s), most_s)
            if at_s + lasts_s > QUIET_AFTER * seconds:
                return
            yield Trouble(at_s, what, lasts_s, random.random())
            at_s += lasts_s + max(random.uniform(*_GAP) * seconds, _LEAST_GAP_S)
