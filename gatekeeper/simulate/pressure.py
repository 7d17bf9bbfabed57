"""Judges waits, throughput, places and releases under floods, lurkers and no-shows.

Rules. Pure: no I/O and no clock. As in `judge`, a promise counts as broken only when every possible
instant inside the gate breaks it.

Waits. A visitor at position p is released after at most p admissions at the rate. The promise
begins with the first position after the visitors ahead had time to confirm. It is broken when a
poll that was sent more than two seconds after that instant still receives `waiting`. A visitor that
returns after a silence takes its place ahead, and so moves the promise by one admission. A hold, a
changed rate, or slots that real visitors fill end the promise; the next position makes a new one.

Throughput. While real visitors wait, the origin receives the rate: real visitors that are admitted
and requests of the flood that are forwarded.

Places. Only visitors that returned a token are in line, so the queue is no longer than these.

Lurkers. After its second missed release a lurker is at the end of the line: behind it are only
visitors that arrived after its claim window ended, and other lurkers. So it takes at most two
releases from waiting visitors.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

MAX_LATE_S = 2.0
MIN_SHARE, MAX_SHARE = 0.95, 1.05  # of the rate
MAX_MISSES = 2
# A lurker near the front is released sooner than it can be swept as absent (heartbeat_timeout).
SWEPT_AFTER_S = 15.0
QUEUE_MARGIN = 5  # position and queue length may be of two states of the room
_CONFIRMED_AFTER_S = 3.0  # earlier arrivals have confirmed, and are counted in the position
_MIN_EXPECTED = 200.0  # admissions of a span: fewer show no share
WAITING_S = 3.0  # real visitors wait: more than the rate releases in this time
_SETTLE_S = 3.0  # until the burst is used up …
_SETTLE_CLAIMS = 2  # … and, with no-shows, the first claim windows have ended


@dataclass(frozen=True, slots=True)
class PromisedWait:
    """The promised release of one visitor."""

    at_s: float
    made_s: float
    rate_per_minute: float
    returns: int
    late_s: float = -math.inf  # by the last poll


class PromisedWaits:
    """The waits that positions and the rate promise. Call `received_waiting` for each position."""

    def __init__(self) -> None:
        self.judged = 0
        self.late = 0
        self.worst_s = -math.inf
        self._returns = 0
        self._stopped_s = -math.inf

    def visitor_returned(self) -> None:
        """A visitor is back in line after a silence, maybe ahead of others."""
        self._returns += 1

    def line_stopped(self, *, now_s: float) -> None:
        """Releases do not follow the rate at the moment: end all promises."""
        self._stopped_s = now_s

    def received_waiting(
        self,
        promised: PromisedWait | None,
        *,
        position: int | None,
        rate_per_minute: float | None,
        waited_s: float,
        present_since_s: float,
        sent_s: float,
        now_s: float,
    ) -> PromisedWait | None:
        """A poll sent at `sent_s` received a position; returns the promise that holds from now on.

        `waited_s` is the time from the arrival to this poll.
        """
        if not rate_per_minute or position is None or present_since_s == math.inf:
            return None
        if promised is not None and (
            promised.rate_per_minute != rate_per_minute
            or promised.made_s <= max(self._stopped_s, present_since_s)
        ):
            promised = None
        if promised is None:
            if waited_s < _CONFIRMED_AFTER_S or now_s <= self._stopped_s:
                return None
            self.judged += 1
            at_s = now_s + position * 60 / rate_per_minute
            return PromisedWait(at_s, now_s, rate_per_minute, self._returns)
        returned = self._returns - promised.returns
        late_s = sent_s - promised.at_s - returned * 60 / rate_per_minute
        self.worst_s = max(self.worst_s, late_s)
        self.late += late_s > MAX_LATE_S >= promised.late_s
        return replace(promised, late_s=late_s)


@dataclass(frozen=True, slots=True)
class ThroughputSpan:
    """A span in which real visitors waited throughout."""

    duration_s: float
    admissions: int
    expected: float

    @property
    def share(self) -> float:
        return self.admissions / self.expected

    def edge(self, crowd_late_s: float) -> float:
        """The number of admissions that may be counted on the wrong side of an end of the span,
        since a crowd that sends late claims late."""
        return 1 + crowd_late_s * self.expected / self.duration_s

    def keeps_rate(self, *, granted: int = 0, edge: float = 1) -> bool:
        low, high = MIN_SHARE * self.expected - edge, MAX_SHARE * self.expected + edge
        return low <= self.admissions <= high + granted


class Throughput:
    """Finds the longest span in which real visitors waited. Call `sample` at short intervals."""

    def __init__(self, *, claim_timeout_s: float = 0.0) -> None:
        """`claim_timeout_s`: 0 if no visitors miss their release."""
        self._settle_s = _SETTLE_S + _SETTLE_CLAIMS * claim_timeout_s
        self._busy_since_s: float | None = None
        self._began: tuple[float, int] | None = None
        self._rate_per_minute = 0.0
        self.longest: ThroughputSpan | None = None

    def sample(
        self, *, now_s: float, waiting: int, rate_per_minute: float | None, admissions: int
    ) -> None:
        """Add a sample. `rate_per_minute` is None while releases do not follow the rate."""
        if not rate_per_minute or waiting <= WAITING_S * rate_per_minute / 60:
            self._busy_since_s = self._began = None
            return
        if self._busy_since_s is None or rate_per_minute != self._rate_per_minute:
            self._busy_since_s, self._began = now_s, None
            self._rate_per_minute = rate_per_minute
        if now_s - self._busy_since_s < self._settle_s:
            return
        if self._began is None:
            self._began = now_s, admissions
        began_s, before = self._began
        expected = (now_s - began_s) * rate_per_minute / 60
        if expected >= _MIN_EXPECTED and (self.longest is None or expected > self.longest.expected):
            self.longest = ThroughputSpan(now_s - began_s, admissions - before, expected)


@dataclass(slots=True)
class FloodRecord:
    """The responses to requests without cookies."""

    sent: int = 0
    in_flight: int = 0
    skipped: int = 0  # not sent: too many were in flight
    forwarded: int = 0  # straight through, each for one admission
    bypassed: int = 0  # forwarded by a rule, uncounted
    turned_away: int = 0
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class QueueRecord:
    """Visitors that may be in line, and the largest excess of the gate's count over these."""

    confirmed: int = 0  # first polls begun
    gone: int = 0  # of these: certainly admitted, or left
    before: int | None = None  # in line when the run began
    excess: int | None = None
    excess_at_s: float | None = None  # the first one

    def sample(self, queue_length: int, *, gone: int, now_s: float) -> None:
        """The admin listener reported `queue_length`; `gone` is from before that request."""
        if self.before is None:
            self.before = queue_length
            return
        excess = queue_length - self.before - self.confirmed + gone
        self.excess = excess if self.excess is None else max(self.excess, excess)
        if excess > 0 and self.excess_at_s is None:
            self.excess_at_s = now_s


@dataclass(frozen=True, slots=True)
class Lurk:
    """The state of a lurker when it fell silent near the front."""

    turn_us: int
    received_s: float


@dataclass(slots=True)
class LurkerRecord:
    """Missed releases of all lurkers."""

    misses: int = 0
    judged: int = 0  # places after a second miss, or a later one
    ahead: int = 0  # of these: ahead of visitors that had been in line before
    admitted: int = 0  # claims by accident

    def is_ahead(self, *, behind: float, later: int) -> bool:
        """Judge a place after a second miss; up to `later` visitors may be behind it."""
        self.judged += 1
        ahead = behind > later
        self.ahead += ahead
        return ahead
