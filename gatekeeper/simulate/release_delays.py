"""Measures the delay from release to admission near the front. Pure.

Rules. As in `judge`: instants are of the crowd's clock, and an event inside the gate is only known
to be between the start of a request and the end of its response.

Release. A visitor in line whose turn is at or below the watermark has been released. That is
certain as soon as the admin listener reports such a watermark, or a later turn was admitted. An
equal turn proves nothing, for a release may take only some of its visitors. A visitor that
confirmed after the watermark had passed its turn is released later; so only releases that certainly
happened while the visitor was in line are judged.

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
_MAX_PROOFS = 10_000  # checked per visitor
_JITTER = 1.15  # a page polls up to this factor later than the poll interval


def is_near_front(position: int | None, *, rate_per_minute: float | None) -> bool:
    """Whether a position is among the first four, or within six seconds of release."""
    if position is None:
        return False
    return position <= _NEAR_PLACES or position * 60 < _NEAR_S * (rate_per_minute or 0)


def client_delay_of(place: Place) -> float:
    """The delay of the current request relative to the poll interval, seconds."""
    if place.received_s is None:
        return 0.0
    return max(place.sent_s - place.received_s - place.poll_interval_s * _JITTER, 0)


class ReleaseDelays:
    """The delays of one run, from every proof of a release and every admission."""

    def __init__(self) -> None:
        # Each proof: the watermark reached a turn between `began` and `certain`, which rises.
        self._turns_us = array("q")
        self._began_s = array("d")
        self._certain_s = array("d")
        # The proofs with a turn above all earlier ones.
        self._rising = array("q")
        self._rising_turns_us = array("q")
        self.delays_s = array("d")  # near the front, as observed
        self.certain_s = array("d")  # … and the part that is certainly the gate's

    def record_release(self, turn_us: int, *, began_s: float, now_s: float) -> None:
        """The watermark reached this turn between `began_s` and `now_s`."""
        if not self._rising or turn_us > self._rising_turns_us[-1]:
            self._rising.append(len(self._turns_us))
            self._rising_turns_us.append(turn_us)
        self._turns_us.append(turn_us)
        self._began_s.append(began_s)
        self._certain_s.append(now_s)

    def released_at_s(self, turn_us: int) -> float | None:
        """When the release of this turn became certain; None: it is not certain."""
        at = self._first_proof(turn_us)
        return None if at is None else self._certain_s[at]

    def was_passed(self, turn_us: int, *, from_s: float, until_s: float) -> bool:
        """Whether a later turn was certainly released between these instants."""
        return self._proof_between(turn_us + 1, from_s=from_s, until_s=until_s) is not None

    def record_admission(self, place: Place, *, now_s: float) -> None:
        """A poll returned `admitted`. Call after `record_release` for the same response.

        A visitor that was absent may have been released meanwhile, and is not judged.
        """
        if not place.near_front or not place.is_present or place.received_s is None:
            return
        at = self._first_proof(place.turn_us)
        if at is not None and self._began_s[at] < place.present_since_s:
            at = self._proof_between(place.turn_us, from_s=place.present_since_s, until_s=now_s)
        released_at_s = now_s if at is None else self._certain_s[at]
        delay_s = now_s - released_at_s - client_delay_of(place)
        round_trips_s = (now_s - place.sent_s) + (place.received_s - place.last_waiting_began_s)
        self.delays_s.append(max(delay_s, 0))
        self.certain_s.append(max(delay_s - round_trips_s, 0))

    def _first_proof(self, turn_us: int) -> int | None:
        at = bisect_left(self._rising_turns_us, turn_us)
        return self._rising[at] if at < len(self._rising) else None

    def _proof_between(self, turn_us: int, *, from_s: float, until_s: float) -> int | None:
        """The first proof that this turn, or a later one, was released in this span."""
        first = bisect_left(self._certain_s, from_s)
        for at in range(first, min(bisect_left(self._certain_s, until_s), first + _MAX_PROOFS)):
            if self._turns_us[at] >= turn_us and self._began_s[at] >= from_s:
                return at
        return None
