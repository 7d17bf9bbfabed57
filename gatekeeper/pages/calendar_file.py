"""An opening as a file for calendars: iCalendar (RFC 5545).

Rules: pure. Times are UTC, so that every calendar shows them in the user's time zone. Texts are
escaped (section 3.3.11), lines end with CRLF and are folded at 75 octets, never within a character
(3.1). The UID stays the same when an opening is delayed, so a newer file replaces the older entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gatekeeper.errors import N_
from gatekeeper.pages.languages import Language

CONTENT_TYPE = "text/calendar; charset=utf-8"
_SUMMARY = N_("Opening")
_MAX_OCTETS = 75
_REMINDER = "-PT10M"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_DIGITS = re.compile(r"[-:]")


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """What a calendar shows of an event. Times are RFC 3339 in UTC, to the second."""

    event: str
    room: str
    title: str  # used in the summary
    host: str
    address: str  # of the site; "": unknown
    starts_at: str
    ends_at: str  # "": unknown
    now: str


def calendar_file(entry: CalendarEntry, language: Language) -> bytes:
    """The file. Files with the same event, room and host are one entry; the newest wins."""
    return "".join(f"{_folded(line)}\r\n" for line in _lines(entry, language)).encode()


def _lines(entry: CalendarEntry, language: Language) -> Iterator[str]:
    summary = _text(f"{entry.title}: {language.translate(_SUMMARY)}")
    yield "BEGIN:VCALENDAR"
    yield "VERSION:2.0"
    yield "PRODID:-//Gatekeeper//Waiting room//EN"
    yield "METHOD:PUBLISH"
    yield "BEGIN:VEVENT"
    yield f"UID:{_text(f'{entry.event}.{entry.room}@{entry.host}')}"
    yield f"DTSTAMP:{_moment(entry.now)}"
    yield f"DTSTART:{_moment(entry.starts_at)}"
    if entry.ends_at:
        yield f"DTEND:{_moment(entry.ends_at)}"
    yield f"SUMMARY:{summary}"
    if entry.address:
        yield f"URL:{_CONTROL.sub('', entry.address)}"
    yield "BEGIN:VALARM"
    yield "ACTION:DISPLAY"
    yield f"TRIGGER:{_REMINDER}"
    yield f"DESCRIPTION:{summary}"
    yield "END:VALARM"
    yield "END:VEVENT"
    yield "END:VCALENDAR"


def _text(value: str) -> str:
    """A value of the type TEXT."""
    for special in ("\\", ";", ","):
        value = value.replace(special, "\\" + special)
    for line_end in ("\r\n", "\r", "\n"):
        value = value.replace(line_end, "\\n")
    return _CONTROL.sub("", value)


def _moment(at: str) -> str:
    """`2026-12-01T09:00:00Z` → `20261201T090000Z`."""
    return _NOT_DIGITS.sub("", at)


def _folded(line: str) -> str:
    """The line with a break and a space before each octet too many."""
    parts, part, size = [], "", 0
    for character in line:
        octets = len(character.encode())
        if size + octets > _MAX_OCTETS:
            parts.append(part)
            part, size = "", 1  # the space that continues the line
        part += character
        size += octets
    return "\r\n ".join([*parts, part])
