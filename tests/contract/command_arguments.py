"""The arguments of commands, read as strictly as DragonflyDB reads them, and their replies."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

Reply: TypeAlias = "str | int | float | list[Reply] | None"

_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|inf)", re.IGNORECASE)


class ScriptError(Exception):
    """What DragonflyDB would reply as an error; the message begins with its code."""


@lru_cache(maxsize=1000)
def integer(text: str, *, what: str = "value is not an integer or out of range") -> int:
    if not re.fullmatch(r"-?\d{1,19}", text):
        raise ScriptError(f"ERR {what}")
    return int(text)


@lru_cache(maxsize=1000)
def score_of(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ScriptError("ERR value is not a valid float")
    return float(text)


@lru_cache(maxsize=1000)
def bound(text: str) -> tuple[float, bool]:
    """A limit of scores, and whether it excludes itself: `(5`."""
    number = text.removeprefix("(")
    if not _FLOAT.fullmatch(number):
        raise ScriptError("ERR min or max is not a float")
    return float(number), number != text


def range_options(
    options: Sequence[str], allowed: set[str]
) -> tuple[set[str], tuple[int, int] | None]:
    flags: set[str] = set()
    limit: tuple[int, int] | None = None
    rest = list(options)
    while rest:
        word = rest.pop(0).upper()
        if word == "LIMIT" and len(rest) >= 2:
            limit = integer(rest.pop(0)), integer(rest.pop(0))
        elif word in allowed:
            flags.add(word)
        else:
            raise ScriptError("ERR syntax error")
    return flags, limit


def limited(
    pairs: list[tuple[str, float]], limit: tuple[int, int] | None
) -> list[tuple[str, float]]:
    if limit is None:
        return pairs
    offset, count = limit
    if offset < 0:
        return []
    return pairs[offset:] if count < 0 else pairs[offset : offset + count]


def members_of(pairs: list[tuple[str, float]], *, with_scores: bool) -> Reply:
    if with_scores:
        return [part for pair in pairs for part in pair]
    return [member for member, _ in pairs]
