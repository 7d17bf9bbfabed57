"""Estimates of places in line, for the time when the store is unreachable, or has lost the line and
knows only the visitors that have returned.

Rules. Each poll reports one place: a turn and how many visitors were ahead. For every length of
the line, in steps of an eighth of an octave, the newest is kept, unless it is much older than the
newest of all; turns between two of them are interpolated. Releases since then are subtracted;
visitors that left the line are not. An estimate moves no visitor: it sets the poll interval, and
the wait that a page shows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

_EXACT = 16  # the first places have one step each
_STEPS_BITS = 3  # eight steps for each doubling
_KEPT_US = 90_000_000  # an entry that no visitor renewed for so long is dropped


class LinePlaces:
    """The line of one room, as the polls of one replica's visitors showed it."""

    def __init__(self) -> None:
        # By step: the turn, the total of releases at which it is due, and the time of the poll.
        self._places: dict[int, tuple[int, int, int]] = {}
        self._sorted: tuple[list[int], list[int]] | None = None

    def note(self, turn_us: int, ahead: int, *, released_total: int, now_us: int) -> None:
        """A poll showed `ahead` visitors before this turn, at `now_us`."""
        step = ahead
        if ahead >= _EXACT:
            bits = ahead.bit_length() - _STEPS_BITS - 1
            step = _EXACT + (bits << _STEPS_BITS) + (ahead >> bits)
        self._places[step] = (turn_us, ahead + released_total, now_us)
        self._sorted = None

    def ahead_of(self, turn_us: int, *, released_total: int) -> int | None:
        """The estimated number of visitors ahead of that turn; None: no place is known."""
        if not self._places:
            return None
        turns_us, before = self._sorted = self._sorted or _rising(self._places.values())
        at = bisect_left(turns_us, turn_us)
        if at == len(turns_us):
            place = before[-1]
        elif at == 0 or turns_us[at] == turn_us:
            place = before[at]
        else:
            share = (turn_us - turns_us[at - 1]) / (turns_us[at] - turns_us[at - 1])
            place = before[at - 1] + round((before[at] - before[at - 1]) * share)
        return max(place - released_total, 0)


def _rising(places: Iterable[tuple[int, int, int]]) -> tuple[list[int], list[int]]:
    """Turns and places, both ascending, without outdated entries."""
    noted = sorted(places)
    oldest_us = max(noted_us for _, _, noted_us in noted) - _KEPT_US
    turns_us: list[int] = []
    before: list[int] = []
    for turn_us, place, noted_us in noted:
        if noted_us >= oldest_us:
            turns_us.append(turn_us)
            before.append(max(place, before[-1]) if before else place)
    return turns_us, before
