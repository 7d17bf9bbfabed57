"""The wording of configuration problems: `problem; expected …`, one line each.

Rules: a problem names the value it refuses, except where the value may hold a secret or a
password. It ends with what is expected instead. The caller puts the path of the key in front.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic_core import ErrorDetails

_MAX_SHOWN_CHARACTERS = 60


def shown(value: object) -> str:
    """`value` in the format of the file: one line, shortened if it is long."""
    match value:
        case bool() | str():
            text = json.dumps(value, ensure_ascii=False)
        case int() | float():
            text = f"{value:g}" if isinstance(value, float) else _digits(value)
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case None:
            return "nothing"
        case _:
            text = str(value)
    if len(text) > _MAX_SHOWN_CHARACTERS:
        text = text[: _MAX_SHOWN_CHARACTERS - 2] + ('…"' if isinstance(value, str) else "…")
    # Characters that json does not escape and that are unsafe in a terminal or log: C1 controls,
    # separators.
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def in_ascii(value: object) -> str:
    """The hint for an international name: clients send it as "xn--…"."""
    is_international = isinstance(value, str) and not value.isascii()
    return ', an international name in ASCII ("xn--…")' if is_international else ""


def unknown_key(
    key: str, *, section: str, known: Iterable[str], elsewhere: Mapping[str, str]
) -> str:
    """The problem of an unknown key in `section`; `elsewhere` maps keys of other sections to
    these."""
    if key in elsewhere:
        return f"key of another section; expected {elsewhere[key]}.{key}"
    choices = sorted(known)
    if close := get_close_matches(key, choices, n=1):
        return f"unknown key; expected {section}.{close[0]}"
    return f"unknown key; expected one of {', '.join(choices)}"


def unknown_section(name: str, known: Iterable[str]) -> str:
    lists = {each: f"[[{each}]]" for each in ("room", "rule", "event", "lane")}
    choices = {each: f"[{each}]" for each in known} | lists
    if close := get_close_matches(name, choices, n=1):
        return f"unknown section; expected {choices[close[0]]}"
    return f"unknown section; expected one of {', '.join(sorted(choices.values()))}"


def message(detail: ErrorDetails, *, section: str, known: Iterable[str] = ()) -> str:
    """The problem and the expectation for one error of Pydantic in `section`."""
    limits = detail.get("ctx", {})
    value = shown(detail["input"])
    match detail["type"]:
        case "extra_forbidden":
            return unknown_key(str(detail["loc"][-1]), section=section, known=known, elsewhere={})
        case "missing":
            return f'missing; expected {detail["loc"][-1]} = "…"'
        case "bool_type":
            return f"{value} is not a boolean; expected true or false"
        case "int_type":
            given = detail["input"]
            spelled = repr(given) if isinstance(given, float) else value  # "1000.0", of 1e3
            return f"{spelled} is not a whole number; expected e.g. 10"
        case "string_type":  # the value may be a secret without its quotes
            return 'not a text; expected a text in quotes, e.g. "…"'
        case "tuple_type":
            return 'not a list; expected e.g. ["…", "…"]'
        case "model_type" | "model_attributes_type" | "dict_type":
            return "not a table; expected keys with their values"
        case "greater_than_equal":
            return f"{value} is too small; expected at least {limits['ge']}"
        case "less_than_equal":
            return f"{value} is too large; expected at most {limits['le']}"
        case "string_too_short":
            return "empty; expected at least one character"
        case "string_too_long":
            return f"too long; expected at most {limits['max_length']} characters"
        case "literal_error":
            expected = str(limits["expected"]).replace("'", '"')
            return f"{value} is not allowed; expected {expected}"
        case _:
            return detail["msg"].removeprefix("Value error, ")


def not_a_table(section: str) -> str:
    return f"not a table; expected [{section}]"


def unreadable(error: OSError) -> str:
    """The problem of a file that cannot be read."""
    return f"{error.strerror or 'cannot be read'}; expected a readable file"


def _digits(number: int) -> str:
    # Python refuses to print more than 4300 digits (int.max_str_digits).
    return str(number) if abs(number) < 10**_MAX_SHOWN_CHARACTERS else "a number"
