"""Validates one section by its model and reports every problem with the path of its key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

from pydantic import ValidationError

from gatekeeper.config.problems import message, not_a_table
from gatekeeper.config.schema import AdminToken
from gatekeeper.config.section import Section


def validated(
    model: type[Section],
    raw: object,
    *,
    path: str,
    problems: list[str],
    unknown: Set[str] = frozenset(),
) -> Section | None:
    """The section, or None if it is invalid. An invalid key does not hide the conflicts between
    other keys. `unknown`: keys without a known value, because it was invalid where it was set.
    """
    if not isinstance(raw, dict):
        problems.append(f"{path}: {not_a_table(path)}")
        return None
    wrong = invalid_keys(model, raw, path=path, problems=problems)
    if any(model.model_fields[key].is_required() for key in wrong & model.model_fields.keys()):
        return None
    section = model.model_validate({key: raw[key] for key in raw.keys() - wrong})
    has_unknown_key = not wrong <= model.model_fields.keys()
    conflicts = [
        each
        for each in section.conflicts()
        if (wrong | unknown).isdisjoint(each.keys) and not (each.is_missing_key and has_unknown_key)
    ]
    problems.extend(f"{dotted(path, [each.keys[-1]])}: {each.problem}" for each in conflicts)
    return None if wrong or conflicts else section


def invalid_keys(
    model: type[Section], raw: dict[str, Any], *, path: str, problems: list[str]
) -> set[str]:
    """The keys of `raw` that are invalid by themselves; their problems are added to `problems`.

    `path` is the path of `raw` in the file; "" for keys without a section."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for each in details:
            # In a table of texts, Pydantic marks an invalid key by an extra part of the location.
            location = _location(raw, [part for part in each["loc"] if part != "[key]"])
            parents = location[:-1]
            reason = message(each, section=dotted(path, parents), known=_keys_at(model, parents))
            problems.append(f"{dotted(path, location)}: {reason}")
        return {str(each["loc"][0]) for each in details}
    return set()


def _location(raw: object, parts: list[int | str]) -> list[int | str]:
    """The path to a value in the file, where a text may stand for a list of one."""
    for at, part in enumerate(parts):
        if isinstance(raw, str):
            return parts[:at]
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
    return parts


def _keys_at(model: type[Section], parents: Sequence[int | str]) -> Iterable[str]:
    """The keys of a table: of `model` itself, or of the table within a section."""
    return (AdminToken if parents else model).model_fields


def dotted(path: str, location: Sequence[int | str]) -> str:
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")
