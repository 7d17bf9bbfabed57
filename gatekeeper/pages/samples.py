"""Sample views: `Pages` tests templates with them at the start, and `preview` shows them.

Rules: every state is covered, and numbers of several lengths and plural forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gatekeeper.pages.event_view import DrawNumber, EventView
from gatekeeper.pages.states import WaitingState
from gatekeeper.pages.waiting_view import DEFAULT_TITLE, ChallengeView, WaitingView

_WAITING = WaitingView(
    title=DEFAULT_TITLE,
    room="default",
    position=1284,
    ahead=1283,
    queue_length=4000,
    eta_seconds=154,
    rate_per_minute=500.0,
    refresh_seconds=5,
    arrived_at="2000-01-01T12:00:00Z",
    place_ttl_minutes=10,
    reference="7K3F-9QXD",
)
_AHEAD = EventView(
    name="autumn-sale",
    starts_at="2000-01-01T13:00:00Z",
    starts_in_s=754.0,
    commitment="9f" * 32,
)
_OPEN = replace(_AHEAD, starts_in_s=None, ends_in_s=5000.0)
_DRAWN = replace(_OPEN, draw=DrawNumber("3f2a91c4" + "0d" * 28, 946_731_600_000_000))
_PLACE_TO_BE_DRAWN = replace(
    _WAITING,
    reason="before",
    position=None,
    ahead=None,
    rate_per_minute=0.0,
    eta_seconds=None,
    event=_AHEAD,
)
_WITHOUT_PLACE = replace(
    _PLACE_TO_BE_DRAWN, queue_length=None, refresh_seconds=760, arrived_at="", reference=""
)

# A visitor in line, in each phase of an event that changes no state.
SAMPLE_EVENTS: Mapping[str, WaitingView] = {
    "announced": replace(_WAITING, event=replace(_AHEAD, starts_in_s=3 * 86_400 + 7.0)),
    "drawn": replace(_WAITING, event=_DRAWN),
    "arrival": replace(_WAITING, event=replace(_OPEN, order="arrival", commitment="")),
}

# One view per state.
SAMPLE_VIEWS: Mapping[WaitingState, WaitingView] = {
    "waiting": _WAITING,
    "held": replace(_WAITING, reason="held", rate_per_minute=0.0, eta_seconds=None),
    "full": replace(_WAITING, reason="full", message="A & B: more places at 18:00."),
    "ended": replace(_WAITING, reason="ended", rate_per_minute=0.0, eta_seconds=None),
    "reconnecting": replace(
        _WAITING,
        reason="reconnecting",
        position=None,
        ahead=None,
        queue_length=None,
        eta_seconds=None,
        rate_per_minute=0.5,
    ),
    "closed": replace(
        _WAITING, reason="before", rate_per_minute=0.0, eta_seconds=None, event=_AHEAD
    ),
    "prequeue_place": replace(
        _WAITING,
        reason="prequeue",
        rate_per_minute=0.0,
        eta_seconds=None,
        event=replace(_AHEAD, order="arrival", commitment=""),
    ),
    "challenge": replace(
        _WAITING,
        reason="challenge",
        position=None,
        ahead=None,
        queue_length=None,
        eta_seconds=None,
        challenge=ChallengeView(),
    ),
    "prequeue": replace(_PLACE_TO_BE_DRAWN, reason="prequeue"),
    "joining": replace(_PLACE_TO_BE_DRAWN, reason="prequeue", is_new=True),
    "draw": replace(_PLACE_TO_BE_DRAWN, reason="draw", event=_OPEN),
    "before": replace(
        _WITHOUT_PLACE,
        without_place="before",
        event=replace(_AHEAD, prequeue_at="2000-01-01T12:30:00Z"),
    ),
    "queue_full": replace(
        _WITHOUT_PLACE, without_place="queue_full", refresh_seconds=45, event=None
    ),
    "address_limit": replace(
        _WITHOUT_PLACE, without_place="address_limit", refresh_seconds=50, event=None
    ),
}

# Positions from the front to the end: a template may treat some numbers differently.
SAMPLE_POSITIONS = (
    *(
        replace(
            _WAITING,
            position=ahead + 1,
            ahead=ahead,
            queue_length=ahead + 20,
            eta_seconds=ahead // 8,
            refresh_seconds=1 + ahead % 30,
            arrived_at=f"2000-01-01T00:00:{ahead % 60:02}Z",
        )
        for ahead in (0, 1, 4, 21, 99, 1000, 40_000, 1_234_567)
    ),
    replace(_WAITING, lane="members"),
)
