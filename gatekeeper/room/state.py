"""The state of a room as all replicas share it: its fields, its parsing and its order.

Rules. A state is absolute, never a difference, so that a lost message costs nothing. `epoch` (when
this store was created, in microseconds of its clock) and `version` order states: the newest wins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from gatekeeper.config.settings import MAX_OVERRIDES_CHARACTERS
from gatekeeper.config.types import parse_message
from gatekeeper.policy.event_order import EventOrder
from gatekeeper.policy.numbers import is_exact_int, is_exact_number
from gatekeeper.policy.ordering import ARRIVAL_ORDER, Ordering
from gatekeeper.policy.phase import (
    Mode,
    Phase,
    Reason,
    effective_rate,
    expected_rate,
    phase_of,
    reason_of,
)
from gatekeeper.policy.schedule import Schedule, Window, parse_schedule

_FIELDS_IN_REPLY = 27
_TEXTS = ("mode", "message", "overrides", "events")
_MODES = {mode.value.encode(): mode for mode in Mode}


@dataclass(frozen=True, slots=True)
class RoomState:
    """The shared state of a room. Times and turns are microseconds of the store's clock.

    `message` is shown to all waiting visitors; "": there is none. `overrides` are the other
    settings that operators changed, in the format of `config.settings`; "": there are none.
    `events` are the room's events in the format of `policy.schedule`, and `undrawn` counts the
    visitors whose turn is provisional until a draw. `rate_per_minute` and `message` are the room's
    own; an event may replace them, and `current_rate_per_minute` and `shown_message` are those in
    force. `active` counts the slots, unconfirmed ones included; `expected` counts the released
    visitors that have not claimed their slot yet. `recent_replicas` counts the replicas that called
    so recently that a visitor may still be about to poll by an interval of theirs
    (`outstanding_polls`); 0: the store is too new to know all of these. Open claims are bounded:
    they can belong to visitors at turns after `owed_from_us`, up to the watermark, and to visitors
    that returned to a passed turn (see `Ticket`), up to `again_through_us`, before `again_at`
    releases. `last_arrival_us` is the highest turn that the store has given or seen.
    """

    epoch: int
    version: int
    mode: Mode
    rate_per_minute: float
    message: str
    overrides: str
    events: str
    watermark_us: int
    last_arrival_us: int
    pending_grants: int
    arrived_total: int
    released_total: int
    admitted_total: int
    abandoned_total: int
    recovering_until_us: int
    revocations: int
    queue_length: int
    active: int
    expected: int
    replicas: int
    recent_replicas: int
    undrawn: int
    now_us: int
    has_room: bool = False  # a newcomer may go straight through
    owed_from_us: int = 0
    again_through_us: int = 0
    again_at: int = 0
    # Derived once for each state, and read by every poll.
    schedule: Schedule = field(init=False, repr=False, compare=False)
    window: Window = field(init=False, repr=False, compare=False)
    ordering: Ordering = field(init=False, repr=False, compare=False)
    phase: Phase = field(init=False, repr=False, compare=False)
    shown_message: str = field(init=False, repr=False, compare=False)
    current_rate_per_minute: float = field(init=False, repr=False, compare=False)  # or the event's
    effective_rate_per_minute: float = field(init=False, repr=False, compare=False)  # now
    expected_rate_per_minute: float = field(init=False, repr=False, compare=False)  # to pace polls
    reason: Reason = field(init=False, repr=False, compare=False)  # if no slot were held
    # Whether the store may not know every visitor in line yet.
    is_recovering: bool = field(init=False, repr=False, compare=False)
    # Whether no future draw can change the turn of a visitor in line.
    knows_turns: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        schedule = parse_schedule(self.events)
        window = schedule.at(self.now_us)
        scheduled = window.phase
        if self.undrawn and scheduled is Phase.RUNNING:
            scheduled = Phase.DRAW
        phase, rate, message = phase_of(self.mode, scheduled=scheduled), self.rate_per_minute, None
        if window.settings:
            message = window.settings.get("message")
            own_rate = window.event.rate_per_minute if window.event is not None else None
            rate = rate if own_rate is None else own_rate
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "window", window)
        ordering = EventOrder.of(schedule, window) if schedule.can_reorder else ARRIVAL_ORDER
        object.__setattr__(self, "ordering", ordering)
        object.__setattr__(self, "phase", phase)
        object.__setattr__(self, "shown_message", self.message if message is None else str(message))
        object.__setattr__(self, "current_rate_per_minute", rate)
        effective, expected = effective_rate(phase, rate), expected_rate(phase, rate)
        object.__setattr__(self, "effective_rate_per_minute", effective)
        object.__setattr__(self, "expected_rate_per_minute", expected)
        reason = reason_of(phase, rate_per_minute=rate, active=0, max_active=0)
        object.__setattr__(self, "reason", reason)
        object.__setattr__(self, "is_recovering", self.recovering_until_us > self.now_us)
        knows_turns = not self.undrawn and window.phase is not Phase.PREQUEUE
        object.__setattr__(self, "knows_turns", knows_turns)

    def newer_than(self, other: RoomState | None) -> bool:
        return other is None or (self.epoch, self.version, self.now_us) > (
            other.epoch,
            other.version,
            other.now_us,
        )

    def has_open_claim(self, turn_us: int, *, returned_at: int | None) -> bool:
        """Whether a visitor of this turn, at or below the watermark, may have an open claim."""
        if returned_at is None:
            return turn_us > self.owed_from_us
        return turn_us <= self.again_through_us and returned_at < self.again_at

    def to_json(self, **more: object) -> bytes:
        """The state as replicas publish it, without the derived fields."""
        published = {name: getattr(self, name) for name in _PUBLISHED}
        return json.dumps(published | more, separators=(",", ":")).encode()


_PUBLISHED = tuple(each.name for each in fields(RoomState) if each.init)


def parse_reply(reply: Sequence[bytes | int]) -> tuple[RoomState, list[bytes | int]]:
    """Split a script's reply into the state at its start and the rest; raises ValueError."""
    head = cast("list[bytes]", reply[:_FIELDS_IN_REPLY])
    if len(head) < _FIELDS_IN_REPLY or set(map(type, head)) != {bytes}:
        raise ValueError("expected the state of a room")
    epoch, version, mode, rate, message, overrides, events, *counts, has_room, owed, again, at = (
        head
    )
    bounds = int(owed), int(again), int(at)
    numbers: list[Any] = [*map(int, counts), has_room == b"1", *bounds]
    state = RoomState(
        int(epoch),
        int(version),
        _mode(mode),
        float(rate),
        message.decode(),
        overrides.decode(),
        events.decode(),
        *numbers,
    )
    return state, list(reply[_FIELDS_IN_REPLY:])


def parse_json(data: bytes) -> tuple[RoomState, dict[str, object]]:
    """A state as another replica published it, and the other fields of the message.

    Raises ValueError. Fields of a newer release are returned unparsed; an older release sends no
    `message`, `overrides`, `events`, `recent_replicas`, `undrawn`, `expected`, `has_room`,
    `owed_from_us`, `again_through_us` or `again_at`.
    """
    raw = json.loads(data)
    if not isinstance(raw, dict):
        raise ValueError("expected an object")  # noqa: TRY004  one error for every malformed message
    try:
        raw.setdefault("message", "")
        raw.setdefault("overrides", "")
        raw.setdefault("events", "")
        raw.setdefault("recent_replicas", 0)
        raw.setdefault("undrawn", 0)
        raw.setdefault("expected", 0)
        raw.setdefault("has_room", False)
        raw.setdefault("owed_from_us", 0)
        raw.setdefault("again_through_us", 0)
        raw.setdefault("again_at", 0)
        known = {name: raw.pop(name) for name in _PUBLISHED}
        known["message"] = parse_message(known["message"])
        known["overrides"] = _overrides(known["overrides"])
        if not isinstance(known["events"], str):
            raise ValueError("expected events")  # noqa: TRY004
        known["mode"] = _mode(str(known["mode"]).encode())
        if not all(_is_valid(name, value) for name, value in known.items() if name not in _TEXTS):
            raise ValueError("expected numbers")
        return RoomState(**known), raw
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error


def _is_valid(name: str, value: object) -> bool:
    """Whether the value is valid for the scripts: a whole number, except for the rate and
    `has_room`."""
    if name == "has_room":
        return isinstance(value, bool)
    return is_exact_number(value) if name == "rate_per_minute" else is_exact_int(value)


def _overrides(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_OVERRIDES_CHARACTERS:
        raise ValueError("expected overrides")
    return value


def _mode(raw: bytes) -> Mode:
    return _MODES.get(raw, Mode.HOLD)  # an unknown mode admits no visitor
