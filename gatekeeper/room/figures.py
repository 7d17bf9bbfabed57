"""What one replica counted, as process groups tell each other for the control room.

Rules. Absolute since the replica began, so a lost message costs nothing and a rate is the
difference of any two. Nothing is decided by them. `beat_s` is of the replica's own clock and is
only compared with itself: whether it still moves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

_MOST_NAME, _MOST_ROOMS, _MOST_BUCKETS, _MOST_STATUSES = 200, 1000, 100, 110


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since the start, but for what is open and up now. Buckets are not cumulative."""

    replica: str
    beat_s: float
    connections: int
    forwarded: int
    waiting: int
    unreachable: int
    timeouts: int
    server_errors: Mapping[str, int]  # by status
    origin: tuple[int, ...]  # answers, by bucket of time
    waits: Mapping[str, tuple[int, ...]]  # admissions by room, by bucket of what they waited
    store_up: bool
    events_up: bool
    ended: bool = False  # its last word

    def at_its_end(self) -> Figures:
        return replace(self, ended=True)

    def to_json(self) -> bytes:
        waits = {room: counts for room, counts in self.waits.items() if any(counts)}
        return json.dumps(asdict(self) | {"waits": waits}, separators=(",", ":")).encode()


def parse_figures(data: bytes) -> Figures:
    """Raises ValueError when it is none of ours. Unknown fields are left to a newer release."""
    raw = json.loads(data)
    if not isinstance(raw, dict):
        raise ValueError("expected an object")  # noqa: TRY004  one error for all that is not ours
    try:
        name = raw["replica"]
        if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            raise ValueError("expected the name of a replica")
        return Figures(
            replica=name,
            beat_s=_number(raw["beat_s"], float),
            connections=_number(raw["connections"]),
            forwarded=_number(raw["forwarded"]),
            waiting=_number(raw["waiting"]),
            unreachable=_number(raw["unreachable"]),
            timeouts=_number(raw["timeouts"]),
            server_errors=dict(_counts(raw["server_errors"])),
            origin=_buckets(raw["origin"]),
            waits={str(room): _buckets(counts) for room, counts in _table(raw["waits"]).items()},
            store_up=raw["store_up"] is True,
            events_up=raw["events_up"] is True,
            ended=raw.get("ended") is True,
        )
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error


def _counts(value: object) -> list[tuple[str, int]]:
    return [(str(key), _number(count)) for key, count in _table(value, most=_MOST_STATUSES).items()]


def _table(value: object, *, most: int = _MOST_ROOMS) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > most:
        raise ValueError("expected a table")
    return value


def _buckets(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MOST_BUCKETS:
        raise ValueError("expected a list of counts")
    return tuple(map(_number, value))


def _number(value: object, *also: type) -> Any:
    if type(value) not in (int, *also) or not 0 <= value < 2**53:  # type: ignore[operator]
        raise ValueError("expected a count")
    return value
