"""Settings: the keys of a room that operators change while the gate runs.

Rules. Pure. The schema marks these keys with LIVE. The overrides of a room are one text: canonical
JSON of each key with its value and the file's value at that time, in the format of the file, e.g.
`{"max_active":[300,0]}`. An override is in force as long as the file's value is unchanged. A value
is parsed by the schema, and keys that conflict with each other are refused together. `rate` and
`message` have fields of their own in the room's state and are never in the overrides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from gatekeeper.config.autotune_keys import steered_rate_problem
from gatekeeper.config.event_schema import Spelled
from gatekeeper.config.load import toml_value
from gatekeeper.config.rate_text import spell_rate
from gatekeeper.config.renamed import RENAMED_KEYS
from gatekeeper.config.schema import LIVE_KEYS, RoomConfig, RoomKeys
from gatekeeper.config.types import parse_duration_s, parse_rate_per_minute, spell_duration
from gatekeeper.config.validation import invalid_keys
from gatekeeper.errors import ConfigError

OWN_FIELDS = ("rate", "message")  # fields of their own in the state
MAX_OVERRIDES_CHARACTERS = 8192

_OVERRIDDEN = frozenset(LIVE_KEYS) - frozenset(OWN_FIELDS)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a room: its value in force and the file's, in the format of the file."""

    key: str
    value: Spelled
    file: Spelled

    @property
    def is_live(self) -> bool:
        """Whether an operator has set it."""
        return self.value != self.file


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """A checked change: the new overrides, and `rate` and `message` if it contains them."""

    overrides: str
    rate_per_minute: float | None
    message: str | None
    after: Mapping[str, Spelled]  # each changed key with its new value


def effective_config(
    room: RoomConfig, overrides: str, *, event: Mapping[str, Spelled] = MappingProxyType({})
) -> RoomConfig:
    """The room's configuration with the overrides in force, and on top the settings of the running
    event. Invalid or conflicting ones are left out."""
    spelled = _in_force(room, overrides)
    if event:
        own = {key: value for key, value in event.items() if key in _OVERRIDDEN}
        spelled = _without_conflicts(room, spelled | _valid(own))
    values = {key: _value(key, value) for key, value in spelled.items()}
    return room.model_copy(update=values) if values else room


def settings_of(room: RoomConfig, config: RoomConfig) -> list[Setting]:
    """Every setting of a room; `config` is the configuration in force, `room` the file's."""
    return [Setting(key, spelled_value(config, key), spelled_value(room, key)) for key in LIVE_KEYS]


def parse_changes(changes: Mapping[str, object]) -> dict[str, Spelled | None]:
    """The changes with checked values in the format of the file; None returns to the file's value.
    Raises ConfigError with every problem."""
    problems: list[str] = []
    parsed: dict[str, Spelled | None] = {}
    for key, value in changes.items():
        if key not in LIVE_KEYS:
            problems.append(f"{key}: {_unknown(key)}")
        elif value is None or (value == "" and key != "message"):
            parsed[key] = None
        elif not invalid_keys(RoomKeys, {key: value}, path="", problems=problems):
            parsed[key] = _spell(RoomKeys.model_fields[key], _value(key, value))
    if not changes:
        problems.append("no setting; expected at least one, e.g. rate=800/min")
    if problems:
        raise ConfigError(problems, source="settings")
    return parsed


def change_settings(
    room: RoomConfig,
    overrides: str,
    changes: Mapping[str, Spelled | None],
    *,
    event: Mapping[str, Spelled] = MappingProxyType({}),
) -> SettingsChange:
    """The room's settings after `changes` (of `parse_changes`), all of them or none. Overrides that
    are no longer in force are dropped. `event`: the settings of the event that is running, which
    may steer the room's rate. Raises ConfigError for keys that conflict."""
    after = {
        key: spelled_value(room, key) if value is None else value for key, value in changes.items()
    }
    kept = {
        key: (value, spelled_value(room, key)) for key, value in _in_force(room, overrides).items()
    }
    kept |= {key: (value, spelled_value(room, key)) for key, value in after.items()}
    changed = {key: pair for key, pair in kept.items() if pair[0] != pair[1]}
    values = {key: _value(key, value) for key, (value, _) in changed.items()}
    _refuse_conflicts(room.model_copy(update=values))
    stored = {key: list(pair) for key, pair in changed.items() if key in _OVERRIDDEN}
    text = json.dumps(stored, sort_keys=True, separators=(",", ":")) if stored else ""
    if (rate_set := changes.get("rate")) is not None:
        in_force = effective_config(room, text, event=event)
        refuse_unsteered(in_force, parse_rate_per_minute(rate_set))
    rate, message = after.get("rate"), after.get("message")
    return SettingsChange(
        text,
        None if rate is None else parse_rate_per_minute(rate),
        None if message is None else str(message),
        after,
    )


def change_event_settings(
    config: RoomConfig, settings: Mapping[str, Spelled], changes: Mapping[str, Spelled | None]
) -> dict[str, Spelled]:
    """The settings of an event after `changes` (of `parse_changes`); None leaves the key to the
    room. `config` is that of the room without the event. Raises ConfigError for keys that
    conflict."""
    after = {key: value for key, value in {**settings, **changes}.items() if value is not None}
    values = {key: _value(key, value) for key, value in after.items()}
    changed = config.model_copy(update=values)
    _refuse_conflicts(changed)
    if (rate := changes.get("rate")) is not None:
        refuse_unsteered(changed, parse_rate_per_minute(rate))
    return after


def refuse_unsteered(config: RoomKeys, rate: float) -> None:
    """Raises ConfigError for a rate that autotune, if it is on, would change at once."""
    problem = steered_rate_problem(rate, rate_min=config.autotune_min, rate_max=config.autotune_max)
    if config.autotune and problem:
        raise ConfigError([f"rate: {problem}"], source="settings")


def _refuse_conflicts(config: RoomConfig) -> None:
    problems = [f"{each.keys[-1]}: {each.problem}" for each in config.conflicts()]
    if problems:
        raise ConfigError(problems, source="settings")


def spelled_value(config: RoomKeys, key: str) -> Spelled:
    """The value of a key in the format of the file."""
    return _spell(RoomKeys.model_fields[key], getattr(config, key))


def value_of_text(key: str, text: str) -> object:
    """Parse `text` of a command line: a text key takes it as it is, any other key as a TOML value;
    "" is None, which returns to the file's value."""
    if text == "":
        return None
    field = RoomKeys.model_fields.get(key)
    is_text = field is None or isinstance(field.default, str | float)
    return text if is_text else toml_value(text)


def _in_force(room: RoomConfig, overrides: str) -> dict[str, Spelled]:
    """The overrides in force: valid, for the file's current value, and without a conflict."""
    spelled = {
        key: value
        for key, (value, base) in _parsed(overrides).items()
        if key in _OVERRIDDEN and base == spelled_value(room, key)
    }
    return _without_conflicts(room, _valid(spelled))


def _valid(spelled: Mapping[str, Spelled]) -> dict[str, Spelled]:
    return {
        key: value
        for key, value in spelled.items()
        if not invalid_keys(RoomKeys, {key: value}, path="", problems=[])
    }


def _without_conflicts(room: RoomConfig, spelled: dict[str, Spelled]) -> dict[str, Spelled]:
    """The remaining overrides may still conflict with the file, so each round drops at least
    one."""
    while spelled:
        values = {key: _value(key, value) for key, value in spelled.items()}
        conflicts = room.model_copy(update=values).conflicts()
        left_out = {key for conflict in conflicts for key in conflict.keys} & spelled.keys()
        if not left_out:
            break
        spelled = {key: value for key, value in spelled.items() if key not in left_out}
    return spelled


def _parsed(overrides: str) -> dict[str, tuple[Spelled, Spelled]]:
    """Parse overrides leniently: another release, or a damaged store, may have written the text."""
    if not overrides or len(overrides) > MAX_OVERRIDES_CHARACTERS:
        return {}
    try:
        raw = json.loads(overrides)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(raw, dict):
        return {}
    return {
        key: (pair[0], pair[1])
        for key, pair in raw.items()
        if isinstance(pair, list) and len(pair) == 2
    }


def _value(key: str, spelled: object) -> Any:
    return getattr(RoomKeys.model_validate({key: spelled}), key)


def _spell(field: FieldInfo, value: Any) -> Spelled:
    parsers = {each.func for each in field.metadata if isinstance(each, BeforeValidator)}
    if parse_rate_per_minute in parsers:
        return spell_rate(value)
    if parse_duration_s in parsers:
        return spell_duration(value)
    assert isinstance(value, str | int | float)
    return value


def _unknown(key: str) -> str:
    if key in RENAMED_KEYS:
        return f"renamed; use {RENAMED_KEYS[key][1]}"
    if key in RoomConfig.model_fields:
        return "cannot be changed here; expected a change of the file, then `gatekeeper reload`"
    if close := get_close_matches(key, LIVE_KEYS, n=1):
        return f"unknown setting; expected {close[0]}"
    return f"unknown setting; expected one of {', '.join(LIVE_KEYS)}"
