"""The schedule of a room: its events, their phases over time, and the format in the room's state.

Rules. Pure: times are microseconds of the store's clock, and the caller passes `now_us`. A schedule
is one text in the room's state (`encode`, `parse`), the same for every replica; the scripts gate
admissions by its windows (`windows_text`), so that only the store's clock decides.

    before     before = "closed": from the end of the last event on; no place is given out
    prequeue   places, and no visitor is admitted
    draw       from the start until all visitors in line have their drawn turn
    running    by rate, grants and slots
    ended      after = "ended": until the next event begins

At other times the phase is the one without events: `running`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, get_args

from gatekeeper.config.event_schema import MAX_EVENTS, NEVER_US, Order, Spelled
from gatekeeper.config.types import parse_rate_per_minute
from gatekeeper.policy import draw
from gatekeeper.policy.numbers import is_exact_int
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.tokens import VisitorId

# As the store has it. It includes the events of the file, of at most 40,000 characters, and live
# ones, which `event_changes` limits to half of this.
MAX_CHARACTERS = 262_144


@lru_cache(maxsize=256)  # cached per draw; every poll after the draw needs it
def _seed_of(secret: str, randomness: str) -> bytes:
    return draw.seed_of(bytes.fromhex(secret), bytes.fromhex(randomness))


@dataclass(frozen=True, slots=True)
class Drawn:
    """The inputs of a draw, which are public after it. Bytes in hex."""

    secret: str
    round: int | None = None  # of the beacon
    randomness: str = ""
    note: str = ""  # why the draw was made without the beacon
    made_us: int = field(default=0, compare=False)  # when; 0: unknown, from an earlier release
    lanes: tuple[draw.LaneSpan, ...] = ()

    def span_of(self, lane: str) -> draw.LaneSpan | None:
        """The turns of a lane; None: its visitors are drawn with all others."""
        return next((each for each in self.lanes if each.lane == lane), None) if lane else None

    @property
    def seed(self) -> bytes:
        return _seed_of(self.secret, self.randomness)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a room. `announced_us` is the start as first announced, `key` is the id of the
    signing secret of its draw, `file` is the digest of its entry in the file ("": a live event)."""

    name: str
    start_us: int
    announced_us: int
    prequeue_us: int | None = None
    end_us: int | None = None
    order: Order = "draw"
    before: Literal["normal", "closed"] = "normal"
    after: Literal["ended", "normal"] = "ended"
    beacon: str = ""
    settings: Mapping[str, Spelled] = field(default_factory=dict)
    key: str = ""
    commitment: str = ""
    file: str = ""
    cancelled: bool = False
    drawn: Drawn | None = None

    @property
    def first_us(self) -> int:
        """When the event begins."""
        return self.start_us if self.prequeue_us is None else self.prequeue_us

    @property
    def last_us(self) -> int:
        """When the event ends; NEVER_US without an end."""
        return NEVER_US if self.end_us is None else self.end_us

    @property
    def span_us(self) -> int:
        """The length of the prequeue, the range of the drawn turns."""
        return self.start_us - self.first_us

    @property
    def has_draw(self) -> bool:
        """Whether the visitors of its prequeue are ordered by a draw."""
        return self.order == "draw" and self.span_us > 0

    @property
    def draw_id(self) -> str:
        """The id of its draw; it differs for a later event of the same name."""
        return f"{self.name}:{self.announced_us}"

    def covers(self, arrival_us: int) -> bool:
        """Whether a visitor with this arrival takes part in the draw."""
        return self.has_draw and self.first_us <= arrival_us < self.start_us

    def turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:
        """The turn of a visitor whom the draw covers: provisional until it is made."""
        if self.drawn is None:
            return PROVISIONAL_US + arrival_us
        span = self.drawn.span_of(lane)
        if span is not None:
            return span.turn_us(self.drawn.seed, draw.id_hash(visitor))
        return draw.drawn_turn_us(
            self.drawn.seed, visitor, start_us=self.start_us, span_us=self.span_us
        )

    @property
    def rate_per_minute(self) -> float | None:
        """The rate that the event sets, if any."""
        rate = self.settings.get("rate")
        return None if rate is None else parse_rate_per_minute(rate)


class Window(NamedTuple):
    """The phase and the event of a span of time; without an event, the phase `running`."""

    phase: Phase
    event: Event | None
    from_us: int
    until_us: int

    @property
    def settings(self) -> Mapping[str, Spelled]:
        """The room's keys that the event sets, from its begin to its end."""
        is_during = self.event is not None and self.phase in {Phase.PREQUEUE, Phase.RUNNING}
        return self.event.settings if self.event is not None and is_during else NO_SETTINGS

    @property
    def places_from_us(self) -> int:
        """Earlier arrivals have no place: the event closes the room until it begins."""
        is_closing = self.event is not None and self.event.before == "closed"
        return self.event.first_us if is_closing and self.event is not None else 0


NO_SETTINGS: Mapping[str, Spelled] = {}
_LETTERS = {Phase.BEFORE: "b", Phase.PREQUEUE: "q", Phase.RUNNING: "r", Phase.ENDED: "e"}


@dataclass(frozen=True)
class Schedule:
    """The events of one room, in the order of their times."""

    events: tuple[Event, ...] = ()

    @classmethod
    def of(cls, events: Iterable[Event]) -> Schedule:
        return cls(tuple(sorted(events, key=lambda each: (each.first_us, each.name))))

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Spans without gaps, from the beginning of time to its end."""
        found: list[Window] = []
        free_us, then, last = 0, Phase.RUNNING, None

        def add(phase: Phase, event: Event | None, from_us: int, until_us: int) -> None:
            if found:  # a live event may overlap with a newer one of the file
                from_us = max(from_us, found[-1].until_us)
            if from_us < until_us:
                found.append(Window(phase, event, from_us, until_us))

        for event in self.events:
            if event.cancelled:
                continue
            if event.before == "closed":
                add(Phase.BEFORE, event, free_us, event.first_us)
            else:
                add(then, last, free_us, event.first_us)
            add(Phase.PREQUEUE, event, event.first_us, event.start_us)
            add(Phase.RUNNING, event, event.start_us, event.last_us)
            free_us = event.last_us
            is_over = event.after == "ended"
            then, last = (Phase.ENDED, event) if is_over else (Phase.RUNNING, None)
        add(then, last, free_us, NEVER_US)
        return tuple(found)

    def at(self, now_us: int) -> Window:
        """The window of that moment."""
        for window in self.windows:
            if window.from_us <= now_us < window.until_us:
                return window
        return self.windows[-1]

    def next_start(self, now_us: int) -> Event | None:
        """The next event that opens the room; None: the room is open, or no event is planned."""
        planned = [each for each in self.events if not each.cancelled and each.start_us > now_us]
        return min(planned, key=lambda each: each.start_us, default=None)

    def find(self, name: str) -> Event | None:
        """The event of that name, cancelled ones included."""
        return next((each for each in self.events if each.name == name), None)

    def with_event(self, event: Event) -> Schedule:
        """The schedule with that event instead of the one of its name."""
        others = [each for each in self.events if each.name != event.name]
        return Schedule.of([*others, event])

    def covering(self, arrival_us: int) -> Event | None:
        """The event whose draw covers an arrival."""
        for event in self.events:
            if not event.cancelled and event.covers(arrival_us):
                return event
        return None

    def is_opening(self, now_us: int, *, spread_us: int) -> bool:
        """Whether visitors may wait for the first poll after a draw: from its prequeue until
        `spread_us` after the start."""
        return any(
            each.has_draw and each.first_us <= now_us < each.start_us + spread_us
            for each in self.events
            if not each.cancelled
        )

    def undecided(self, now_us: int) -> Event | None:
        """The event that has started and whose draw is not made yet."""
        for event in self.events:
            is_due = event.has_draw and event.drawn is None and event.start_us <= now_us
            if is_due and not event.cancelled:
                return event
        return None

    def drawn_turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:
        """The turn of a visitor that was in line before the opening; provisional until the draw."""
        event = self.covering(arrival_us)
        return arrival_us if event is None else event.turn_us(visitor, arrival_us, lane)

    @cached_property
    def can_reorder(self) -> bool:
        """Whether any turn can differ from the arrival."""
        return any(
            event.order != "arrival" and event.span_us > 0 and not event.cancelled
            for event in self.events
        )

    # As replicas keep it.

    @cached_property
    def text(self) -> str:
        """The schedule in the room's state; "" without events."""
        if not self.events:
            return ""
        return json.dumps([_to_json(each) for each in self.events], separators=(",", ":"))

    @cached_property
    def windows_text(self) -> str:
        """The windows as the scripts read them: "from until letter rate;" for each; the rate is
        "-" where the room's own counts."""
        parts = []
        for window in self.windows:
            if window.event is None:
                continue
            letter = _LETTERS[window.phase]
            if window.phase is Phase.PREQUEUE and window.event.has_draw:
                letter = "p"
            rate = window.event.rate_per_minute if window.settings else None
            spelled = "-" if rate is None else format(rate, ".12g")
            parts.append(f"{window.from_us} {window.until_us} {letter} {spelled};")
        return "".join(parts)


NO_EVENTS = Schedule()


@lru_cache(maxsize=256)  # cached: several rooms, each with some versions
def parse_schedule(text: str) -> Schedule:
    """Parse a schedule. Raises ValueError."""
    if not text:
        return NO_EVENTS
    if len(text) > MAX_CHARACTERS:
        raise ValueError("expected a shorter schedule")
    try:
        raw = json.loads(text)
        if not isinstance(raw, list) or len(raw) > MAX_EVENTS * 2:
            raise ValueError("expected a list of events")
        return Schedule.of(_of_json(each) for each in raw)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("expected a schedule") from error


_DEFAULTS: dict[str, Any] = {
    "prequeue_us": None,
    "end_us": None,
    "order": "draw",
    "before": "normal",
    "after": "ended",
    "beacon": "",
    "settings": {},
    "key": "",
    "commitment": "",
    "file": "",
    "cancelled": False,
    "drawn": None,
}
_CHOICES = {
    "order": get_args(Order),
    "before": ("normal", "closed"),
    "after": ("ended", "normal"),
}
_NAMES = tuple(each.name for each in fields(Event))


def _to_json(event: Event) -> dict[str, Any]:
    values = {name: getattr(event, name) for name in _NAMES}
    if event.drawn is not None:
        values["drawn"] = {each.name: getattr(event.drawn, each.name) for each in fields(Drawn)}
        if not event.drawn.lanes:  # the format of releases without lanes
            del values["drawn"]["lanes"]
    return {
        name: value
        for name, value in values.items()
        if name not in _DEFAULTS or value != _DEFAULTS[name]
    }


def _of_json(raw: Mapping[str, Any]) -> Event:
    """Fields of a newer release are left out."""
    values = {name: raw[name] for name in _NAMES if name in raw or name not in _DEFAULTS}
    for name in ("start_us", "announced_us", "prequeue_us", "end_us"):
        value = values.get(name)
        if not is_exact_int(value) and not (value is None and name in _DEFAULTS):
            raise ValueError(f"expected {name}")
    for name, choices in _CHOICES.items():
        if values.get(name, choices[0]) not in choices:
            raise ValueError(f"expected {name}")
    for name in ("name", "beacon", "key", "commitment", "file"):
        if not isinstance(values.get(name, ""), str):
            raise TypeError(name)
    parse_rate_per_minute(values.get("settings", {}).get("rate", 0))
    if values.get("drawn") is not None:
        values["drawn"] = _drawn_of_json(values["drawn"])
    event = Event(**values)
    if not 0 <= event.first_us <= event.start_us <= event.last_us <= NEVER_US:
        raise ValueError("expected times in order")
    return event


def _drawn_of_json(raw: Mapping[str, Any]) -> Drawn:
    known = {each.name for each in fields(Drawn)} & raw.keys() - {"lanes"}
    values = {name: raw[name] for name in known}
    lanes = tuple(draw.LaneSpan(*each) for each in raw.get("lanes", ()))
    for span in lanes:
        if not isinstance(span.lane, str) or not is_exact_int(span.first_us):
            raise ValueError("expected lanes")
        if not is_exact_int(span.span_us) or span.span_us < 1:
            raise ValueError("expected the span of a lane")
    drawn = Drawn(**values, lanes=lanes)
    drawn.seed  # noqa: B018  hex, or a ValueError
    return drawn
