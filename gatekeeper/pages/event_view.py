"""The data of an event for a page: the opening, the countdown, and the visitor's draw.

Rules: pure. Remaining times are the gate's, measured by the store's clock, so that a page can count
down without a correct clock of its own. An unknown text is "", an unknown number None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# Seconds. A page without a place learns of a delay or an early opening within this time.
_MAX_RENEWAL_S = 600
# A replica learns of the begin of an event within a tick, one second at most.
_LATE_NEWS_S = 3
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class DrawNumber:
    """A visitor's drawn number, after the draw."""

    id_hash: str  # SHA-256 of the visitor id, in hex
    turn: int  # microseconds

    @property
    def short(self) -> str:
        """The first digits, for display: "3f2a 91c4"."""
        return f"{self.id_hash[:4]} {self.id_hash[4:8]}"


@dataclass(frozen=True, slots=True)
class EventView:
    """The event that a room is in, or the next one."""

    name: str
    starts_at: str  # RFC 3339, UTC
    starts_in_s: float | None  # None: it has started
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
        """Seconds until the event gives out places; 0 once it has begun, even if the replica does
        not know that yet."""
        return self.prequeue_in_s or 0.0

    def joining_spread_s(self, limit_s: float) -> float:
        """Over how many seconds the reloads of pages without a place are spread when places are
        given out: within the first half of a short prequeue, since later visitors take no part in a
        draw."""
        if self.prequeue_in_s is None:
            return min(limit_s, _LATE_NEWS_S)
        prequeue_s = (self.starts_in_s or 0.0) - self.prequeue_in_s
        return min(limit_s, prequeue_s / 2) if prequeue_s > 0 else limit_s

    @property
    def days_left(self) -> int:
        """Whole days until the start."""
        return self._seconds_left // _DAY_S

    @property
    def clock_left(self) -> str:
        """The remainder until the start as hours, minutes and seconds, the same in every
        language."""
        minutes, seconds = divmod(self._seconds_left % _DAY_S, 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"

    @property
    def _seconds_left(self) -> int:
        return math.ceil(max(self.starts_in_s or 0.0, 0.0))


def renewal_s(remaining_s: float, *, spread_s: float, share: float) -> int:
    """Seconds until a page without a place reloads; `share`: random, from 0 to 1.

    Not before the awaited time, and spread over `spread_s` after it, so that 100,000 pages do not
    return in one second. A long wait is split, and the last part is at least half of the maximum.
    """
    if remaining_s > _MAX_RENEWAL_S:
        return math.ceil(min(_MAX_RENEWAL_S * (0.5 + share / 2), remaining_s / 2))
    return max(math.ceil(max(remaining_s, 0.0) + spread_s * share), 1)


def retry_s(*, spread_s: float, share: float) -> int:
    """Seconds until the page of a full line reloads; `share`: see `renewal_s`."""
    return math.ceil(spread_s * (1 + share))
