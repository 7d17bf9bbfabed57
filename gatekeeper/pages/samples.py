"""Sample views: `Pages` tries templates with them at the start, and `preview` shows them.

Rules: every state is covered, and numbers of several lengths and plural forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gatekeeper.pages.states import WaitingState
from gatekeeper.pages.waiting_view import DEFAULT_TITLE, WaitingView

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
)

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
}

# Positions from the front to the end: a template may treat some numbers differently.
SAMPLE_POSITIONS = tuple(
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
)
