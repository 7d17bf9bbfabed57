"""What this replica measured of the origin's responses, in one room that autotune steers.

Rules. Requests of admitted visitors that the origin received completely are counted when the
response head arrives. The latency, from the request to the head, is a share of `autotune_latency`
(`LATENCY_BOUNDS`). A client that disconnects later than the target waited for a
slow response; visitors of an overloaded origin reload its pages. A client that disconnects earlier
is not counted. Each visitor is counted in one of a few groups, the same on every replica, so that
the law distinguishes one visitor from many (`policy.visitor_groups`). Counting costs one addition:
no lock, no store.
"""

from __future__ import annotations

from bisect import bisect_left

from gatekeeper.policy.autotune import LATENCY_BOUNDS
from gatekeeper.policy.visitor_groups import GROUPS, group_of

_FIRST_SERVER_ERROR = 500
_BUCKETS = len(LATENCY_BOUNDS) + 1


class OriginTally:
    """The responses of one room since the last `take`. Nothing is counted while it is off."""

    __slots__ = ("_groups", "is_on", "target_s")

    def __init__(self) -> None:
        self.is_on = False
        self.target_s = 1.0
        self._groups = [GroupTally(self) for _ in range(GROUPS)]

    def of(self, visitor: str) -> GroupTally:
        """The tally of this visitor's group; always the same object."""
        return self._groups[group_of(visitor)]

    def measure_by(self, target_s: float | None) -> None:
        """Set `autotune_latency`, seconds; None: autotune is off. Counts by another target are
        dropped."""
        self.is_on = target_s is not None
        if target_s != self.target_s:
            self.take()
        if target_s is not None:
            self.target_s = target_s

    def take(self, *, is_late: bool = False) -> str:
        """The counts in the format that `advance` adds up: whether this replica was paused
        meanwhile, then for each group the requests without a response, the failed responses, and
        all responses by latency; "" if there are none."""
        taken = [number for group in self._groups for number in group.take()]
        if not any(taken):
            return "1" if is_late else ""
        return " ".join(map(str, [int(is_late), *taken]))


class GroupTally:
    """The responses to one group of visitors."""

    __slots__ = ("_counts", "_failed", "_tally", "_without_response")

    def __init__(self, tally: OriginTally) -> None:
        self._tally = tally
        self._counts = [0] * _BUCKETS
        self._failed = 0
        self._without_response = 0

    def count(self, status: int, /, *, seconds: float) -> None:
        """A response head that arrived `seconds` after the request."""
        tally = self._tally
        if tally.is_on:
            self._counts[bisect_left(LATENCY_BOUNDS, seconds / tally.target_s)] += 1
            if status >= _FIRST_SERVER_ERROR:
                self._failed += 1

    def count_abandoned(self, *, seconds: float) -> None:
        """A request whose client disconnected after waiting that long for a response head."""
        tally = self._tally
        if tally.is_on and seconds > tally.target_s:
            self._counts[bisect_left(LATENCY_BOUNDS, seconds / tally.target_s)] += 1

    def count_failure(self) -> None:
        """A request without a response: the origin refused, timed out or broke off."""
        if self._tally.is_on:
            self._without_response += 1

    def take(self) -> list[int]:
        """Return the counts since the last call, and start again at 0."""
        taken = [self._without_response, self._failed, *self._counts]
        self._counts = [0] * _BUCKETS
        self._failed = self._without_response = 0
        return taken
