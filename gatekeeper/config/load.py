"""What the operator configures, parsed once at the edge; behind it every value is right.

Rules: an unknown key is an error; all problems are reported at once, each with its path and what
was expected; an environment variable `GATEKEEPER_SECTION__KEY` overrides the file, a command-line
flag overrides both. `gatekeeper.config.schema` has the keys.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gatekeeper.config.schema import (
    ADMISSION_KEYS,
    WAITING_KEYS,
    AdminConfig,
    Config,
    EventsConfig,
    OriginConfig,
    RoomConfig,
    RoomKeys,
    Section,
    ServerConfig,
    StoreConfig,
    TokensConfig,
)
from gatekeeper.errors import ConfigError


def load_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Read, override and check a configuration; raise one `ConfigError` that names every problem.

    `overrides` are command-line values by their path in the file (`{"origin.url": "http://…"}`).
    """
    raw = _read_toml(path) if path is not None else {}
    source = str(path) if path is not None else "configuration"
    problems: list[str] = []
    overridden: dict[str, str] = {}  # path in the file to the name of what set it
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(_ENV_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(_ENV_PREFIX).lower().partition("__")
            if _override(raw, section, key, value, label=name, problems=problems):
                overridden[f"{section}.{key}"] = name
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        if _override(raw, section, key, value, label=dotted, problems=problems):
            overridden.pop(dotted, None)
    config = _check(raw, problems)
    if config is None:
        named = [_name_override(problem, overridden) for problem in problems]
        raise ConfigError(sorted(named), source=source)
    return config


_ENV_PREFIX = "GATEKEEPER_"
_SECTIONS: dict[str, type[Section]] = {
    "server": ServerConfig,
    "origin": OriginConfig,
    "store": StoreConfig,
    "events": EventsConfig,
    "tokens": TokensConfig,
    "admin": AdminConfig,
}
_TABLES: dict[str, type[Section]] = _SECTIONS | {"admission": RoomKeys, "waiting": RoomKeys}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError([error.strerror or "cannot be read"], source=str(path)) from error
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
    """Set one key, as text or, where the key is no text, as the TOML value that `text` spells."""
    if section not in _TABLES:
        problems.append(f"{label}: there is no section [{section}]")
        return False
    table = raw.setdefault(section, {})
    if not isinstance(table, dict):
        return False  # reported when the section is checked
    field = _TABLES[section].model_fields.get(key)
    is_text = field is None or isinstance(field.default, str | float)
    table[key] = text if is_text else _toml_value(text)
    return True


def _toml_value(text: str) -> object:
    """The one TOML value that `text` spells (`2`, `true`, `["a"]`), else `text` itself."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return table["value"] if table.keys() == {"value"} else text


def _name_override(problem: str, overridden: Mapping[str, str]) -> str:
    """`problem`, with the name of the variable that is to be corrected instead of the file."""
    path, separator, rest = problem.partition(": ")
    label = overridden.get(path.partition("[")[0])
    return f"{path} (from {label}){separator}{rest}" if label else problem


def _check(raw: dict[str, Any], problems: list[str]) -> Config | None:
    """The configuration, or None when there is any problem."""
    checked: dict[str, Section] = {}
    for name in raw.keys() - _TABLES.keys() - {"room"}:
        problems.append(f"{name}: unknown section")
    for name, model in _SECTIONS.items():
        section = _validated(model, raw.get(name, {}), path=name, problems=problems)
        if section is not None:
            checked[name] = section
    rooms = _checked_rooms(raw, problems)
    tokens, store = checked.get("tokens"), checked.get("store")
    if (
        isinstance(tokens, TokensConfig)
        and isinstance(store, StoreConfig)
        and store.url != "embedded"
        and not (tokens.secrets or tokens.secret_file)
    ):
        problems.append(
            "tokens: a shared store needs a shared secret: set tokens.secret_file or "
            "tokens.secrets (`gatekeeper secret` makes one)"
        )
    if problems:
        return None
    return Config.model_validate({**checked, "rooms": rooms})


def _checked_rooms(raw: dict[str, Any], problems: list[str]) -> tuple[RoomConfig, ...]:
    defaults: dict[str, Any] = {}
    unknown: set[str] = set()
    for section, keys in (("admission", ADMISSION_KEYS), ("waiting", WAITING_KEYS)):
        table = raw.get(section, {})
        if not isinstance(table, dict):
            problems.append(f"{section}: expected a table")
            continue
        problems.extend(f"{section}.{key}: unknown key" for key in table.keys() - keys)
        known = {key: value for key, value in table.items() if key in keys}
        # A default that is wrong is reported once, here, and not again for every room.
        wrong = _wrong_keys(RoomKeys, known, path=section, problems=problems)
        defaults |= {key: known[key] for key in known.keys() - wrong}
        unknown |= wrong
    tables = raw.get("room", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append("room: expected [[room]] tables")
        return ()
    if not tables:
        only = _validated(
            RoomConfig, defaults, path="admission", problems=problems, unknown=unknown
        )
        return (only,) if isinstance(only, RoomConfig) else ()
    rooms: list[RoomConfig] = []
    for index, table in enumerate(tables):
        path = f"room[{index}]"
        if "name" not in table:
            problems.append(f"{path}.name: missing")
        room = _validated(
            RoomConfig,
            defaults | table,
            path=path,
            problems=problems,
            unknown=unknown - table.keys(),
        )
        if isinstance(room, RoomConfig):
            rooms.append(room)
    for what, values in (
        ("name", [str(room.name) for room in rooms if "name" in room.model_fields_set]),
        ("host and path", [f"{room.host or 'any host'}{room.path}" for room in rooms]),
    ):
        for value in sorted({value for value in values if values.count(value) > 1}):
            problems.append(f"room: two rooms have the same {what}: {value}")
    return tuple(rooms)


def _validated(
    model: type[Section],
    raw: object,
    *,
    path: str,
    problems: list[str],
    unknown: Set[str] = frozenset(),
) -> Section | None:
    """The section, or None; problems of single keys do not hide those between other keys.

    `unknown` are keys whose value is not known, since it was wrong where it was set.
    """
    if not isinstance(raw, dict):
        problems.append(f"{path}: expected a table")
        return None
    wrong = _wrong_keys(model, raw, path=path, problems=problems)
    section = model.model_validate({key: raw[key] for key in raw.keys() - wrong})
    conflicts = [each for each in section.conflicts() if (wrong | unknown).isdisjoint(each.keys)]
    problems.extend(f"{path}.{each.keys[-1]}: {each.problem}" for each in conflicts)
    return None if wrong or conflicts else section


def _wrong_keys(
    model: type[Section], raw: dict[str, Any], *, path: str, problems: list[str]
) -> set[str]:
    """The keys of `raw` that are wrong each for itself, their problems added to `problems`."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems.extend(f"{_dotted(path, each['loc'])}: {_message(each)}" for each in details)
        return {str(each["loc"][0]) for each in details}
    return set()


def _dotted(path: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _message(detail: ErrorDetails) -> str:
    """What was expected, in the words of a person who edits the file."""
    limits = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "missing"
        case "bool_type":
            return "expected true or false"
        case "int_type":
            return "expected a whole number"
        case "string_type":
            return 'expected text in quotes, such as "…"'
        case "tuple_type":
            return 'expected a list, such as ["…", "…"]'
        case "greater_than_equal":
            return f"expected a number of at least {limits['ge']}"
        case "less_than_equal":
            return f"expected a number of at most {limits['le']}"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"expected at most {limits['max_length']} characters"
        case "literal_error":
            return f"expected {limits['expected']}".replace("'", '"')
        case _:
            return detail["msg"].removeprefix("Value error, ")
