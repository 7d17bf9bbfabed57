"""Load the configuration: read the file, apply overrides, check everything, report every problem.

Rules: an unknown key is an error, and so is a renamed one. All problems are reported at once, each
as `path: problem; expected …`. An environment variable `GATEKEEPER_SECTION__KEY` overrides the
file, a command-line flag overrides both. After loading every value is valid.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from gatekeeper.config.autotune_keys import NOTHING_TO_MEASURE
from gatekeeper.config.edge_schema import EdgeConfig
from gatekeeper.config.event_schema import EventConfig, overlaps
from gatekeeper.config.files import read_file
from gatekeeper.config.lane_schema import LaneConfig, lane_problems
from gatekeeper.config.problems import (
    not_a_table,
    unknown_key,
    unknown_section,
    unreadable,
)
from gatekeeper.config.renamed import RENAMED_KEYS, renamed_keys, renamed_values
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.schema import (
    ADMISSION_KEYS,
    LIVE_KEYS,
    WAITING_KEYS,
    AdminConfig,
    Config,
    EventsConfig,
    OriginConfig,
    RoomConfig,
    RoomKeys,
    ServerConfig,
    StoreConfig,
    TokensConfig,
)
from gatekeeper.config.section import Section
from gatekeeper.config.types import EMBEDDED, RoomName
from gatekeeper.config.validation import dotted, invalid_keys, validated
from gatekeeper.errors import ConfigError


def load_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """The checked configuration of a file, or the defaults. Raises ConfigError with every problem.

    `overrides` are command-line values by their path in the file (`{"origin.url": "http://…"}`).
    """
    raw = _read_toml(path) if path is not None else {}
    source = str(path) if path is not None else "configuration"
    problems: list[str] = []
    overridden: dict[str, str] = {}  # path in the file to the name of the variable that set it
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(_ENV_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(_ENV_PREFIX).lower().partition("__")
            if _override(raw, section, key, value, label=name, problems=problems):
                overridden[f"{section}.{key}"] = name
    for given, value in (overrides or {}).items():
        section, _, key = given.partition(".")
        if _override(raw, section, key, value, label=given, problems=problems):
            overridden.pop(given, None)
    config = _check(raw, problems)
    if config is None:
        named = [_name_override(problem, overridden) for problem in problems]
        raise ConfigError(sorted(named), source=source)
    return config


_ENV_PREFIX = "GATEKEEPER_"
_SECTIONS: dict[str, type[Section]] = {
    "server": ServerConfig,
    "edge": EdgeConfig,
    "origin": OriginConfig,
    "store": StoreConfig,
    "events": EventsConfig,
    "tokens": TokensConfig,
    "admin": AdminConfig,
}
_OTHER_SECTION = dict.fromkeys(ADMISSION_KEYS, "admission") | dict.fromkeys(WAITING_KEYS, "waiting")
_TABLES: dict[str, type[Section]] = _SECTIONS | {"admission": RoomKeys, "waiting": RoomKeys}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(path).decode())
    except OSError as error:
        raise ConfigError([unreadable(error)], source=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([f"not valid TOML: {error}"], source=str(path)) from error


def _override(
    raw: dict[str, Any],
    section: str,
    key: str,
    text: str,
    *,
    label: str,
    problems: list[str],
) -> bool:
    """Set one key: a text key to `text` itself, any other to `text` parsed as a TOML value. A list
    may also be comma-separated, and a list of secrets may be one secret.
    """
    if section not in _TABLES:
        problems.append(f"{label}: {unknown_section(section, _TABLES)}")
        return False
    table = raw.setdefault(section, {})
    if not isinstance(table, dict):
        return False  # reported when the section is checked
    field = _TABLES[section].model_fields.get(key)
    is_text = field is None or isinstance(field.default, str | float)
    value = text if is_text else toml_value(text)
    if isinstance(value, str) and field is not None and field.default == ():
        value = [member.strip() for member in text.split(",")] if field.repr else [text]
    table[key] = value
    return True


def toml_value(text: str) -> object:
    """`text` parsed as a TOML value (`2`, `true`, `["a"]`); if it is none, `text` itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return table["value"] if table.keys() == {"value"} else text


def _name_override(problem: str, overridden: Mapping[str, str]) -> str:
    """`problem` with the name of the variable that set the value, if one did."""
    path, separator, rest = problem.partition(": ")
    label = overridden.get(path.partition("[")[0])
    return f"{path} (from {label}){separator}{rest}" if label else problem


def _check(raw: dict[str, Any], problems: list[str]) -> Config | None:
    """The configuration, or None when there is any problem."""
    checked: dict[str, Section] = {}
    for name in raw.keys() - _TABLES.keys() - {"room", "rule", "event", "lane"}:
        problems.append(f"{name}: {unknown_section(name, _TABLES)}")
    for name, model in _SECTIONS.items():
        section = validated(model, raw.get(name, {}), path=name, problems=problems)
        if section is not None:
            checked[name] = section
    rooms = _checked_rooms(raw, problems)
    origin = checked.get("origin")
    if isinstance(origin, OriginConfig) and origin.is_none:
        rooms = tuple(room.without_origin() for room in rooms)
        tuned = [room.name for room in rooms if room.autotune]
        problems.extend(f"autotune of room {name}: {NOTHING_TO_MEASURE}" for name in tuned)
    rules = _checked_rules(raw, {room.name for room in rooms}, problems)
    schedule = _checked_events(raw, rooms, problems)
    lanes = _checked_lanes(raw, rooms, problems)
    tokens, store = checked.get("tokens"), checked.get("store")
    if (
        isinstance(tokens, TokensConfig)
        and isinstance(store, StoreConfig)
        and store.url != EMBEDDED
        and not (tokens.secrets or tokens.secret_file)
    ):
        problems.append(
            "tokens: no secret for a shared store; expected tokens.secret_file or "
            "tokens.secrets, the same on every replica (`gatekeeper secret` makes one)"
        )
    server, edge = checked.get("server"), checked.get("edge")
    if (
        isinstance(server, ServerConfig)
        and isinstance(edge, EdgeConfig)
        and edge.is_on
        and server.tls
        and "listen" not in server.model_fields_set
    ):
        problems.append(
            "server.tls_cert: not used, because edge.domains is set; expected edge.tls_cert and "
            "edge.tls_key, or server.listen for a port of its own"
        )
    if (
        isinstance(server, ServerConfig)
        and isinstance(origin, OriginConfig)
        and origin.is_none
        and not server.trusted_proxies
    ):
        problems.append(
            'server.trusted_proxies: empty while origin.url is "none"; expected the addresses of '
            "the proxies that ask the gate"
        )
    if problems:
        return None
    rooms = tuple(room.with_lanes(lanes) for room in rooms)
    return Config.model_validate({**checked, "rooms": rooms, "rules": rules, "schedule": schedule})


def _checked_rooms(raw: dict[str, Any], problems: list[str]) -> tuple[RoomConfig, ...]:
    defaults, unknown = _room_defaults(raw, problems)
    tables = _tables(raw, "room", problems)
    if tables is None:
        return ()
    if not tables:
        only = validated(RoomConfig, defaults, path="admission", problems=problems, unknown=unknown)
        return (only,) if isinstance(only, RoomConfig) else ()
    rooms: list[RoomConfig] = []
    for index, table in enumerate(tables):
        path = f"room[{index}]"
        if "name" not in table:
            problems.append(f'{path}.name: missing; expected name = "…"')
        keys, renamed = _without_renamed(table, path=path, problems=problems)
        room = validated(
            RoomConfig,
            defaults | keys,
            path=path,
            problems=problems,
            unknown=(unknown - table.keys()) | renamed,
        )
        if isinstance(room, RoomConfig):
            rooms.append(room)
    for what, values in (
        ("name", [str(room.name) for room in rooms if "name" in room.model_fields_set]),
        ("host and path", [place for room in rooms for place in _places(room)]),
    ):
        for value in sorted({value for value in values if values.count(value) > 1}):
            problems.append(
                f'room: two rooms have the same {what}, "{value}"; expected a different {what}'
            )
    return tuple(rooms)


def _tables(raw: dict[str, Any], key: str, problems: list[str]) -> list[dict[str, Any]] | None:
    """The tables of [[key]]; None, with a problem, if the value is not a list of tables."""
    tables = raw.get(key, [])
    if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
        return tables
    problems.append(f"{key}: not a list of tables; expected [[{key}]]")
    return None


def _places(room: RoomConfig) -> set[str]:
    """The combinations of host, path and query of a room, each as one text."""
    query = f"?{room.query}" if room.query else ""
    hosts = room.host or ("any host",)
    paths = [path.lower() if room.ignore_case else path for path in room.path]
    return {f"{host}{path}{query}" for host in hosts for path in paths}


def _checked_rules(
    raw: dict[str, Any], rooms: Set[RoomName], problems: list[str]
) -> tuple[RuleConfig, ...]:
    tables = _tables(raw, "rule", problems)
    if tables is None:
        return ()
    rules: list[RuleConfig] = []
    for index, table in enumerate(tables):
        path = f"rule[{index}]"
        missing = [key for key in ("name", "action") if key not in table]
        problems.extend(f'{path}.{key}: missing; expected {key} = "…"' for key in missing)
        rule = None if missing else validated(RuleConfig, table, path=path, problems=problems)
        if not isinstance(rule, RuleConfig):
            continue
        if rule.name in [each.name for each in rules]:
            problems.append(f'{path}.name: "{rule.name}" is used twice; expected another name')
        if rule.room and rule.room not in rooms:
            known = ", ".join(sorted(rooms)) or "a [[room]]"
            problems.append(f'{path}.room: no room "{rule.room}"; expected one of {known}')
        rules.append(rule)
    return tuple(rules)


def _checked_lanes(
    raw: dict[str, Any], rooms: Sequence[RoomConfig], problems: list[str]
) -> list[LaneConfig]:
    tables = _tables(raw, "lane", problems)
    if tables is None:
        return []
    found = [
        validated(LaneConfig, table, path=f"lane[{index}]", problems=problems)
        for index, table in enumerate(tables)
    ]
    lanes = [lane for lane in found if isinstance(lane, LaneConfig)]
    named = raw.get("room", [])
    has_all_rooms = isinstance(named, list) and len(rooms) == max(len(named), 1)
    if len(lanes) == len(tables) and has_all_rooms:
        problems.extend(lane_problems(lanes, rooms))
    return lanes


def _checked_events(
    raw: dict[str, Any], rooms: Sequence[RoomConfig], problems: list[str]
) -> tuple[EventConfig, ...]:
    tables = _tables(raw, "event", problems)
    if tables is None:
        return ()
    events: list[EventConfig] = []
    for index, table in enumerate(tables):
        event = checked_event(table, rooms, path=f"event[{index}]", problems=problems)
        if event is not None:
            events.append(event)
    problems.extend(f"event: {problem}" for problem in overlaps(events))
    return tuple(events)


def checked_event(
    table: dict[str, Any], rooms: Sequence[RoomConfig], *, path: str, problems: list[str]
) -> EventConfig | None:
    """Parse a table of [[event]]; None if it is invalid, with its problems added to `problems`."""
    for key in ("name", "start"):
        if key not in table:
            example = '"…"' if key == "name" else "2026-12-01T10:00:00+01:00"
            problems.append(f"{dotted(path, [key])}: missing; expected {key} = {example}")
    settings = {key: value for key, value in table.items() if key in LIVE_KEYS}
    own = {key: value for key, value in table.items() if key not in LIVE_KEYS}
    for old, problem in renamed_keys(table, path=path).items():
        problems.append(f"{dotted(path, [old])}: {problem}")
        del own[old]
    for key in own.keys() - EventConfig.model_fields.keys() | own.keys() & {"settings"}:
        known = [*LIVE_KEYS, *(EventConfig.model_fields.keys() - {"settings"})]
        reason = unknown_key(key, section=path, known=known, elsewhere={})
        problems.append(f"{dotted(path, [key])}: {reason}")
        del own[key]
    wrong = invalid_keys(RoomKeys, settings, path=path, problems=problems)
    if not {"name", "start"} <= own.keys():
        return None
    event = validated(EventConfig, own, path=path, problems=problems)
    if not isinstance(event, EventConfig) or wrong:
        return None
    room = next((each for each in rooms if each.name == event.room), None)
    if room is None:
        names = ", ".join(sorted(each.name for each in rooms)) or "a [[room]]"
        problem = f'no room "{event.room}"; expected one of {names}'
        problems.append(f"{dotted(path, ['room'])}: {problem}")
    else:
        values = {key: getattr(RoomKeys.model_validate(settings), key) for key in settings}
        problems.extend(
            f"{dotted(path, [each.keys[-1]])}: {each.problem}"
            for each in room.model_copy(update=values).conflicts()
        )
    return event.model_copy(update={"settings": settings})


def _room_defaults(raw: dict[str, Any], problems: list[str]) -> tuple[dict[str, Any], set[str]]:
    """The keys of [admission] and [waiting], and those whose value is unknown because it is
    invalid."""
    defaults: dict[str, Any] = {}
    unknown: set[str] = set()
    for section, keys in (("admission", ADMISSION_KEYS), ("waiting", WAITING_KEYS)):
        table = raw.get(section, {})
        if not isinstance(table, dict):
            problems.append(f"{section}: {not_a_table(section)}")
            continue
        current, renamed = _without_renamed(table, path=section, problems=problems)
        for key in current.keys() - keys:
            reason = unknown_key(key, section=section, known=keys, elsewhere=_OTHER_SECTION)
            problems.append(f"{section}.{key}: {reason}")
        known = {key: value for key, value in current.items() if key in keys}
        # An invalid default is reported once, here, and not again for every room.
        wrong = invalid_keys(RoomKeys, known, path=section, problems=problems)
        defaults |= {key: known[key] for key in known.keys() - wrong}
        unknown |= wrong | renamed
    return defaults, unknown


def _without_renamed(
    table: dict[str, Any], *, path: str, problems: list[str]
) -> tuple[dict[str, Any], set[str]]:
    """`table` without renamed keys and values, and the new keys of those."""
    old = renamed_keys(table, path=path)
    old_values = renamed_values(table)
    problems.extend(f"{path}.{key}: {problem}" for key, problem in (old | old_values).items())
    rest = {key: value for key, value in table.items() if key not in old | old_values}
    return rest, {RENAMED_KEYS[key][1] for key in old} | old_values.keys()
