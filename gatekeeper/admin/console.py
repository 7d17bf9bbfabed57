"""The admin API's responses as lines of text, for the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from gatekeeper.config.settings import parse_changes, value_of_text
from gatekeeper.errors import ConfigError


def room_line(room: dict[str, Any]) -> str:
    """Mode, rate and figures of a room."""
    limit = f" of {room['max_active']}" if room["max_active"] else ""
    most = f" of {room['queue_limit']}" if room.get("queue_limit") else ""
    lanes = ", ".join(f"{count} {lane}" for lane, count in room.get("lanes", {}).items())
    of_lanes = f" ({lanes})" if lanes else ""
    message = f"; message: {room['message']}" if room["message"] else ""
    return (
        f"{room['room']}: {room['mode']}, {room['rate_per_minute']:g}/min, "
        f"{room['queue_length']}{most} waiting{of_lanes}, {room['active']}{limit} active, "
        f"{room['released_total']} released, {room['abandoned_total']} left"
        f"{_autotune_words(room.get('autotune'))}{message}{_event_words(room.get('event'))}"
    )


def _autotune_words(tuned: dict[str, Any] | None) -> str:
    """The last measurements of autotune, with its targets."""
    last = tuned and tuned["last"]
    if not tuned or not last:
        return ""
    parts = [last["why"]]
    if last["p95_s"] is not None:
        parts.append(f"p95 {last['p95_s']:.3g} s of {tuned['latency_target_s']:g} s")
    if last["failed_share"] is not None:
        parts.append(f"failed {last['failed_share']:.2%} of {tuned['errors_target']:.2%}")
    return f"; autotune: {', '.join(parts)}"


def _event_words(event: dict[str, Any] | None) -> str:
    """The event that a room is in or expects, and the time until its next change."""
    if event is None:
        return ""
    countdown = f", {event['next']} in {_countdown(event['seconds'])}" if event["next"] else ""
    return f"; {event['name']}: {event['stage']}{countdown}"


def _countdown(seconds: int) -> str:
    """`1:02:03` or `02:03`, with days if there are any."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    clock = f"{rest // 60:02}:{rest % 60:02}"
    return f"{f'{days}d ' if days else ''}{f'{hours}:' if days or hours else ''}{clock}"


_EVENT_KEYS = ("prequeue", "start", "end")
_SHOWN_APART = {"name", "room", "stage", "announced", "commitment", "drawn", "file", *_EVENT_KEYS}


def event_line(event: dict[str, Any]) -> str:
    """An event: stage, times, keys and commitment."""
    times = ", ".join(f"{key} {event[key]}" for key in _EVENT_KEYS if event[key])
    keys = [
        f"{key}={_spelled(value)}"
        for key, value in event.items()
        if key not in _SHOWN_APART and value not in ("", None)
    ]
    source = "from the file" if event["file"] else "made live"
    commitment = f"; commitment {event['commitment']}" if event["commitment"] else ""
    return (
        f"{event['room']}: {event['name']}: {event['stage']}, {times}; {' '.join(keys)}; "
        f"{source}{commitment}"
    )


def visitor_line(visitor: dict[str, Any]) -> str:
    """The standing of a visitor."""
    room = f"{visitor['room']}: " if visitor["room"] else ""
    named = " ".join(each for each in (visitor["reference"], visitor["visitor"]) if each)
    more = [
        f"{word} {visitor[key]}"
        for key, word in (
            ("position", "position"),
            ("turn", "turn"),
            ("arrived_at", "arrived"),
            ("until", "until"),
            ("ends_at", "session ends"),
        )
        if visitor.get(key) is not None
    ]
    if draw := visitor.get("draw"):
        more.append(f"drawn in {draw['event']} as {draw['id_hash']}")
    return f"{room}{named}: {', '.join([visitor['state'], *more])}"


def audit_line(entry: dict[str, Any]) -> str:
    """One entry of the audit log."""
    change = "".join(
        f" {word} {entry[key]!r}" for key, word in (("from", "from"), ("to", "to")) if key in entry
    )
    more = "".join(f" ({entry[key]})" for key in ("visitor", "note") if key in entry)
    outcome = "" if entry["outcome"] == "done" else f": {entry['outcome']}"
    place = f" at {entry['address']}" if entry.get("address") else ""
    room = f" {entry['room']}" if entry.get("room") else ""
    return f"{entry['at']} {entry['who']}{place}: {entry['what']}{room}{change}{outcome}{more}"


def setting_lines(room: dict[str, Any], *, only: Iterable[str] = ()) -> Iterator[str]:
    """The settings of a room, one per line; those in `only`, or all."""
    keys = list(only) or list(room["settings"])
    for key in keys:
        setting = room["settings"][key]
        live = f" (set live; the file has {_spelled(setting['file'])})" if setting["live"] else ""
        note = f" ({setting['note']})" if "note" in setting else ""
        yield f"{room['room']}: {key} = {_spelled(setting['value'])}{note}{live}"


def parse_assignments(assignments: Iterable[str]) -> dict[str, object]:
    """`KEY=VALUE` texts as the JSON of `POST /admin/settings`; `KEY=` returns to the file's value.
    Raises ConfigError with every problem."""
    changes: dict[str, object] = {}
    problems: list[str] = []
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        key = key.strip()
        if not separator:
            problems.append(f"{assignment}: not a setting; expected KEY=VALUE, e.g. rate=800/min")
        elif key in changes:
            problems.append(f"{key}: set twice; expected it once")
        else:
            changes[key] = value_of_text(key, text.strip())
    try:
        if changes:
            parse_changes(changes)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems, source="settings")
    return changes


def _spelled(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
