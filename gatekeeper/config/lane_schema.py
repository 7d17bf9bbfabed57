"""The keys of `[[lane]]`: a head start for invited visitors of a room.

Rules: field names are the keys of the file. A lane requires a room that accepts invitations, since
only an invitation names a lane.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Protocol

from pydantic import AfterValidator, BeforeValidator

from gatekeeper.config.problems import shown
from gatekeeper.config.section import Section
from gatekeeper.config.types import DEFAULT_ROOM, Room, RoomName, parse_duration_s, spell_duration

MAX_LANES = 20  # per room: a draw publishes the turn of each lane
MAX_HEAD_START_S = 86_400.0
_LANE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def is_lane_name(text: str) -> bool:
    return _LANE.fullmatch(text) is not None


def _lane_name(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not is_lane_name(text):
        raise ValueError(
            f"{shown(value)} is not a lane name; "
            "expected 1 to 32 of a-z, 0-9, - and _, starting with a letter or digit"
        )
    return text


def _head_start(value_s: float) -> float:
    if not 1 <= value_s <= MAX_HEAD_START_S:
        raise ValueError(
            f'"{spell_duration(value_s)}" is out of range; expected "1s" to '
            f'"{spell_duration(MAX_HEAD_START_S)}"'
        )
    return value_s


class LaneConfig(Section):
    """One [[lane]]; `head_start` in seconds."""

    name: Annotated[str, BeforeValidator(_lane_name)]
    room: Room = DEFAULT_ROOM
    head_start: Annotated[float, BeforeValidator(parse_duration_s), AfterValidator(_head_start)]


class RoomOfLanes(Protocol):
    """A room, as its lanes use it."""

    name: RoomName

    @property
    def accepts_invitations(self) -> bool:
        """Whether the room has a key for invitations."""
        ...


def lane_problems(lanes: Sequence[LaneConfig], rooms: Iterable[RoomOfLanes]) -> list[str]:
    """The problems of lanes with each other and with their rooms, each with its path."""
    problems: list[str] = []
    by_name = {room.name: room for room in rooms}
    seen: set[tuple[RoomName, str]] = set()
    for at, lane in enumerate(lanes):
        room = by_name.get(lane.room)
        if room is None:
            names = ", ".join(sorted(by_name)) or "a [[room]]"
            problems.append(f'lane[{at}].room: no room "{lane.room}"; expected one of {names}')
        elif not room.accepts_invitations:
            problems.append(
                f'lane[{at}].room: room "{lane.room}" has no key for invitations, and only an '
                "invitation names a lane; expected invitation_secret_file or "
                "invitation_public_key_file in that room"
            )
        if (lane.room, lane.name) in seen:
            problems.append(
                f'lane[{at}].name: "{lane.name}" is used twice in room {lane.room}; expected '
                "another name"
            )
        seen.add((lane.room, lane.name))
    for name in sorted({lane.room for lane in lanes}):
        count = sum(lane.room == name for lane in lanes)
        if count > MAX_LANES:
            problems.append(f"lane: room {name} has {count} lanes; expected at most {MAX_LANES}")
    return problems
