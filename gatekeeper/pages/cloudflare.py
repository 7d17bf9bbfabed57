"""The JSON and the template variables of Cloudflare Waiting Room, computed from our queue.

Rules: pure. Names and types are those of its API documentation for `json_response_enabled` and
`custom_page_html`, so that apps and pages work unchanged. Fields without a counterpart here (its
lottery) have the value that Cloudflare sends for none. As at Cloudflare, times are whole minutes,
and known only during their phase.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from gatekeeper.pages.states import STATE_ROWS
from gatekeeper.pages.waiting_view import WaitingView

# A first come, first served queue in Cloudflare's terms.
_CONSTANT: dict[str, object] = {
    "waitTime25Percentile": 0,  # of its lottery
    "waitTime50Percentile": 0,
    "waitTime75Percentile": 0,
    "queueingMethod": "fifo",
    "isFIFOQueue": True,
    "isRandomQueue": False,
    "isPassthroughQueue": False,
    "isRejectQueue": False,
    "turnstile": "",
    "infiniteQueue": False,
}


def waiting_room(view: WaitingView) -> dict[str, object]:
    """The object `cfWaitingRoom`."""
    minutes = _minutes(view.eta_seconds)
    at = datetime.fromtimestamp(view.now_s, UTC).isoformat(timespec="milliseconds")
    return {
        "inWaitingRoom": True,
        "waitTimeKnown": minutes is not None,
        "waitTime": minutes or 0,
        "waitTimeFormatted": _formatted(minutes),
        "queueAll": STATE_ROWS[view.state].speed == "stopped",
        "lastUpdated": at.replace("+00:00", "Z"),
        "refreshIntervalSeconds": view.refresh_seconds,
        "queueIsFull": view.state == "queue_full",
        **_event(view),
    } | _CONSTANT


def _event(view: WaitingView) -> dict[str, object]:
    """The fields of the room's event."""
    event = view.event
    is_gathering = event is not None and view.reason == "prequeue"
    is_active = event is not None and event.starts_in_s is None and view.state != "ended"
    until_start = _minutes(event.starts_in_s) if event is not None and is_gathering else None
    until_end = _minutes(event.ends_in_s) if event is not None and is_active else None
    return {
        "isEventActive": is_active,
        "isEventPrequeueing": is_gathering,
        "timeUntilEventStart": until_start or 0,
        "timeUntilEventStartFormatted": _formatted(until_start),
        "timeUntilEventEnd": until_end or 0,
        "timeUntilEventEndFormatted": _formatted(until_end),
        "shuffleAtEventStart": event is not None and is_gathering and event.order == "draw",
    }


def _minutes(seconds: float | None) -> int | None:
    return None if seconds is None else max(math.ceil(seconds / 60), 1)


def variables(view: WaitingView) -> dict[str, object]:
    """The variables of a custom page: the fields of `waiting_room`, two parts of the wait, and our
    own."""
    room = waiting_room(view)
    hours, minutes = divmod(int(str(room["waitTime"])), 60)
    return room | {
        "waitTimeHours": hours,
        "waitTimeHourMinutes": minutes,
        "refreshIntervalSeconds": view.reload_seconds,
        "position": view.position or "",
        "peopleAhead": "" if view.ahead is None else view.ahead,
        "state": view.state,
        "title": view.title,
        "message": view.message,
        "room": view.room,
    }


def _formatted(minutes: int | None) -> str:
    """In English, as Cloudflare formats it for every language."""
    if minutes is None:
        return "unavailable"
    hours, rest = divmod(minutes, 60)
    parts = [(hours, "hour"), (rest, "minute")]
    return " ".join(f"{n} {unit}{'s' if n != 1 else ''}" for n, unit in parts if n)
