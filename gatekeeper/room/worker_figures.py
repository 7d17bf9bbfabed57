"""What one replica counted, as process groups publish it for the control room.

Rules. Counts are absolute since the replica's start, so that a lost message costs nothing and a
rate is the difference of any two messages. No decision depends on them. `heartbeat_s` is of the
replica's own clock and is only compared with its earlier values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gatekeeper.config.lane_schema import MAX_LANES
from gatekeeper.policy.numbers import parse_count, parse_number
from gatekeeper.room.pass_figures import PassFigures, parse_passes

_MAX_NAME, _MAX_ROOMS, _MAX_BUCKETS, _MAX_CAUSES = 200, 1000, 100, 110

Buckets = tuple[int, ...]  # not cumulative


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of one room since the start, by outcome."""

    forwarded: int = 0
    waiting: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)  # of the origin, by cause
    origin: Buckets = ()  # its responses, by bucket of time
    waits: Buckets = ()  # admissions, by bucket of the wait
    lanes: Mapping[str, Buckets] = field(default_factory=dict)  # of them, those of each lane
    full: int = 0  # calls refused by a full store
    limited: int = 0  # newcomers refused by newcomers_per_address
    refused: int = 0  # requests refused by concurrent


_NOTHING = RequestCounts()


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since the start of the replica, and the connections and outages of now. Requests
    outside any room have room ""."""

    replica: str
    heartbeat_s: float
    connections: int
    rooms: Mapping[str, RequestCounts]
    store_up: bool
    events_up: bool
    ended: bool = False  # the replica has stopped
    passes: tuple[PassFigures, ...] = ()  # the busiest, in rooms with `concurrent`

    def served(self, room: str | None = None) -> RequestCounts:
        """The counts of one room, or of all together."""
        if room is not None:
            return self.rooms.get(room, _NOTHING)
        every = self.rooms.values()
        causes = {cause for each in every for cause in each.failures}
        return RequestCounts(
            forwarded=sum(each.forwarded for each in every),
            waiting=sum(each.waiting for each in every),
            failures={c: sum(each.failures.get(c, 0) for each in every) for c in sorted(causes)},
            origin=added(each.origin for each in every),
            waits=added(each.waits for each in every),
            lanes=added_by_lane(each.lanes for each in every),
            full=sum(each.full for each in every),
            limited=sum(each.limited for each in every),
            refused=sum(each.refused for each in every),
        )

    def as_ended(self) -> Figures:
        return replace(self, ended=True)

    def to_json(self) -> bytes:
        rooms = {name: each for name, each in self.rooms.items() if each != _NOTHING}
        return json.dumps(asdict(replace(self, rooms=rooms)), separators=(",", ":")).encode()


def added(rows: Iterable[Buckets]) -> Buckets:
    """The sums by bucket; a shorter row counts as 0 in the rest."""
    total: list[int] = []
    for row in rows:
        total += [0] * (len(row) - len(total))
        for index, count in enumerate(row):
            total[index] += count
    return tuple(total)


def added_by_lane(tables: Iterable[Mapping[str, Buckets]]) -> dict[str, Buckets]:
    """The sums of each lane."""
    rows: dict[str, list[Buckets]] = {}
    for table in tables:
        for lane, row in table.items():
            rows.setdefault(lane, []).append(row)
    return {lane: added(rows[lane]) for lane in sorted(rows)}


def parse_figures(data: bytes) -> Figures:
    """Figures as another replica published them; raises ValueError. Unknown fields are ignored."""
    raw = json.loads(data)
    try:
        name = _table(raw)["replica"]
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            raise ValueError("expected the name of a replica")
        return Figures(
            replica=name,
            heartbeat_s=parse_number(raw["heartbeat_s"]),
            connections=parse_count(raw["connections"]),
            rooms={room: _served(each) for room, each in _table(raw["rooms"]).items()},
            store_up=raw["store_up"] is True,
            events_up=raw["events_up"] is True,
            ended=raw.get("ended") is True,
            passes=parse_passes(raw.get("passes", [])),
        )
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error


def _served(value: object) -> RequestCounts:
    raw = _table(value)
    failures = _table(raw["failures"], most=_MAX_CAUSES)
    return RequestCounts(
        forwarded=parse_count(raw["forwarded"]),
        waiting=parse_count(raw["waiting"]),
        failures={cause: parse_count(count) for cause, count in failures.items()},
        origin=_buckets(raw["origin"]),
        waits=_buckets(raw["waits"]),
        lanes=parse_lanes(raw.get("lanes", {})),  # an earlier release has none
        full=parse_count(raw.get("full", 0)),  # an earlier release has none of these
        limited=parse_count(raw.get("limited", 0)),
        refused=parse_count(raw.get("refused", 0)),
    )


def parse_lanes(value: object) -> dict[str, Buckets]:
    """Buckets by lane, of another process or a file; raises ValueError."""
    table = _table(value, most=MAX_LANES)
    return {lane[:_MAX_NAME]: _buckets(row) for lane, row in table.items()}


def _table(value: object, *, most: int = _MAX_ROOMS) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > most:
        raise ValueError("expected a table")
    return value


def _buckets(value: object) -> Buckets:
    if not isinstance(value, list) or len(value) > _MAX_BUCKETS:
        raise ValueError("expected a list of counts")
    return tuple(map(parse_count, value))
