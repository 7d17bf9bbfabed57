"""The keys of `[[event]]`: a sale with an opening time.

Rules: field names are the keys of the file. An event may also set any key of its room that
operators can change while the gate runs (`*` in the reference); these hold for its duration. Times
are microseconds since the epoch, from TOML dates or RFC 3339 texts with an offset. The admin API
and the command line check the same table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from yarl import URL

from gatekeeper.config.problems import shown
from gatekeeper.config.section import KeyConflict, Section
from gatekeeper.config.types import DEFAULT_ROOM, Room, RoomName

MAX_EVENTS = 20  # of one room
# Of all events of one room with their keys: each reply of the store contains them.
_MAX_CHARACTERS = 40_000
NEVER_US = 2**53 - 1  # stands for no end; scores of the store stay below 2^53
_EARLIEST = datetime(2001, 9, 10, tzinfo=UTC)  # from here on, microseconds have 16 digits
_LATEST = datetime(2096, 1, 1, tzinfo=UTC)  # below every provisional turn of `policy.schedule`
_EXPECTED_TIME = "expected a time with an offset, e.g. 2026-12-01T10:00:00+01:00"

Order = Literal["draw", "arrival"]  # of visitors in a prequeue
Spelled = str | int | float | bool  # a value in the format of the file


def parse_time_us(value: object) -> int:
    """Microseconds since the epoch of an RFC 3339 time with an offset, or of a TOML date."""
    at = value
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            at = None
    if not isinstance(at, datetime):
        raise ValueError(f"{shown(value)} is not a time; {_EXPECTED_TIME}")  # noqa: TRY004
    if at.utcoffset() is None:
        raise ValueError(f"{shown(value)} has no offset; {_EXPECTED_TIME}")
    if not _EARLIEST <= at < _LATEST:
        raise ValueError(f"{shown(value)} is out of range; {_EXPECTED_TIME}")
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def spell_time(at_us: int) -> str:
    """The RFC 3339 time in UTC, with a fraction of a second if there is one."""
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    return at.isoformat().removesuffix("+00:00") + "Z"


def _event_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise ValueError(
            f"{shown(value)} is not an event name; "
            "expected 1 to 63 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    return text


def _beacon(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if text == "" and value == "":
        return ""
    try:
        url = URL(text)
        is_http = url.scheme in {"http", "https"} and bool(url.host) and len(text) <= 300
    except ValueError:
        is_http = False
    if not is_http or url.user or url.query_string or url.fragment:
        raise ValueError(
            f"{shown(value)} is not the address of a beacon; "
            'expected e.g. "https://api.drand.sh/<chain hash>"'
        )
    return text.rstrip("/")


Time = Annotated[int, BeforeValidator(parse_time_us)]


class EventConfig(Section):
    """One [[event]]. `settings` are the room's keys that it sets, in the format of the file."""

    name: Annotated[str, BeforeValidator(_event_name)]
    room: Room = DEFAULT_ROOM
    prequeue: Time | None = None
    start: Time
    end: Time | None = None
    order: Order = "draw"
    before: Literal["normal", "closed"] = "normal"
    after: Literal["ended", "normal"] = "ended"
    beacon: Annotated[str, BeforeValidator(_beacon)] = ""
    settings: dict[str, Spelled] = Field(default_factory=dict)

    @property
    def first_us(self) -> int:
        """When the event begins: at its prequeue, or without one at its start."""
        return self.start if self.prequeue is None else self.prequeue

    @property
    def last_us(self) -> int:
        """When the event ends; NEVER_US without an end."""
        return NEVER_US if self.end is None else self.end

    def conflicts(self) -> Iterator[KeyConflict]:
        if self.prequeue is not None and self.prequeue >= self.start:
            problem = f"not before start ({spell_time(self.start)}); expected an earlier time"
            yield KeyConflict(("start", "prequeue"), problem)
        if self.end is not None and self.end <= self.start:
            problem = f"not after start ({spell_time(self.start)}); expected a later time"
            yield KeyConflict(("start", "end"), problem)
        if self.prequeue is None and self.order == "draw" and "order" in self.model_fields_set:
            problem = 'no prequeue to draw from; expected prequeue, or order = "arrival"'
            yield KeyConflict(("prequeue", "order"), problem)
        if self.beacon and (self.order != "draw" or self.prequeue is None):
            problem = 'set without a draw; expected prequeue and order = "draw"'
            yield KeyConflict(("prequeue", "order", "beacon"), problem)


def overlaps(events: Iterable[EventConfig]) -> list[str]:
    """The problems of events of one room that overlap or share a name."""
    problems: list[str] = []
    by_room: dict[RoomName, list[EventConfig]] = {}
    for event in events:
        by_room.setdefault(event.room, []).append(event)
    for room, group in by_room.items():
        names = [event.name for event in group]
        problems.extend(
            f'"{name}" is used twice in room {room}; expected another name'
            for name in sorted({name for name in names if names.count(name) > 1})
        )
        if len(group) > MAX_EVENTS:
            problems.append(f"room {room} has {len(group)} events; expected at most {MAX_EVENTS}")
        size = sum(len(json.dumps(event.model_dump(mode="json"))) for event in group)
        if size > _MAX_CHARACTERS:
            problems.append(
                f"the events of room {room} have {size} characters; expected at most "
                f"{_MAX_CHARACTERS}, so shorter messages and titles"
            )
        in_order = sorted(group, key=lambda event: event.first_us)
        for before, after in pairwise(in_order):
            if after.first_us < before.last_us:
                until = "has no end" if before.end is None else f"ends {spell_time(before.end)}"
                problems.append(
                    f'"{after.name}" begins {spell_time(after.first_us)} while "{before.name}" '
                    f"{until}; expected events of one room that do not overlap"
                )
    return problems
