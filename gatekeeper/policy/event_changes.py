"""Operators' changes of the events of a room: add one, move its start, cancel it, set its keys.

Rules. Pure: `now_us` is the store's clock, and every function returns another schedule or raises.
An invalid value is a ConfigError; a change that the state of the room does not allow is a Conflict.
A move keeps the beginning of the prequeue, the start as first announced and the commitment, so that
it draws by the same secret.

    stage       begins                        what operators may do
    planned     when it is made               move its start, open it now, cancel it
    prequeue    at its prequeue               move its start, open it now, cancel it
    running     at its start                  cancel it, which ends it now
    ended       at its end                    nothing; its record stays for a week
    cancelled   by a cancellation             nothing; its name stays taken for a day
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gatekeeper.config.event_schema import MAX_EVENTS, Spelled, spell_time
from gatekeeper.config.problems import shown
from gatekeeper.errors import ConfigError, Conflict, NotFound
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.planned_events import MARGIN_US, called_off, forgetting, span_of
from gatekeeper.policy.schedule import MAX_CHARACTERS, Event, Schedule

_MAX_KEPT = 2 * MAX_EVENTS  # with ended and cancelled events

Stage = Literal["planned", "prequeue", "running", "ended", "cancelled"]


@dataclass(frozen=True, slots=True)
class NewStart:
    """A new start of an event: at `at_us`, or later by `by_us`; without both, now."""

    at_us: int | None = None
    by_us: int | None = None

    @property
    def is_now(self) -> bool:
        return self.at_us is None and self.by_us is None


def stage_of(event: Event, now_us: int) -> Stage:
    """The stage of an event."""
    if event.cancelled:
        return "cancelled"
    if event.last_us <= now_us:
        return "ended"
    if event.start_us <= now_us:
        return "running"
    return "prequeue" if event.first_us <= now_us else "planned"


def with_added(schedule: Schedule, event: Event, *, now_us: int) -> Schedule:
    """The schedule with a new event. A prequeue in the past begins now. Raises Conflict for a
    duplicate name, an overlap or too many events, ConfigError for inconsistent times."""
    known = schedule.find(event.name)
    if known is not None:
        raise Conflict(
            f'the event "{event.name}" exists, {_described(known, now_us)}; expected another name'
        )
    if event.start_us <= now_us:
        raise ConfigError([_past(event.start_us, now_us)], source="event")
    if event.prequeue_us is not None and event.prequeue_us <= now_us + MARGIN_US:
        event = replace(event, prequeue_us=now_us + MARGIN_US)
        if event.first_us >= event.start_us:
            raise ConfigError(
                ["prequeue: it would end before it begins; expected a later start"],
                source="event",
            )
    return _checked(schedule, event, now_us=now_us)


def with_start(schedule: Schedule, name: str, start: NewStart, *, now_us: int) -> Schedule:
    """The schedule with another start of an event that has not started. Raises NotFound, Conflict
    for an event that has started, is about to start, or would overlap, ConfigError for an
    inconsistent start."""
    event = _known(schedule, name)
    stage = stage_of(event, now_us)
    if stage not in {"planned", "prequeue"}:
        raise Conflict(
            f'"{name}" {_described(event, now_us)}; expected an event that has not started'
        )
    if start.is_now:
        return _checked(schedule, _opened(event, now_us), now_us=now_us)
    if event.start_us <= now_us + MARGIN_US:
        raise Conflict(f'"{name}" is about to start; expected a change two seconds earlier')
    start_us = start.at_us if start.at_us is not None else event.start_us + (start.by_us or 0)
    problem = ""
    if start_us <= now_us + MARGIN_US:
        problem = _past(start_us, now_us)
    elif start_us <= event.first_us != event.start_us:
        problem = _order("start", "after the prequeue", event.first_us)
    elif start_us >= event.last_us:
        problem = _order("start", "before the end", event.last_us)
    elif start_us >= PROVISIONAL_US:
        problem = "start: too far in the future; expected an earlier time"
    if problem:
        raise ConfigError([problem], source="event")
    return _checked(schedule, replace(event, start_us=start_us), now_us=now_us)


def with_cancelled(schedule: Schedule, name: str, *, now_us: int) -> Schedule:
    """The schedule without an event (`called_off`). An event of the file stays as cancelled, so
    that a restart does not restore it. Raises NotFound, and Conflict for an event that is over."""
    event = _known(schedule, name)
    if stage_of(event, now_us) in {"ended", "cancelled"}:
        raise Conflict(f'"{name}" {_described(event, now_us)}; expected an event that is not over')
    left = called_off(event, now_us=now_us)
    if left is None and event.file:
        left = replace(event, cancelled=True)
    if left is not None:
        return schedule.with_event(left)
    return Schedule.of(each for each in schedule.events if each.name != name)


def with_settings(schedule: Schedule, name: str, settings: Mapping[str, Spelled]) -> Schedule:
    """The schedule with other settings of an event. Raises NotFound, and Conflict if the texts of
    all events are too long."""
    event = replace(_known(schedule, name), settings=dict(settings))
    return _bounded(schedule.with_event(event))


def _opened(event: Event, now_us: int) -> Event:
    """The event, started now. Without a prequeue that has begun there are no visitors to draw."""
    if event.prequeue_us is not None and event.prequeue_us < now_us:
        return replace(event, start_us=now_us)
    return replace(event, start_us=now_us, prequeue_us=None, key="", commitment="", beacon="")


def _checked(schedule: Schedule, event: Event, *, now_us: int) -> Schedule:
    """The schedule with `event`; raises Conflict if it overlaps with others or exceeds a limit."""
    after = forgetting(schedule, now_us=now_us).with_event(event)
    coming = [each for each in after.events if not each.cancelled and each.last_us > now_us]
    for other in coming:
        is_before = other.last_us <= event.first_us or event.last_us <= other.first_us
        if other is not event and not is_before:
            raise Conflict(
                f'"{event.name}" overlaps with "{other.name}" ({span_of(other)}); '
                "expected events of one room that do not overlap"
            )
    if len(coming) > MAX_EVENTS or len(after.events) > _MAX_KEPT:
        raise Conflict(
            f"the room has {len(after.events) - 1} events; expected at most {MAX_EVENTS} upcoming "
            f"ones, and {_MAX_KEPT} including those of the last week"
        )
    return _bounded(after)


def _bounded(schedule: Schedule) -> Schedule:
    if len(schedule.text) > MAX_CHARACTERS // 4:
        raise Conflict(
            "the events of the room have too much text; expected shorter messages and titles"
        )
    return schedule


def _known(schedule: Schedule, name: str) -> Event:
    event = schedule.find(name)
    if event is None:
        names = ", ".join(each.name for each in schedule.events) or "no event"
        raise NotFound(f"no event {shown(name)} in this room, which has {names}")
    return event


def _described(event: Event, now_us: int) -> str:
    match stage_of(event, now_us):
        case "cancelled":
            return "is cancelled"
        case "ended":
            return f"has ended {spell_time(event.last_us)}"
        case "running":
            return f"has started {spell_time(event.start_us)}"
        case _:
            return f"starts {spell_time(event.start_us)}"


def _past(start_us: int, now_us: int) -> str:
    return (
        f"start: {spell_time(start_us)} is not in the future, it is {spell_time(now_us)}; "
        "expected a later time"
    )


def _order(key: str, expected: str, at_us: int) -> str:
    return f"{key}: not {expected}, {spell_time(at_us)}; expected a time {expected}"
