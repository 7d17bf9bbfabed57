"""What this replica measured of the origin in one room that autotune steers.

Rules. Counted are the requests of admitted visitors that the origin received completely, by the
heads of their responses. The time is that from the request to the head, as a share of
`autotune_latency` (`LATENCY_BOUNDS`). A client that disconnects later than the target waited for a
slow response; visitors of an overloaded origin reload its pages. One that disconnects earlier
counts nothing. Counting costs one addition: no lock, no store.
"""

from __future__ import annotations

from bisect import bisect_left

from gatekeeper.policy.autotune import LATENCY_BOUNDS

_FIRST_SERVER_ERROR = 500


class OriginTally:
    """The responses of one room since the last `take`."""

    __slots__ = ("_counts", "_failed", "_unanswered", "target_s")

    def __init__(self) -> None:
        self.target_s = 1.0
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self._failed = 0
        self._unanswered = 0

    def measure_by(self, target_s: float) -> None:
        """`autotune_latency` from now on. What was counted by another one is dropped."""
        if target_s != self.target_s:
            self.take()
            self.target_s = target_s

    def count(self, status: int, /, *, seconds: float) -> None:
        """A response head that arrived `seconds` after the request."""
        self._counts[bisect_left(LATENCY_BOUNDS, seconds / self.target_s)] += 1
        if status >= _FIRST_SERVER_ERROR:
            self._failed += 1

    def count_abandoned(self, *, seconds: float) -> None:
        """A request whose client disconnected after waiting that long for a response head."""
        if seconds > self.target_s:
            self._counts[bisect_left(LATENCY_BOUNDS, seconds / self.target_s)] += 1

    def count_failure(self) -> None:
        """A request without a response: the origin refused, timed out or broke off."""
        self._unanswered += 1

    def take(self) -> str:
        """What was counted, as `advance` adds it up; "" is nothing."""
        if not self._unanswered and not any(self._counts):
            return ""
        text = " ".join(map(str, (self._unanswered, self._failed, *self._counts)))
        self._counts = [0] * len(self._counts)
        self._failed = self._unanswered = 0
        return text
