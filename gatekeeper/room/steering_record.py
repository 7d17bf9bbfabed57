"""The record of a room that autotune steers: what was measured last, and the newest changes of the
rate. Replicas keep it in the room's state, for operators.

Rules. Pure. It is bounded. A text that cannot be parsed counts as an empty record, since it may be
of another release.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from gatekeeper.policy.numbers import is_exact_int, is_exact_number

MAX_CHANGES: Final = 12  # a minute of periods; operators read each second
_MAX_CHARACTERS: Final = 4096
_MAX_TEXT: Final = 400
_NEW_US: Final = 20_000_000  # four periods


class SteeringStep(NamedTuple):
    """The end of one period. `at_us` is of the store's clock, rates are per minute.

    `latency_s` is the p95 of the origin's responses; None: there were none.
    """

    at_us: int
    before: float
    after: float
    reason: str
    latency_s: float | None
    responses: int
    failed: int
    admitted: int

    @property
    def failed_share(self) -> float | None:
        """The share of the origin's responses that failed."""
        return self.failed / self.responses if self.responses else None


@dataclass(frozen=True, slots=True)
class SteeringRecord:
    """`last` is the newest period; `changes` are those that changed the rate, the oldest first."""

    last: SteeringStep | None = None
    changes: tuple[SteeringStep, ...] = ()

    def after(self, steering: SteeringStep) -> SteeringRecord:
        """The record with one more period."""
        changes = self.changes
        if steering.after != steering.before:
            changes = (*changes, steering)[-MAX_CHANGES:]
        return SteeringRecord(steering, changes)

    def as_of(self, now_us: int) -> SteeringRecord:
        """The record for operators at `now_us` of the store's clock. A period that ended long ago
        is left out: no visitor was released since, so it does not describe the origin now."""
        is_old = self.last is not None and now_us - self.last.at_us > _NEW_US
        return replace(self, last=None) if is_old else self

    def encode(self) -> str:
        body = {"last": self.last, "changes": self.changes}
        return json.dumps(body, separators=(",", ":"))


NO_STEERING: Final = SteeringRecord()


def parse_record(text: str) -> SteeringRecord:
    """Parse a record; an empty record if the text is not one."""
    if not text or len(text) > _MAX_CHARACTERS:
        return NO_STEERING
    try:
        raw = json.loads(text)
        changes = raw["changes"]
        if not isinstance(changes, list) or len(changes) > MAX_CHANGES:
            return NO_STEERING
        last = raw["last"]
        return SteeringRecord(
            None if last is None else parse_steering(last),
            tuple(map(parse_steering, changes)),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return NO_STEERING


def parse_steering(value: object) -> SteeringStep:
    """The end of a period as a list of its fields; raises ValueError."""
    if not isinstance(value, list):
        raise ValueError("expected a list")  # noqa: TRY004  every refusal is a ValueError
    fields: list[Any] = value
    at_us, before, after, reason, latency_s, responses, failed, admitted = fields
    if not all(map(is_exact_int, (at_us, responses, failed, admitted))):
        raise ValueError("expected counts")
    rates = (before, after, 0.0 if latency_s is None else latency_s)
    if not all(map(is_exact_number, rates)):
        raise ValueError("expected numbers")
    return SteeringStep(at_us, before, after, _text(reason), latency_s, responses, failed, admitted)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError("expected a short text")
    return value
