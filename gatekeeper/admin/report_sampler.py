"""Aggregates the readings of each second into the minutes of the report.

Rules. Pure. A minute ends when a reading of a later one comes, by the store's clock; while the
store is unreachable its clock is estimated. A count is the increase of a total. A room's total
counts above the highest value seen, since replicas write it back to a store that lost it; a
replica's counts from its first reading, or from 0 after a restart. The increase between readings
that are more than `_MAX_PAUSE_S` apart belongs to no minute and is dropped. The cost does not
depend on traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatekeeper.admin.history import Reading
from gatekeeper.admin.report_minutes import MAX_STEERING_STEPS, MINUTE_S, Minute, MinutePoint
from gatekeeper.config.types import RoomName
from gatekeeper.policy.pacing import eta_s
from gatekeeper.policy.phase import Phase, reason_of
from gatekeeper.policy.rules import Rules
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord, SteeringStep
from gatekeeper.room.worker_figures import Buckets, Figures, RequestCounts, added, added_by_lane

POINT_S = 15
_MAX_PAUSE_S = 30.0
_WINDOW_US = MINUTE_S * 1_000_000
_TOTALS = 4
_YOUNG_US = 10_000_000
_FORGET_AFTER_S = 900
_CLOCK_STEP_BACK_S = 300  # a larger step back means that the store's clock was set
_MAX_REPLICAS = 400


@dataclass(slots=True)
class _Room:
    """The data of one room in the running minute."""

    state: RoomState | None = None  # the newest
    state_at_s: float = 0.0
    totals: list[int] = field(default_factory=list)  # the highest values seen
    growth: list[int] | None = None  # of the totals in this minute
    queue_most: int | None = None
    most_released: int | None = None
    most_admitted: int | None = None
    rate: float | None = 0.0
    points: list[MinutePoint] = field(default_factory=list)
    steered: list[SteeringStep] = field(default_factory=list)
    steered_us: int | None = None  # the time of the newest change in a minute
    # The last minute, a second each: time, released, admitted, rate.
    recent: deque[tuple[int, int, int, float | None]] = field(
        default_factory=lambda: deque(maxlen=2 * MINUTE_S)
    )


class MinuteSampler:
    """The minutes of all rooms of one gate."""

    def __init__(self) -> None:
        self._rooms: dict[RoomName, _Room] = {}
        self._at_s: int | None = None  # the running minute
        self._first_s = self._last_s = 0
        self._offset_s = 0.0  # the store's clock minus this machine's
        self._base: dict[str, Figures] = {}  # of each replica, at the start of the minute
        self._newest: dict[str, Figures] = {}
        self._seen_s: dict[str, int] = {}

    def add(self, reading: Reading, rules: Mapping[RoomName, Rules]) -> dict[RoomName, Minute]:
        """Add a reading. Returns the minutes of all rooms when a minute has just ended, else
        none."""
        for state in reading.rooms.values():
            self._offset_s = state.now_us / 1_000_000 - reading.at_s
            break
        now_s = reading.at_s + self._offset_s
        at_s = int(now_s) // MINUTE_S * MINUTE_S
        ended: dict[RoomName, Minute] = {}
        if self._at_s is None:
            self._begin(at_s, now_s)
        elif at_s > self._at_s or at_s < self._at_s - _CLOCK_STEP_BACK_S:
            ended = self.running(rules)
            self._begin(at_s, now_s)
        self._last_s = max(self._last_s, min(int(now_s) - (self._at_s or 0), MINUTE_S - 1))
        for name, figures in reading.replicas.items():
            self._newest[name] = figures
            self._seen_s[name] = at_s
            self._base.setdefault(name, figures)
        for room, state in reading.rooms.items():
            if room in rules:
                _add_state(self._rooms.setdefault(room, _Room()), state, now_s, rules[room])
        for room, record in reading.steering.items():
            if room in rules:
                begin_us = (self._at_s or 0) * 1_000_000
                _add_steering(self._rooms.setdefault(room, _Room()), record, begin_us)
        return ended

    def resume(self, room: RoomName, minute: Minute) -> None:
        """Continue after the last minute that an earlier process kept. The increase of the totals
        since then counts, unless the gap is longer than `_MAX_PAUSE_S`."""
        if len(minute.totals) == _TOTALS:
            known = self._rooms.setdefault(room, _Room())
            known.totals, known.state_at_s = list(minute.totals), minute.at_s + minute.last_s

    def running(self, rules: Mapping[RoomName, Rules]) -> dict[RoomName, Minute]:
        """The unfinished minutes of all rooms."""
        if self._at_s is None:
            return {}
        return {name: self._minute(name, each) for name, each in rules.items()}

    @property
    def offset_s(self) -> float:
        """The store's clock minus this machine's, as last measured."""
        return self._offset_s

    def _begin(self, at_s: int, now_s: float) -> None:
        self._at_s = at_s
        self._first_s = self._last_s = int(now_s) - at_s
        for room in self._rooms.values():
            room.growth = room.queue_most = room.most_released = room.most_admitted = None
            room.rate, room.points, room.steered = 0.0, [], []
        self._base = dict(self._newest)
        old = [name for name, seen_s in self._seen_s.items() if at_s - seen_s > _FORGET_AFTER_S]
        excess = sorted(self._seen_s, key=lambda name: self._seen_s[name])[:-_MAX_REPLICAS]
        for name in {*old, *excess}:
            for table in (self._base, self._newest, self._seen_s):
                table.pop(name, None)

    def _minute(self, name: RoomName, rules: Rules) -> Minute:
        room, at_s = self._rooms.get(name, _Room()), self._at_s or 0
        served = self._served(name)
        values: dict[str, Any] = {}
        state = room.state
        if room.growth is not None and state is not None:
            values = dict(
                zip(("arrived", "released", "admitted", "abandoned"), room.growth, strict=True)
            ) | {
                "phase": state.phase.value,
                "queue": state.queue_length,
                "queue_most": room.queue_most,
                "active": state.active,
                "most_released": room.most_released,
                "most_admitted": room.most_admitted,
                "rate": room.rate,
                "burst": rules.burst,
                "totals": tuple(room.totals),
                "points": tuple(room.points),
                "steered": tuple(room.steered),
            }
        if served is not None:
            values |= {
                "forwarded": served.forwarded,
                "waiting": served.waiting,
                "failures": served.failures,
                "origin": served.origin,
                "waits": served.waits,
                "lanes": {lane: row for lane, row in served.lanes.items() if row},
            }
        return Minute(at_s, first_s=self._first_s, last_s=self._last_s, **values)

    def _served(self, room: RoomName) -> RequestCounts | None:
        """The counts of all replicas in this minute; None: no replica reported."""
        parts = [
            _grown(self._base[name].served(room), figures.served(room))
            for name, figures in self._newest.items()
            if self._seen_s[name] >= (self._at_s or 0)
        ]
        if not parts:
            return None
        causes = sorted({cause for part in parts for cause in part.failures})
        failures = {c: sum(part.failures.get(c, 0) for part in parts) for c in causes}
        return RequestCounts(
            forwarded=sum(part.forwarded for part in parts),
            waiting=sum(part.waiting for part in parts),
            failures={cause: count for cause, count in failures.items() if count},
            origin=_trimmed(added(part.origin for part in parts)),
            waits=_trimmed(added(part.waits for part in parts)),
            lanes={
                lane: _trimmed(row)
                for lane, row in added_by_lane(part.lanes for part in parts).items()
            },
        )


def _add_state(room: _Room, state: RoomState, now_s: float, rules: Rules) -> None:
    totals = [
        state.arrived_total,
        state.released_total,
        state.admitted_total,
        state.abandoned_total,
    ]
    if not room.totals and _is_new(state):
        room.totals, room.state_at_s = [0] * len(totals), now_s
    is_continued = bool(room.totals) and now_s - room.state_at_s <= _MAX_PAUSE_S
    if is_continued:
        grown = [max(new - old, 0) for new, old in zip(totals, room.totals, strict=True)]
        totals = [max(new, old) for new, old in zip(totals, room.totals, strict=True)]
    else:
        grown = [0] * len(totals)
        room.recent.clear()
    room.growth = [a + b for a, b in zip(room.growth or [0] * len(grown), grown, strict=True)]
    room.totals, room.state, room.state_at_s = totals, state, now_s
    room.queue_most = max(room.queue_most or 0, state.queue_length)
    _add_window(room, state)
    quarter = state.now_us // 1_000_000 // POINT_S
    if not room.points or room.points[-1].at_us // 1_000_000 // POINT_S < quarter:
        room.points = [*room.points, _point(state, rules)][-(MINUTE_S // POINT_S) :]


def _add_steering(room: _Room, record: SteeringRecord, begin_us: int) -> None:
    """Add the new changes; at first those of the running minute, which began at `begin_us`."""
    seen_us = begin_us - 1 if room.steered_us is None else room.steered_us
    new = [each for each in record.changes if each.at_us > seen_us]
    room.steered = [*room.steered, *new][:MAX_STEERING_STEPS]
    room.steered_us = max([seen_us, *(each.at_us for each in new)])


def _is_new(state: RoomState) -> bool:
    """Whether the store was just created, and no replica has written totals back to it."""
    return 0 <= state.now_us - state.epoch <= _YOUNG_US and state.recovering_until_us == 0


def _add_window(room: _Room, state: RoomState) -> None:
    """Count the releases and admissions of the last 60 seconds."""
    rate = None if state.phase is Phase.OPEN else state.effective_rate_per_minute
    released, admitted = room.totals[1], room.totals[2]
    room.recent.append((state.now_us, released, admitted, rate))
    while room.recent[0][0] < state.now_us - _WINDOW_US:
        room.recent.popleft()
    first = room.recent[0]
    room.most_released = max(room.most_released or 0, released - first[1])
    room.most_admitted = max(room.most_admitted or 0, admitted - first[2])
    room.rate = _highest([room.rate, rate, first[3]])


def _highest(rates: Iterable[float | None]) -> float | None:
    """The highest rate; None means no limit, and is higher than any."""
    highest = 0.0
    for rate in rates:
        if rate is None:
            return None
        highest = max(highest, rate)
    return highest


def _point(state: RoomState, rules: Rules) -> MinutePoint:
    """The line now, with the wait that the page of a newcomer shows (`waiting_status_of`)."""
    rate = state.effective_rate_per_minute
    reason = reason_of(
        state.phase,
        rate_per_minute=state.current_rate_per_minute,
        active=state.active,
        max_active=rules.max_active,
    )
    is_told = reason == "line" and state.queue_length > 0 and not state.undrawn
    shown_wait_s = eta_s(state.queue_length, rate_per_minute=rate) if is_told else None
    return MinutePoint(
        state.now_us,
        state.queue_length,
        state.watermark_us,
        shown_wait_s,
        state.undrawn,
        round(rate, 4),
    )


def _grown(old: RequestCounts, new: RequestCounts) -> RequestCounts:
    """The increase of a replica's counts; the full counts if it restarted in between."""
    origin, waits = _difference(old.origin, new.origin), _difference(old.waits, new.waits)
    has_restarted = (
        new.forwarded < old.forwarded
        or new.waiting < old.waiting
        or min(origin, default=0) < 0
        or min(waits, default=0) < 0
    )
    if has_restarted:
        return new
    return RequestCounts(
        forwarded=new.forwarded - old.forwarded,
        waiting=new.waiting - old.waiting,
        failures={
            cause: max(count - old.failures.get(cause, 0), 0)
            for cause, count in new.failures.items()
        },
        origin=origin,
        waits=waits,
        lanes={lane: _difference(old.lanes.get(lane, ()), row) for lane, row in new.lanes.items()},
    )


def _difference(old: Sequence[int], new: Sequence[int]) -> Buckets:
    longest = max(len(old), len(new))
    return tuple(a - b for a, b in zip(_padded(new, longest), _padded(old, longest), strict=True))


def _padded(counts: Sequence[int], length: int) -> list[int]:
    return [*counts, *[0] * (length - len(counts))]


def _trimmed(counts: Buckets) -> Buckets:
    """The counts without trailing zeros."""
    length = len(counts)
    while length and not counts[length - 1]:
        length -= 1
    return counts[:length]
