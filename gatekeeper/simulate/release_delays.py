"""Measures how soon visitors near the front were admitted after their release. Pure.

Rules. As in `judge`: instants are of the crowd's clock, and what happened inside the gate is known
only to lie between the start of a request and the end of its response.

Release. A visitor whose arrival is at or below the watermark has been released. A release is
certain as soon as the admin listener reports such a watermark, or a later arrival was admitted.

Delay. From that instant to the end of the `admitted` response. The time by which the client polled
late is subtracted. For the promise, the duration of this round trip and of the previous one is
subtracted too: the gate may have decided at the start of either.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from gatekeeper.simulate.judge import Place

MAX_RELEASE_DELAY_S = 2.0
_NEAR_PLACES, _NEAR_S = 4, 6.0
_JITTER = 1.15  # a page polls up to this factor later than the poll interval
_SINCE_ARRIVAL_S = float("-inf")


def is_near_front(position: int | None, *, rate_per_minute: float | None) -> bool:
    """Whether a position is among the first four, or within six seconds of release."""
    if position is None:
        return False
    return position <= _NEAR_PLACES or position * 60 < _NEAR_S * (rate_per_minute or 0)


def client_delay_of(place: Place) -> float:
    """How much later than the poll interval the current request was sent, seconds."""
    if place.received_s is None:
        return 0.0
    return max(place.sent_s - place.received_s - place.poll_interval_s * _JITTER, 0)


class ReleaseDelays:
    """The delays of one run, from every proof of a release and every admission."""

    def __init__(self) -> None:
        # Both rising: all arrivals up to this one are released, and since when that is certain.
        self._arrivals_us = array("q")
        self._certain_s = array("d")
        self.delays_s = array("d")  # near the front, as observed
        self.certain_s = array("d")  # … and the part that is certainly the gate's

    def record_release(self, arrival_us: int, *, now_s: float) -> None:
        """All arrivals up to this one are released by now."""
        if not self._arrivals_us or arrival_us > self._arrivals_us[-1]:
            self._arrivals_us.append(arrival_us)
            self._certain_s.append(now_s)

    def released_at_s(self, arrival_us: int) -> float | None:
        """Since when the release of this arrival is certain; None when it is not."""
        at = bisect_left(self._arrivals_us, arrival_us)
        return self._certain_s[at] if at < len(self._certain_s) else None

    def record_admission(self, place: Place, *, now_s: float) -> None:
        """A poll returned `admitted`. Call after `record_release` for the same response.

        A visitor that was absent may have been released meanwhile, and is not judged.
        """
        if not place.near_front or place.present_since_s != _SINCE_ARRIVAL_S:
            return
        released_at_s = self.released_at_s(place.arrival_us)
        if released_at_s is None or place.received_s is None:
            return
        delay_s = now_s - released_at_s - client_delay_of(place)
        round_trips_s = (now_s - place.sent_s) + (place.received_s - place.last_waiting_began_s)
        self.delays_s.append(max(delay_s, 0))
        self.certain_s.append(max(delay_s - round_trips_s, 0))
