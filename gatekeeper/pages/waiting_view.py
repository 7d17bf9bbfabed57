"""The data of one visitor for the waiting page, as plain values.

Rules: pure. An unknown value is None. A wait is shown as a range that contains its estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gatekeeper.errors import N_
from gatekeeper.pages.event_view import EventView
from gatekeeper.pages.languages import SOURCE
from gatekeeper.pages.states import StateWithoutPlace, WaitingState, state_of
from gatekeeper.policy.phase import Reason

DEFAULT_TITLE = N_("You are in line")  # translated; an operator's title is not

# Without script a reload is the heartbeat. It interrupts reading, so it must not be too frequent;
# but it must stay well below `confirm_timeout`, 20 s by default. A newcomer's first reload is the
# confirmation, and should be early, in a moving line or just before an opening.
_MIN_RELOAD_S = 10
_NEWCOMER_RELOAD_S = 3


def reload_seconds(refresh_s: int, *, is_new: bool) -> int:
    """Seconds until a page without script reloads; `refresh_s`: when a script would poll."""
    return max(refresh_s, _NEWCOMER_RELOAD_S if is_new else _MIN_RELOAD_S)


@dataclass(frozen=True, slots=True)
class ChallengeView:
    """The challenge that a visitor has to solve first. `noscript`: without script the visitor waits
    for a fixed time, or is refused."""

    type: Literal["work", "turnstile", "hcaptcha"] = "work"
    noscript: Literal["wait", "refuse"] = "wait"
    site_key: str = ""  # of the provider


@dataclass(frozen=True, slots=True)
class WaitingView:
    """One visitor's place in line for the page; or the reason why there is none."""

    title: str
    room: str
    position: int | None  # None: unknown, since the store is unreachable or a draw comes first
    ahead: int | None
    queue_length: int | None
    eta_seconds: int | None  # None: unknown, or the line is held
    rate_per_minute: float  # 0: the operator holds the line
    refresh_seconds: int
    arrived_at: str  # RFC 3339, UTC; "": without a place
    place_ttl_minutes: int
    reason: Reason = "line"
    without_place: StateWithoutPlace | None = None
    event: EventView | None = None  # of the room: the present or the next one
    challenge: ChallengeView | None = None
    reference: str = ""  # for support; "": none
    message: str = ""  # the operator's live message; "": none
    lang: str = SOURCE
    updates: Literal["poll", "stream"] = "poll"
    now_s: float = 0.0  # since the epoch, of the request
    is_new: bool = False  # has not returned the ticket yet
    lane: str = ""  # "": none
    ticket: str = ""  # the signed ticket that the response sets; "": the browser already has one

    @property
    def reload_seconds(self) -> int:
        """Seconds until a page without script reloads."""
        return reload_seconds(self.refresh_seconds, is_new=self.is_new)

    @property
    def state(self) -> WaitingState:
        if self.without_place is not None:
            return self.without_place
        return state_of(self.reason, has_position=self.position is not None, is_new=self.is_new)


@dataclass(frozen=True, slots=True)
class WaitRange:
    """A wait for display: from `low` to `high` of `unit`, or `soon`, `long`, `unknown`.

    `text` is the range in a language: "2–4 minutes".
    """

    unit: Literal["soon", "minute", "hour", "long", "unknown"]
    low: float = 0
    high: float = 0
    text: str = ""


def wait_range(eta_seconds: int | None) -> WaitRange:
    """The range of an estimate: 20 % less to 25 % more, in steps that grow with it.

    `static/waiting.js` has the same rule; a browser test compares the two.
    """
    if eta_seconds is None:
        return WaitRange("unknown")
    low_minutes, high_minutes = eta_seconds * 0.8 / 60, eta_seconds * 1.25 / 60
    if high_minutes <= 1:
        return WaitRange("soon")
    if high_minutes <= 90:
        return _stepped("minute", low_minutes, high_minutes, step=1 if high_minutes <= 15 else 5)
    if high_minutes <= 24 * 60:
        step = 0.5 if high_minutes <= 6 * 60 else 1
        return _stepped("hour", low_minutes / 60, high_minutes / 60, step=step)
    return WaitRange("long")


def _stepped(unit: Literal["minute", "hour"], low: float, high: float, *, step: float) -> WaitRange:
    first = max(math.floor(low / step) * step, step)
    last = max(math.ceil(high / step) * step, first + step)
    return WaitRange(unit, first, last)
