"""The public record of a draw, and its JSON.

Rules. Pure. A record is parsed strictly, and all problems are reported at once, each in one line
with its field, problem and expectation. A record has one of two states:

    state      secret  beacon                          participants
    committed  null    null, or its URL without round  null
    drawn      hex     null, or URL with round         their number

`note` is the reason why a drawn record of an event with a beacon has no round, or that its list was
lost; it is optional. `lanes` has the turns of each lane, only for a draw with lanes. Participants
are listed separately: SHA-256(visitor id) in lower-case hex, ascending, one per line, each once; in
a lane a space and the lane follow. The list may be long: it is verified line by line, in constant
memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from gatekeeper.config.lane_schema import MAX_LANES, is_lane_name
from gatekeeper.errors import GatekeeperError
from gatekeeper.policy.draw import LaneSpan, seed_of
from gatekeeper.policy.numbers import is_exact_int
from gatekeeper.policy.schedule import Event

State = Literal["committed", "drawn"]

MAX_RECORD_BYTES: Final = 64 * 1024  # of its JSON, which usually has about 600
HASH: Final = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT: Final = 2048


class DrawRecordError(GatekeeperError):
    """The record is not valid; `problems` has every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class RecordBeacon:
    """The beacon of a draw, and the round that was used; both None before the draw."""

    url: str
    round: int | None = None
    randomness: str | None = None  # 64 hex digits

    @property
    def json(self) -> dict[str, object]:
        return {"url": self.url, "round": self.round, "randomness": self.randomness}


@dataclass(frozen=True, slots=True)
class DrawRecord:
    """The public data of one draw."""

    event: str
    room: str
    state: State
    commitment: str
    start_us: int
    span_us: int
    secret: str | None = None
    beacon: RecordBeacon | None = None
    participants: int | None = None
    note: str = ""
    lanes: tuple[LaneSpan, ...] = ()

    @property
    def seed(self) -> bytes | None:
        """The seed of all turns; None before the draw."""
        if self.secret is None:
            return None
        randomness = (self.beacon and self.beacon.randomness) or ""
        return seed_of(bytes.fromhex(self.secret), bytes.fromhex(randomness))

    @property
    def json(self) -> dict[str, object]:
        lanes = [
            {"name": each.lane, "first_us": each.first_us, "span_us": each.span_us}
            for each in self.lanes
        ]
        return {
            "event": self.event,
            "room": self.room,
            "state": self.state,
            "commitment": self.commitment,
            "secret": self.secret,
            "beacon": None if self.beacon is None else self.beacon.json,
            "start_us": self.start_us,
            "span_us": self.span_us,
            "participants": self.participants,
            **({"note": self.note} if self.note else {}),
            **({"lanes": lanes} if lanes else {}),
        }


def record_of(
    event: Event, *, room: str, is_complete: bool, participants: int | None, note: str
) -> DrawRecord:
    """The public record of an event's draw. `is_complete`: every participant has the drawn turn;
    before that only the commitment and the beacon's address are public."""
    drawn = event.drawn if is_complete else None
    beacon = RecordBeacon(event.beacon) if event.beacon else None
    if drawn is not None:
        is_used = drawn.round is not None
        beacon = RecordBeacon(event.beacon, drawn.round, drawn.randomness) if is_used else None
    return DrawRecord(
        event=event.name,
        room=room,
        state="committed" if drawn is None else "drawn",
        commitment=event.commitment,
        start_us=event.start_us,
        span_us=event.span_us,
        secret=None if drawn is None else drawn.secret,
        beacon=beacon,
        participants=None if drawn is None else participants,
        note="" if drawn is None else note,
        lanes=() if drawn is None else drawn.lanes,
    )


def parse_record(value: object) -> DrawRecord:
    """Validate parsed JSON; raises DrawRecordError with every problem."""
    if not isinstance(value, Mapping):
        raise DrawRecordError(["the record is not a JSON object"])
    fields = _Fields(value)
    state = fields.word("state", get_args(State))
    is_drawn = state == "drawn"
    if state == "committed":
        fields.expect_null("secret", "participants")
    record = DrawRecord(
        event=fields.text("event"),
        room=fields.text("room"),
        state="drawn" if is_drawn else "committed",
        commitment=fields.hash("commitment"),
        start_us=fields.number("start_us"),
        span_us=fields.number("span_us"),
        secret=fields.hash("secret") if is_drawn else None,
        beacon=_beacon_of(value.get("beacon"), fields, state=state),
        participants=fields.number("participants", least=0) if is_drawn else None,
        note=fields.text("note") if value.get("note") else "",
        lanes=_lanes_of(value.get("lanes"), fields) if is_drawn else (),
    )
    if state == "committed":
        fields.expect_null("lanes")
    if not fields.problems:
        fields.problems += _lane_problems(record)
    if not fields.problems and record.span_us > record.start_us:
        fields.problems.append("span_us: longer than start_us; expected a prequeue since 1970")
    if fields.problems:
        raise DrawRecordError(fields.problems)
    return record


def _beacon_of(value: object, fields: _Fields, *, state: str) -> RecordBeacon | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        fields.problems.append("beacon: not an object; expected an object or null")
        return None
    inside = _Fields(value, prefix="beacon.", problems=fields.problems)
    url = inside.text("url")
    if state == "drawn":
        return RecordBeacon(url, inside.number("round"), inside.hash("randomness"))
    if state == "committed":
        inside.expect_null("round", "randomness")
    return RecordBeacon(url)


def _lanes_of(value: object, fields: _Fields) -> tuple[LaneSpan, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not 0 < len(value) <= MAX_LANES:
        fields.problems.append(f"lanes: not a list; expected 1 to {MAX_LANES} lanes")
        return ()
    found = []
    for at, each in enumerate(value):
        lane = each if isinstance(each, Mapping) else {}
        inside = _Fields(lane, prefix=f"lanes[{at}].", problems=fields.problems)
        name = inside.text("name")
        if name and not is_lane_name(name):
            inside.fail("name", "the name of a lane")
        found.append(LaneSpan(name, inside.number("first_us"), inside.number("span_us")))
    return tuple(found)


def _lane_problems(record: DrawRecord) -> list[str]:
    """Lanes have to precede all other turns, and not overlap unless they share a span."""
    problems, before = [], record.start_us - record.span_us
    names = [span.lane for span in record.lanes]
    problems += [
        f'lanes: "{each}" is listed twice; expected each lane once'
        for each in sorted({each for each in names if names.count(each) > 1})
    ]
    for first_us, span_us in sorted({each[1:] for each in record.lanes}, reverse=True):
        if first_us + span_us > before:
            problems.append(
                f"lanes: the turns from {first_us} on end at {first_us + span_us}; expected an end "
                f"at or before {before}"
            )
        before = first_us
    return problems


class _Fields:
    """The fields of an object; problems are collected, and a placeholder is returned for each."""

    def __init__(
        self,
        value: Mapping[Any, object],
        *,
        prefix: str = "",
        problems: list[str] | None = None,
    ) -> None:
        self._value = value
        self._prefix = prefix
        self.problems: list[str] = [] if problems is None else problems

    def fail(self, name: str, expected: str) -> None:
        found = "missing" if name not in self._value else f"{str(self._value[name])[:80]!r}"
        self.problems.append(f"{self._prefix}{name}: {found}; expected {expected}")

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable():
            return value
        self.fail(name, "a text")
        return ""

    def word(self, name: str, words: tuple[str, ...]) -> str:
        value = self._value.get(name)
        if isinstance(value, str) and value in words:
            return value
        self.fail(name, " or ".join(f'"{word}"' for word in words))
        return ""

    def hash(self, name: str) -> str:
        value = self._value.get(name)
        if isinstance(value, str) and HASH.fullmatch(value):
            return value
        self.fail(name, "64 lower-case hex digits")
        return "0" * 64

    def number(self, name: str, *, least: int = 1) -> int:
        value = self._value.get(name)
        if is_exact_int(value) and value >= least:
            return value
        self.fail(name, f"a whole number from {least} to below 2^53")
        return least

    def expect_null(self, *names: str) -> None:
        for name in names:
            if self._value.get(name) is not None:
                self.fail(name, "null before the draw")
