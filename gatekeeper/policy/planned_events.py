"""Merges the events of the file with those that operators add live into one schedule.

Rules. Pure. An event of the file is identified by the digest of its entry: while that is the same,
operators' changes are kept (a delay, a cancellation); a changed entry replaces it, except for
stages that have begun, and for times that are unchanged in the file. The start as first announced
is kept either way, because the secret of a draw depends on it. While an event runs, a changed entry
changes its end and its settings: its draw is in visitors' tickets. A change that the event's stage
does not allow is left out; a reload with one is refused earlier (`refusals`). Only a reload removes
an event: a removed entry cancels it like an operator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.policy import draw
from gatekeeper.policy.schedule import Event, Schedule

# A change must have reached the store before it takes effect: until then no prequeue may begin, and
# no event that is to be moved may start.
MARGIN_US = 2_000_000
_DAY_US = 86_400 * 1_000_000
_KEPT_AFTER_END_US = 7 * _DAY_US  # for the record of its draw


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The signing secrets of a gate: the first derives the secrets of draws, all can derive
    existing ones again."""

    secrets: Sequence[bytes]

    def secret_of(self, event: Event, *, room: str) -> bytes | None:
        """The secret of the event's draw; None: its key is no longer known."""
        for secret in self.secrets:
            if draw.draw_key_id(secret) == event.key:
                return draw.draw_secret(
                    secret, room=room, event=event.name, announced_us=event.announced_us
                )
        return None

    def committed(self, event: Event, *, room: str) -> Event:
        """The event with its commitment, by the first secret. An existing commitment is kept."""
        if not event.has_draw or event.commitment:
            return event
        event = replace(event, key=draw.draw_key_id(self.secrets[0]))
        secret = self.secret_of(event, room=room)
        assert secret is not None
        return replace(event, commitment=draw.commitment_of(secret))


def digest_of(config: EventConfig) -> str:
    """The digest that identifies an entry of the file."""
    text = json.dumps(config.model_dump(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def event_of(config: EventConfig, *, file: str = "") -> Event:
    """A new event, without its commitment."""
    return Event(
        name=config.name,
        start_us=config.start,
        announced_us=config.start,
        prequeue_us=config.prequeue,
        end_us=config.end,
        order=config.order,
        before=config.before,
        after=config.after,
        beacon=config.beacon,
        settings=dict(config.settings),
        file=file,
    )


def merged(
    known: Schedule,
    configs: Sequence[EventConfig],
    *,
    room: str,
    keys: SigningKeys,
    now_us: int | None = None,
    reloads: bool = False,
    previous: Sequence[EventConfig] = (),
) -> Schedule:
    """The schedule with the current events of the file.

    `now_us`: the room exists, so that visitors may be in line whom a prequeue in the past does not
    cover; it begins now. `reloads`: an operator asked for it, and `previous` are the entries of the
    file before. A replica that starts removes no event, and changes none that lasts: its file may
    be an old one.
    """
    at_us, events = now_us or 0, {event.name: event for event in known.events}
    names = {config.name for config in configs}
    for event in known.events:
        if reloads and event.file and event.name not in names:
            del events[event.name]
            left = called_off(event, now_us=at_us)
            if left is not None:
                events[event.name] = replace(left, file="")
    for config in configs:
        digest, before = digest_of(config), known.find(config.name)
        is_kept = before is not None and not reloads and _lasts(before, at_us)
        if before is not None and (is_kept or before.file == digest):
            continue
        event = event_of(config, file=digest)
        if before is not None and not _is_over(before, at_us):
            asked, entry = event, _entry(previous, config)
            event = _changed(before, asked, previous=entry, now_us=at_us)
            if _refusal(before, asked, event, previous=entry, now_us=at_us):
                continue
        elif now_us is not None:
            event = _gathering_from(event, now_us)
        events[config.name] = keys.committed(event, room=room)
    for event in _renamed(events, names, now_us=at_us):
        del events[event.name]
    return forgetting(Schedule.of(events.values()), now_us=at_us)


def _lasts(event: Event, now_us: int) -> bool:
    return event.first_us <= now_us < event.last_us and not event.cancelled


def _renamed(events: Mapping[str, Event], names: Set[str], *, now_us: int) -> list[Event]:
    """Planned events that the file has renamed: their name is gone, and a new one has their
    time."""
    own = [events[name] for name in names]
    return [
        event
        for event in events.values()
        if event.file
        and event.name not in names
        and now_us < event.first_us
        and any(each.first_us < event.last_us and event.first_us < each.last_us for each in own)
    ]


def refusals(
    known: Schedule,
    configs: Sequence[EventConfig],
    *,
    now_us: int,
    previous: Sequence[EventConfig] = (),
) -> list[str]:
    """The problem of each entry whose change the stage of its event does not allow."""
    problems = []
    for config in configs:
        digest, before = digest_of(config), known.find(config.name)
        if before is None or before.file == digest or _is_over(before, now_us):
            continue
        entry, event = _entry(previous, config), event_of(config, file=digest)
        event = _changed(before, event, previous=entry, now_us=now_us)
        if problem := _refusal(before, event_of(config), event, previous=entry, now_us=now_us):
            problems.append(f'event "{config.name}": {problem}')
    return problems


def new_overlaps(known: Schedule, after: Schedule, *, now_us: int) -> list[str]:
    """A problem for each pair of events that overlap in `after`, but not in `known`."""

    def pairs(schedule: Schedule) -> dict[tuple[str, str], tuple[Event, Event]]:
        coming = [each for each in schedule.events if not _is_over(each, now_us)]
        return {
            (one.name, other.name): (one, other)
            for one, other in combinations(coming, 2)
            if one.first_us < other.last_us and other.first_us < one.last_us
        }

    return [
        f'event "{one.name}" ({span_of(one)}) overlaps with "{other.name}" ({span_of(other)}); '
        "expected events of one room that do not overlap"
        for key, (one, other) in pairs(after).items()
        if key not in pairs(known)
    ]


def span_of(event: Event) -> str:
    """The period of an event, for a message."""
    end = "no end" if event.end_us is None else f"to {spell_time(event.end_us)}"
    return f"from {spell_time(event.first_us)} {end}"


def _entry(previous: Sequence[EventConfig], config: EventConfig) -> EventConfig | None:
    return next((each for each in previous if each.name == config.name), None)


def _is_over(event: Event, now_us: int) -> bool:
    return event.cancelled or event.last_us <= now_us


def _refusal(
    before: Event, asked: Event, event: Event, *, previous: EventConfig | None, now_us: int
) -> str:
    """Why `before` cannot become `event`, the event of the entry `asked`; "": it can."""
    if before.start_us <= now_us:
        is_moved = previous is None or previous.start != asked.start_us
        if is_moved and asked.start_us > now_us:
            return (
                f"it has started {spell_time(before.start_us)}; expected the unchanged "
                "start, or a new name for another sale"
            )
    elif event.start_us <= now_us:
        return (
            f"start {spell_time(event.start_us)} is not in the future, and it has not started; "
            "expected a later time, or `gatekeeper event open`"
        )
    elif event.start_us <= event.first_us != event.start_us:
        return (
            f"start {spell_time(event.start_us)} is not after its prequeue, which begins "
            f"{spell_time(event.first_us)}; expected a later time"
        )
    if event.last_us <= event.start_us:
        return (
            f"end {spell_time(event.last_us)} is not after its start, now "
            f"{spell_time(event.start_us)}; expected a later time"
        )
    return ""


def _changed(before: Event, event: Event, *, previous: EventConfig | None, now_us: int) -> Event:
    """The outcome of `before`, which is not over, after its entry changed to that of `event`."""
    if before.start_us <= now_us:
        return _running_on(before, event)
    if previous is not None and previous.start == event.start_us:  # a delay stays
        event = replace(event, start_us=before.start_us)
    if before.first_us <= now_us:  # the prequeue has begun
        event = replace(event, prequeue_us=before.prequeue_us, order=before.order)
    elif previous is not None and previous.prequeue == event.prequeue_us:
        event = replace(event, prequeue_us=before.prequeue_us)
    else:
        event = _gathering_from(event, now_us)
    commitment = before.commitment if event.has_draw else ""
    return replace(event, announced_us=before.announced_us, key=before.key, commitment=commitment)


def _gathering_from(event: Event, now_us: int) -> Event:
    """The event with a prequeue that begins no earlier than the store knows of it: places of
    earlier visitors are not drawn."""
    if event.prequeue_us is None:
        return event
    first_us = min(max(event.prequeue_us, now_us + MARGIN_US), event.start_us)
    return replace(event, prequeue_us=first_us)


def _running_on(before: Event, event: Event) -> Event:
    """The event of a changed entry, with the draw of `before`."""
    return replace(
        event,
        start_us=before.start_us,
        prequeue_us=before.prequeue_us,
        end_us=None if event.end_us is None else max(event.end_us, before.start_us + 1),
        order=before.order,
        beacon=before.beacon,
        announced_us=before.announced_us,
        key=before.key,
        commitment=before.commitment,
        drawn=before.drawn,
    )


def called_off(event: Event, *, now_us: int) -> Event | None:
    """The rest of an event that is cancelled; None: nothing. A running event ends now, and leaves
    the room as before: its visitors keep their drawn turns. One whose visitors may have provisional
    turns stays as cancelled, so that they are moved."""
    if event.last_us <= now_us and not event.cancelled:
        return event
    if event.start_us <= now_us and not event.cancelled:
        return replace(event, end_us=now_us, after="normal")
    if event.has_draw and event.first_us <= now_us + MARGIN_US:
        return replace(event, cancelled=True)
    return None


def forgetting(schedule: Schedule, *, now_us: int) -> Schedule:
    """The schedule without live events that ended long ago, or that were cancelled and would have
    started a day ago. Not before the start as first announced: another event of that name and start
    would have the same secret, which may be public."""
    kept = [each for each in schedule.events if each.file or _kept_until_us(each) > now_us]
    return schedule if len(kept) == len(schedule.events) else Schedule.of(kept)


def _kept_until_us(event: Event) -> int:
    if event.cancelled:
        return event.start_us + _DAY_US
    return max(event.last_us, event.announced_us) + _KEPT_AFTER_END_US
