"""The lanes of a crowd: their visitors and invitations.

Rules. No I/O. Invitations are signed by PyJWT with the room's secret, as a shop does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import jwt

from gatekeeper.config.lane_schema import MAX_HEAD_START_S, is_lane_name
from gatekeeper.config.types import parse_duration_s

_VALID_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class SimulatedLane:
    """A share of the crowd that is invited into a lane."""

    name: str
    share: float
    head_start_s: float


def parse_lane(text: str) -> SimulatedLane:
    """Parse a lane in the form NAME:SHARE:HEAD_START. Raises ValueError."""
    name, _, rest = text.partition(":")
    share_text, _, head_start = rest.partition(":")
    try:
        share, head_start_s = float(share_text), parse_duration_s(head_start)
    except ValueError:
        share, head_start_s = -1.0, 0.0
    is_valid = 0 < share <= 1 and 0 < head_start_s <= MAX_HEAD_START_S
    if not is_lane_name(name) or not is_valid:
        expected = "expected NAME:SHARE:HEAD_START, e.g. members:0.2:15m"
        raise ValueError(f'"{text}" is not a lane; {expected}')
    return SimulatedLane(name, share, head_start_s)


def invitation_of(
    number: int, lane: SimulatedLane, *, room: str, secret: bytes, run: str, now_s: float
) -> str:
    """The invitation of this visitor, with a new place in each run."""
    claims = {
        "sub": f"simulated-{run}-{number}",
        "room": room,
        "lane": lane.name,
        "exp": round(now_s) + _VALID_S,
    }
    return jwt.encode(claims, secret, algorithm="HS256")
