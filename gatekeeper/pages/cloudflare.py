"""The JSON and the template variables of Cloudflare Waiting Room, computed from our queue.

Rules: pure. Names and types are those its API documents for `json_response_enabled` and
`custom_page_html`, so that apps and pages work unchanged. Fields without a counterpart here (an
event, a lottery, a full queue) have the value that Cloudflare sends when there is none.
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
    "queueIsFull": False,  # every visitor gets a place
    "queueingMethod": "fifo",
    "isFIFOQueue": True,
    "isRandomQueue": False,
    "isPassthroughQueue": False,
    "isRejectQueue": False,
    "isEventActive": False,
    "isEventPrequeueing": False,
    "timeUntilEventStart": 0,
    "timeUntilEventStartFormatted": "unavailable",
    "timeUntilEventEnd": 0,
    "timeUntilEventEndFormatted": "unavailable",
    "shuffleAtEventStart": False,
    "turnstile": "",
    "infiniteQueue": False,
}


def waiting_room(view: WaitingView) -> dict[str, object]:
    """The object `cfWaitingRoom`."""
    minutes = None if view.eta_seconds is None else max(math.ceil(view.eta_seconds / 60), 1)
    at = datetime.fromtimestamp(view.now_s, UTC).isoformat(timespec="milliseconds")
    return {
        "inWaitingRoom": True,
        "waitTimeKnown": minutes is not None,
        "waitTime": minutes or 0,
        "waitTimeFormatted": _formatted(minutes),
        "queueAll": STATE_ROWS[view.state].speed == "stopped",
        "lastUpdated": at.replace("+00:00", "Z"),
        "refreshIntervalSeconds": view.refresh_seconds,
    } | _CONSTANT


def variables(view: WaitingView) -> dict[str, object]:
    """The variables of a custom page: the same, two parts of the wait, and some of our own."""
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
