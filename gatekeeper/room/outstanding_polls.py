"""Outstanding polls: which visitors may still be about to poll, by the intervals that were sent to
them.

Rules. After a loss the store knows only the visitors that have polled since. A visitor may be
released as soon as every visitor with an earlier turn had the time to poll. That time follows from
the interval that each of them received last, from whatever place, rate or estimate: so a replica
keeps the intervals that it sent. Each replica reports up to which turn none of its visitors is due
any more, and the store releases no further than the least of these reports (`advance`).

An interval sent with a place in the store is outstanding only once that store is lost; one sent
without the store is outstanding at once. A report is about one epoch of the store, and counts only
if the store that was lost knew this replica. It is empty while the replica itself may have been
paused, since requests of its visitors may then wait unread. Instants are of a monotonic clock, and
never leave this process.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from gatekeeper.policy.numbers import EXACT_END
from gatekeeper.policy.pacing import OPENING_SPREAD, RETURN_MARGIN
from gatekeeper.policy.rules import Rules

EVERY_TURN_US = EXACT_END - 1
# From the latest time at which a poll is due until the store has it: network delay of the response
# and the request, and a client that is slightly late.
GRACE_S = 1.25
_PAUSE_S = 1.0  # between two reports: a longer pause means that this process did not run
_STEP_S = 0.25  # bounds the memory: instants are rounded up to it
_COUNTED_FOR_S = 20.0  # the store remembers replicas longer than that (`remembered_s`)


class ReturnReport(NamedTuple):
    """`through_us`: no visitor of this replica at or before that turn is due to poll any more.
    `epoch`: of the store that the report is about, 0: no report; `lost_epoch`: of the previous
    store, if that one counted this replica, else 0."""

    epoch: int
    lost_epoch: int
    through_us: int


def remembered_s(rules: Rules) -> float:
    """How long the store counts a replica after its last call, seconds: longer than any poll
    interval that it sent."""
    longest_s = rules.longest_poll_interval_s * RETURN_MARGIN * OPENING_SPREAD
    return longest_s + GRACE_S + _COUNTED_FOR_S


class OutstandingPolls:
    """The outstanding polls of one room on one replica."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._in_store = _Due()  # visitors with a place in the store of this epoch
        self._outstanding = _Due()
        self._epoch = self._lost_epoch = 0
        self._counted_epoch = 0  # of the store that last counted this replica, …
        self._counted_at_s = -math.inf  # … and when
        self._reported_at_s = -math.inf
        self._paused_until_s = -math.inf

    def note(self, turn_us: int, interval_s: float, *, in_store: bool) -> None:
        """A visitor of that turn was asked to poll again after `interval_s` seconds. `in_store`:
        the store has just returned the place. A turn of 0 stands for an unknown one."""
        now_s = self._monotonic_s()
        until_s = now_s + interval_s * RETURN_MARGIN + GRACE_S
        due = self._in_store if in_store else self._outstanding
        # Rounds up: `%` by a negative step is the distance to the next step, as a negative number.
        due.note(turn_us, until_s - until_s % -_STEP_S, now_s=now_s)

    def note_epoch(self, epoch: int) -> None:
        """The store replied with a state of this epoch. If it differs from the last, the store was
        lost."""
        if epoch == self._epoch:
            return
        now_s = self._monotonic_s()
        is_counted = now_s - self._counted_at_s <= _COUNTED_FOR_S
        self._lost_epoch = self._counted_epoch if is_counted else 0
        self._epoch = epoch
        self._outstanding.add(self._in_store, now_s=now_s)
        self._in_store = _Due()

    def note_counted(self) -> None:
        """The store has just counted this replica, in the epoch of its reply."""
        self._counted_epoch, self._counted_at_s = self._epoch, self._monotonic_s()

    def report(self) -> ReturnReport:
        """The current report; the store receives it after every poll that came before."""
        now_s = self._monotonic_s()
        if now_s - self._reported_at_s > _PAUSE_S:
            self._paused_until_s = now_s + GRACE_S
        self._reported_at_s = now_s
        through_us = 0
        if now_s >= self._paused_until_s:
            first_us = self._outstanding.first_us(now_s=now_s)
            through_us = EVERY_TURN_US if first_us is None else max(first_us - 1, 0)
        return ReturnReport(self._epoch, self._lost_epoch, through_us)


class _Due:
    """Turns, and until when a poll of each is due. Both rise: a pair is kept only if no earlier
    turn is due as long."""

    def __init__(self) -> None:
        self._turns_us: list[int] = []
        self._until_s: list[float] = []

    def note(self, turn_us: int, until_s: float, *, now_s: float) -> None:
        turns_us, untils_s = self._turns_us, self._until_s
        after = bisect_right(turns_us, turn_us)
        if after and untils_s[after - 1] >= until_s:
            return
        start = bisect_left(turns_us, turn_us, hi=after)
        end = max(bisect_right(untils_s, until_s), start)
        turns_us[start:end], untils_s[start:end] = [turn_us], [until_s]
        if untils_s[0] <= now_s:
            self._forget(now_s)

    def add(self, other: _Due, *, now_s: float) -> None:
        for turn_us, until_s in zip(other._turns_us, other._until_s, strict=True):
            self.note(turn_us, until_s, now_s=now_s)

    def first_us(self, *, now_s: float) -> int | None:
        """The first turn with a poll due; None: there is none."""
        self._forget(now_s)
        return self._turns_us[0] if self._turns_us else None

    def _forget(self, now_s: float) -> None:
        past = bisect_right(self._until_s, now_s)
        del self._turns_us[:past], self._until_s[:past]
