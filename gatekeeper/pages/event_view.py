"""What a page shows of an event: the opening, the countdown, and the visitor's part in the draw.

Rules: pure. Remaining times are the gate's, measured by the store's clock, so that a page can count
down without a correct clock of its own. An unknown text is "", an unknown number None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# Seconds. A page without a place learns of a delay or an early opening within this time.
_MAX_RENEWAL_S = 600
# An event has begun, and its replica learns of that within a tick: of a second at most.
_LATE_NEWS_S = 3
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class DrawNumber:
    """A visitor's part in a draw, after it."""

    id_hash: str  # SHA-256 of the visitor id, in hex
    turn: int  # microseconds

    @property
    def short(self) -> str:
        """The first digits, for people: "3f2a 91c4"."""
        return f"{self.id_hash[:4]} {self.id_hash[4:8]}"


@dataclass(frozen=True, slots=True)
class EventView:
    """The event that a room is in, or the next one."""

    name: str
    starts_at: str  # RFC 3339, UTC
    starts_in_s: float | None  # None: the start has passed
    ends_in_s: float | None = None  # None: no end is set
    prequeue_at: str = ""  # "": none, or passed
    prequeue_in_s: float | None = None  # or the start, without one; None: it has begun
    order: Literal["draw", "arrival"] = "draw"
    commitment: str = ""  # of the draw, in hex
    draw: DrawNumber | None = None

    @property
    def starts_in_ms(self) -> int | None:
        """Rounded up: a countdown never ends before the opening."""
        return None if self.starts_in_s is None else math.ceil(self.starts_in_s * 1000)

    @property
    def joins_in_s(self) -> float:
        """Seconds until the event gives out places; 0 from its first moment on, also where the
        replica does not know yet that it has begun."""
        return self.prequeue_in_s or 0.0

    def joining_spread_s(self, most_s: float) -> float:
        """Over how many seconds the pages without a place return once places are given out: in the
        first half of a short prequeue, since later ones take no part in a draw."""
        if self.prequeue_in_s is None:
            return min(most_s, _LATE_NEWS_S)
        prequeue_s = (self.starts_in_s or 0.0) - self.prequeue_in_s
        return min(most_s, prequeue_s / 2) if prequeue_s > 0 else most_s

    @property
    def days_left(self) -> int:
        """Whole days until the start."""
        return self._seconds_left // _DAY_S

    @property
    def clock_left(self) -> str:
        """The rest until the start as hours, minutes and seconds, in every language alike."""
        minutes, seconds = divmod(self._seconds_left % _DAY_S, 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"

    @property
    def _seconds_left(self) -> int:
        return math.ceil(max(self.starts_in_s or 0.0, 0.0))


def renewal_s(remaining_s: float, *, spread_s: float, share: float) -> int:
    """After how many seconds a page without a place is loaded again; `share`: random, from 0 to 1.

    Not before what it waits for, and spread over `spread_s` after that, so that 100,000 pages do
    not return in one second. A long wait is cut into parts, and the last is at least half of it.
    """
    if remaining_s > _MAX_RENEWAL_S:
        return math.ceil(min(_MAX_RENEWAL_S * (0.5 + share / 2), remaining_s / 2))
    return max(math.ceil(max(remaining_s, 0.0) + spread_s * share), 1)


def retry_s(*, spread_s: float, share: float) -> int:
    """After how many seconds the page of a full line is loaded again; `share` as above."""
    return math.ceil(spread_s * (1 + share))
