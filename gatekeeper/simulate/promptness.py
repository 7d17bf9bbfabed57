"""Whether those near the front were let in soon after their release. Pure, as the judge is.

Rules. Those of the judge: instants are of the crowd's clock, and what happened inside the gate is
known only between the beginning of a request and the end of its answer.

Release. Whoever came no later than the watermark says has been released. That is certain as soon as
the operator's listener tells such a watermark, or someone who came later was let in.

Delay. From there on until they were told. How much later than told they asked is not held against
the gate. Nor, for the promise, is the time that this answer and the one before it took: the gate
may have decided on either at its beginning.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from gatekeeper.simulate.judge import Place

WITHIN_S = 2.0
_NEAR_PLACES, _NEAR_S = 4, 6.0
_JITTER = 1.15  # pages ask up to so much later than they are told
_ALWAYS_S = float("-inf")


def is_near(position: int | None, *, rate_per_minute: float | None) -> bool:
    """Near the front: among the first four, or within six seconds of their turn."""
    if position is None:
        return False
    return position <= _NEAR_PLACES or position * 60 < _NEAR_S * (rate_per_minute or 0)


def lateness_s(place: Place) -> float:
    """How much later than told the question under way was asked."""
    if place.heard_s is None:
        return 0.0
    return max(place.asked_s - place.heard_s - place.told_s * _JITTER, 0)


class Promptness:
    """The delays of a run. Tell it of every proof of a release, and of each who is let in."""

    def __init__(self) -> None:
        # Rising both: up to which arrival all had been released, and since when that is certain.
        self._arrivals_us = array("q")
        self._certain_s = array("d")
        self.delays_s = array("d")  # of those near the front, as they saw it
        self.proven_s = array("d")  # … and as much of it as is the gate's for sure

    def passed(self, arrival_us: int, *, now_s: float) -> None:
        """Everyone up to this arrival has been released by now."""
        if not self._arrivals_us or arrival_us > self._arrivals_us[-1]:
            self._arrivals_us.append(arrival_us)
            self._certain_s.append(now_s)

    def released_s(self, arrival_us: int) -> float | None:
        """Since when it is certain that this arrival was released; None when it is not."""
        at = bisect_left(self._arrivals_us, arrival_us)
        return self._certain_s[at] if at < len(self._certain_s) else None

    def admitted(self, place: Place, *, now_s: float) -> None:
        """Told to be in by the answer to a poll. Call it after `passed` for the same answer.

        Who was away may have been passed meanwhile, and says nothing.
        """
        if not place.near or place.present_since_s != _ALWAYS_S:
            return
        released_s = self.released_s(place.arrival_us)
        if released_s is None or place.heard_s is None:
            return
        delay_s = now_s - released_s - lateness_s(place)
        answers_s = (now_s - place.asked_s) + (place.heard_s - place.last_waiting_began_s)
        self.delays_s.append(max(delay_s, 0))
        self.proven_s.append(max(delay_s - answers_s, 0))
