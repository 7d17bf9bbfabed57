"""The keys of `[[lane]]`: a head start for invited visitors of a room.

Rules: field names are the keys of the file. A lane is worth nothing without a room that accepts
invitations, since only an invitation names one.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from gatekeeper.config.problems import shown
from gatekeeper.config.section import Section
from gatekeeper.config.types import DEFAULT_ROOM, Room, parse_duration_s, spell_duration

MOST_LANES = 20  # of one room: each draw publishes the turns of each
LONGEST_HEAD_START_S = 86_400.0
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
    if not 1 <= value_s <= LONGEST_HEAD_START_S:
        raise ValueError(
            f'"{spell_duration(value_s)}" is out of range; expected "1s" to '
            f'"{spell_duration(LONGEST_HEAD_START_S)}"'
        )
    return value_s


class LaneConfig(Section):
    """One [[lane]]; `head_start` in seconds."""

    name: Annotated[str, BeforeValidator(_lane_name)]
    room: Room = DEFAULT_ROOM
    head_start: Annotated[float, BeforeValidator(parse_duration_s), AfterValidator(_head_start)]
