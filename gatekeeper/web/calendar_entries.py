"""`GET calendar/{event}.ics`: the opening of an event for the visitor's calendar.

Rules: pure; the file is made for each request, since it has the language and the host of the
visitor. Its only client input is the host, with its characters checked.
"""

from __future__ import annotations

import re

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.calendar_file import CalendarEntry, calendar_file
from gatekeeper.pages.languages import preferred
from gatekeeper.pages.renderer import DEFAULT_TITLE
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.room.state import RoomState
from gatekeeper.web.waiting_status import rfc3339

PREFIX = "calendar/"
_NAME = re.compile(r"calendar/([a-z0-9][a-z0-9_-]{0,62})\.ics")
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


def event_in(name: str) -> str | None:
    """The event that `calendar/{event}.ics` names."""
    match = _NAME.fullmatch(name)
    return None if match is None else match[1]


def calendar_of(
    event: str, state: RoomState | None, *, facts: RequestFacts, room: RoomConfig, now_s: float
) -> bytes | None:
    """The calendar file; None: the room has no such event."""
    found = None if state is None else state.schedule.find(event)
    if found is None or found.cancelled:
        return None
    client = facts.client
    host = client.host if _HOST.fullmatch(client.host) else ""
    # The event's own message, although the event has not begun.
    title = str(found.settings.get("title", room.title))
    entry = CalendarEntry(
        event=found.name,
        room=room.name,
        title=found.name if title == DEFAULT_TITLE else title,
        host=host or "gatekeeper",
        address=f"{client.scheme}://{host}{room.path[0]}" if host else "",
        starts_at=rfc3339(found.start_us / 1_000_000),
        ends_at="" if found.end_us is None else rfc3339(found.end_us / 1_000_000),
        now=rfc3339(now_s),
    )
    return calendar_file(entry, preferred(facts.accept_language))
