"""The public record of a draw: its JSON, and how anyone verifies it.

Rules. Pure. A record that others wrote is parsed strictly: every problem at once, each in one line
with its field, problem and expectation. A record has one of two states:

    state      secret  beacon                          participants
    committed  null    null, or its URL without round  null
    drawn      hex     null, or URL with round         their number

`note` says why a drawn record has no round although the event has a beacon. Participants are listed
beside the record: SHA-256(visitor id) in lower-case hex, ascending, one a line, each once. The list
may be long: it is verified line by line, in constant memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from gatekeeper.errors import GatekeeperError
from gatekeeper.policy.draw import commitment_of, hashed_turn_us, id_hash, seed_of
from gatekeeper.policy.numbers import is_exact_int
from gatekeeper.policy.schedule import Event

State = Literal["committed", "drawn"]

MAX_RECORD_BYTES: Final = 64 * 1024  # of its JSON; a real one has about 600
LINE_BYTES: Final = 65  # of the list of participants: 64 hex digits and a line feed
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_VISITOR: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_MAX_TEXT: Final = 2048
_LINES_SHOWN: Final = 5  # problems of single lines that are reported; the rest is counted


class DrawRecordError(GatekeeperError):
    """A record that is none; `problems` has every problem."""

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
    """What is public of one draw."""

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

    @property
    def seed(self) -> bytes | None:
        """The seed of all turns; None before the draw."""
        if self.secret is None:
            return None
        randomness = (self.beacon and self.beacon.randomness) or ""
        return seed_of(bytes.fromhex(self.secret), bytes.fromhex(randomness))

    @property
    def json(self) -> dict[str, object]:
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
            "note": self.note,
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
    )


def parse_record(value: object) -> DrawRecord:
    """The record that parsed JSON holds; raises DrawRecordError with every problem."""
    if not isinstance(value, Mapping):
        raise DrawRecordError(["the record is no JSON object"])
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
    )
    if not fields.problems and record.span_us > record.start_us:
        fields.problems.append("span_us: longer than start_us; expected a prequeue since 1970")
    if fields.problems:
        raise DrawRecordError(fields.problems)
    return record


def _beacon_of(value: object, fields: _Fields, *, state: str) -> RecordBeacon | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        fields.problems.append("beacon: no object; expected an object or null")
        return None
    inside = _Fields(value, prefix="beacon.", problems=fields.problems)
    url = inside.text("url")
    if state == "drawn":
        return RecordBeacon(url, inside.number("round"), inside.hash("randomness"))
    if state == "committed":
        inside.expect_null("round", "randomness")
    return RecordBeacon(url)


class _Fields:
    """The fields of an object; every problem is collected, and a stand-in is returned for it."""

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

    def _fail(self, name: str, expected: str) -> None:
        found = "missing" if name not in self._value else f"{str(self._value[name])[:80]!r}"
        self.problems.append(f"{self._prefix}{name}: {found}; expected {expected}")

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable():
            return value
        self._fail(name, "a text")
        return ""

    def word(self, name: str, words: tuple[str, ...]) -> str:
        value = self._value.get(name)
        if isinstance(value, str) and value in words:
            return value
        self._fail(name, " or ".join(f'"{word}"' for word in words))
        return ""

    def hash(self, name: str) -> str:
        value = self._value.get(name)
        if isinstance(value, str) and _HASH.fullmatch(value):
            return value
        self._fail(name, "64 lower-case hex digits")
        return "0" * 64

    def number(self, name: str, *, least: int = 1) -> int:
        value = self._value.get(name)
        if is_exact_int(value) and value >= least:
            return value
        self._fail(name, f"a whole number from {least} to below 2^53")
        return least

    def expect_null(self, *names: str) -> None:
        for name in names:
            if self._value.get(name) is not None:
                self._fail(name, "null before the draw")


@dataclass(frozen=True, slots=True)
class VisitorPlace:
    """Where one participant stands in the drawn order."""

    id_hash: str
    turn_us: int
    place: int | None  # 1 is the first; equal turns have the same place; None: there is no list


class DrawVerification:
    """Verifies a drawn record: `line` for each line of participants, then `problems`.

    `visitor` is a visitor id or its hash; `turn_us` is the turn that the visitor was told.
    `commitment` is the one that was published before the start, as the caller noted it. Without a
    list (`has_list`), participants are not verified.
    """

    def __init__(
        self,
        record: DrawRecord,
        *,
        visitor: str = "",
        turn_us: int | None = None,
        commitment: str = "",
        has_list: bool = True,
    ) -> None:
        self.has_list = has_list
        self._record = record
        self._seed = record.seed
        self._visitor = _hash_of(visitor) if visitor else ""
        self._turn_us = turn_us
        self._noted_commitment = commitment.lower()
        self._count = 0
        self._before = ""
        self._own_turn_us = self._turn_of(self._visitor) if self._visitor else 0
        self._ahead = 0
        self._is_listed = False
        self._bad_lines: list[str] = []
        self._bad_count = 0

    def line(self, line: str) -> None:
        """The next line of the list of participants, without its line feed."""
        self._count += 1
        if not _HASH.fullmatch(line):
            self._bad_line(f"{line[:80]!r} is no hash; expected 64 lower-case hex digits")
            return
        if line == self._before:
            self._bad_line("the same hash as the line before; expected each participant once")
        elif line < self._before:
            self._bad_line("not in ascending order")
        self._before = line
        if self._visitor and self._seed is not None:
            self._is_listed |= line == self._visitor
            self._ahead += self._turn_of(line) < self._own_turn_us

    @property
    def count(self) -> int:
        """The lines seen so far."""
        return self._count

    def problems(self) -> list[str]:
        """Everything that is wrong, one line each; empty: the draw is verified."""
        record = self._record
        if record.state != "drawn" or record.secret is None:
            return ["state: the draw has not taken place yet; only the commitment is public"]
        found = []
        if commitment_of(bytes.fromhex(record.secret)) != record.commitment:
            found.append(
                f"secret: its SHA-256 is {hashlib.sha256(bytes.fromhex(record.secret)).hexdigest()}"
                f"; expected the commitment {record.commitment}"
            )
        if self._noted_commitment and self._noted_commitment != record.commitment:
            found.append(
                f"commitment: {record.commitment} now; expected {self._noted_commitment}, "
                "as noted before the start"
            )
        if self.has_list:
            found += self._list_problems()
        return found + self._visitor_problems()

    def place(self) -> VisitorPlace | None:
        """Where the visitor stands; None: no visitor was named, or it is no participant."""
        if not self._visitor or (self.has_list and not self._is_listed):
            return None
        return VisitorPlace(
            self._visitor, self._own_turn_us, self._ahead + 1 if self.has_list else None
        )

    def _list_problems(self) -> list[str]:
        found = list(self._bad_lines)
        if self._bad_count > len(found):
            found.append(f"participants: {self._bad_count - len(found)} more bad lines")
        if self._count != self._record.participants:
            found.append(
                f"participants: {self._count} lines; expected {self._record.participants} as "
                "recorded"
            )
        return found

    def _visitor_problems(self) -> list[str]:
        if not self._visitor:
            return []
        found = []
        if self.has_list and not self._is_listed:
            found.append(f"visitor: {self._visitor} is not among the participants")
        if self._turn_us is not None and self._turn_us != self._own_turn_us:
            found.append(f"visitor: turn {self._turn_us}; expected {self._own_turn_us}")
        return found

    def _turn_of(self, hashed: str) -> int:
        if self._seed is None:
            return 0
        return hashed_turn_us(
            self._seed,
            bytes.fromhex(hashed),
            start_us=self._record.start_us,
            span_us=self._record.span_us,
        )

    def _bad_line(self, problem: str) -> None:
        self._bad_count += 1
        if len(self._bad_lines) < _LINES_SHOWN:
            self._bad_lines.append(f"participants: line {self._count}: {problem}")


def is_visitor(text: str) -> bool:
    """Whether `text` is a visitor id or the hash of one."""
    return bool(_VISITOR.fullmatch(text) or _HASH.fullmatch(text))


def _hash_of(visitor: str) -> str:
    return visitor if _HASH.fullmatch(visitor) else id_hash(visitor).hex()
