"""One minute of a room, as the report keeps it: a line of JSON.

Rules. Pure. A minute is identified by its first second on the store's clock. Counts are increases
within the minute. A value that could not be read is None and absent from the line: a gap, not zero.
A line that is not such an object is refused as a whole, with ValueError; fields of a newer release
are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from gatekeeper.policy.numbers import is_exact_int, parse_count, parse_number
from gatekeeper.room.steering_record import SteeringStep, parse_steering
from gatekeeper.room.worker_figures import Buckets, added, added_by_lane, parse_lanes

MINUTE_S = 60
MAX_LINE_BYTES = 16_384  # a busy minute has 1,000
_MAX_POINTS, _MAX_BUCKETS, _MAX_CAUSES, _MAX_TEXT = 8, 100, 110, 40
MAX_STEERING_STEPS = 24  # twice the number of periods


class MinutePoint(NamedTuple):
    """The line at one moment of the store's clock. `shown_wait_s` is the wait that the page shows a
    newcomer at that time; None: it shows none. `undrawn` visitors have no drawn turn yet."""

    at_us: int
    queue_length: int
    watermark_us: int
    shown_wait_s: int | None
    undrawn: int
    rate_per_minute: float


@dataclass(frozen=True, slots=True)
class Minute:
    """A room in one minute. `most_…` are the maximum in any 60 seconds that end in it, and `rate`
    is the highest that applied in them; None: no limit. `totals` are those of the room's state at
    its end: arrived, released, admitted, abandoned."""

    at_s: int
    first_s: int = 0  # the first and last second that was read
    last_s: int = 59
    phase: str = ""
    queue: int | None = None  # at the end, like `active`
    queue_most: int | None = None
    active: int | None = None
    arrived: int | None = None
    released: int | None = None
    admitted: int | None = None
    abandoned: int | None = None  # no-shows included
    no_shows: int | None = None
    most_released: int | None = None
    most_admitted: int | None = None
    rate: float | None = None
    burst: int | None = None
    totals: tuple[int, ...] = ()
    points: tuple[MinutePoint, ...] = ()
    forwarded: int | None = None  # requests, like the next; None: no replica reported
    waiting: int | None = None
    failures: Mapping[str, int] = field(default_factory=dict)  # of the origin, by cause
    origin: Buckets = ()  # its responses, by bucket of time
    waits: Buckets = ()  # admissions, by bucket of the wait
    lanes: Mapping[str, Buckets] = field(default_factory=dict)  # of them, those of each lane
    steered: tuple[SteeringStep, ...] = ()  # every change of the rate by autotune

    @property
    def left(self) -> int | None:
        """Visitors who gave up their place or stopped polling."""
        if self.abandoned is None:
            return None
        return max(self.abandoned - (self.no_shows or 0), 0)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def encode(self) -> bytes:
        """The line, with its newline."""
        values: dict[str, object] = {"at": self.at_s}
        for each in _FIELDS:
            value = getattr(self, each.name)
            if value not in (None, (), {}, ""):
                values[each.name] = value
        return json.dumps(values, separators=(",", ":")).encode() + b"\n"


_FIELDS = [each for each in fields(Minute) if each.name != "at_s"]
_ADDED = ("arrived", "released", "admitted", "abandoned", "no_shows", "forwarded", "waiting")


def parse_minute(line: bytes) -> Minute:
    """The minute of a line; raises ValueError."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("expected a shorter line")
    try:
        raw = json.loads(line)
    except RecursionError as error:
        raise ValueError("expected a minute") from error
    if not isinstance(raw, dict) or not is_exact_int(raw.get("at")) or raw["at"] % MINUTE_S:
        raise ValueError("expected a minute")
    values = {each.name: _value(each.name, raw[each.name]) for each in _FIELDS if each.name in raw}
    return Minute(raw["at"], **values)


def merged(minutes: Iterable[Minute]) -> list[Minute]:
    """The minutes in order, without duplicates. Two parts of a minute, from a gate that restarted
    in it, are added; of two gates that read the same seconds the longer part counts."""
    found: dict[int, Minute] = {}
    for minute in minutes:
        known = found.get(minute.at_s)
        found[minute.at_s] = minute if known is None else _joined(known, minute)
    return [found[at_s] for at_s in sorted(found)]


def _joined(one: Minute, other: Minute) -> Minute:
    first, last = sorted((one, other), key=lambda each: each.first_s)
    if last.first_s <= first.last_s:
        return max(one, other, key=lambda each: each.last_s - each.first_s)
    causes = {*first.failures, *last.failures}
    joined: dict[str, Any] = {
        "failures": {c: first.failures.get(c, 0) + last.failures.get(c, 0) for c in sorted(causes)},
        "origin": added([first.origin, last.origin]),
        "waits": added([first.waits, last.waits]),
        "lanes": added_by_lane([first.lanes, last.lanes]),
        "points": (first.points + last.points)[:_MAX_POINTS],
        "steered": tuple(sorted({*first.steered, *last.steered}))[:MAX_STEERING_STEPS],
        "first_s": first.first_s,
    }
    for name in _ADDED:
        joined[name] = _of_known(sum, getattr(first, name), getattr(last, name))
    for name in ("queue_most", "most_released", "most_admitted"):
        joined[name] = _of_known(max, getattr(first, name), getattr(last, name))
    newest = last if last.totals else first  # lost with the store
    return replace(newest, last_s=last.last_s, **joined)


def _of_known(combine: Callable[[list[int]], int], *values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return combine(known) if known else None


def _value(name: str, value: object) -> Any:
    match name:
        case "phase":
            if not isinstance(value, str) or len(value) > _MAX_TEXT:
                raise ValueError("expected a text")
            return value
        case "rate":
            return parse_number(value)
        case "points":
            return tuple(map(_point, _list(value, max_items=_MAX_POINTS)))
        case "origin" | "waits" | "totals":
            return tuple(map(parse_count, _list(value, max_items=_MAX_BUCKETS)))
        case "lanes":
            return parse_lanes(value)
        case "steered":
            return tuple(map(parse_steering, _list(value, max_items=MAX_STEERING_STEPS)))
        case "failures":
            if not isinstance(value, dict) or len(value) > _MAX_CAUSES:
                raise ValueError("expected counts by cause")
            return {cause[:_MAX_TEXT]: parse_count(count) for cause, count in value.items()}
        case _:
            return parse_count(value)


def _point(value: object) -> MinutePoint:
    at_us, queue, watermark, wait_s, undrawn, rate = _list(value, max_items=6, min_items=6)
    return MinutePoint(
        parse_count(at_us),
        parse_count(queue),
        parse_count(watermark),
        None if wait_s is None else parse_count(wait_s),
        parse_count(undrawn),
        parse_number(rate),
    )


def _list(value: object, *, max_items: int, min_items: int = 0) -> Sequence[object]:
    if not isinstance(value, list) or not min_items <= len(value) <= max_items:
        raise ValueError("expected a list")
    return value
