"""Every pattern of `re` in the program takes time linear in its input, also for adversarial input.

The patterns are those of all modules, so a new one is checked automatically. For each repetition in
a pattern, the input is a prefix that leads to it, many repetitions, and a byte that ends the match.
Such an input makes a pattern backtrack. Rules of operators are matched by RE2 instead.
"""

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import gatekeeper
from gatekeeper.policy.parameters import _crumbs_named, _parameters_named
from gatekeeper.web.credentials import _value_of

# The parser of `re`, which has no stubs.
op: Any = importlib.import_module("re._constants")
sre: Any = importlib.import_module("re._parser")

_SIZE, _GROWTH = 300, 16
_MAX_RATIO, _NOISE_S = 64.0, 0.004  # linear is 16, quadratic 256 and 75 ms at this size
_ATTEMPTS = 4
_ROUNDS = 3  # of the short input: if it is disturbed, a quadratic pattern looks linear
_PUMPS = " \t;,/.%25aAgk0=_-(+<&:\r\n[x"
_SUFFIXES = ("\x01", "")
_LONG = 1000  # a repetition that a client can make long
_NOT_FROM_CLIENTS = (
    *("gatekeeper.config", "gatekeeper.demo", "gatekeeper.process", "gatekeeper.simulate"),
    "gatekeeper.policy.beacon",
)
Use = Callable[[Any], object]
_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_SEARCHES = ("search", "sub", "subn", "split", "findall", "finditer")  # start at each character


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for module in pkgutil.walk_packages(gatekeeper.__path__, "gatekeeper."):
        if module.name.startswith(_NOT_FROM_CLIENTS) or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value
    for wanted in ("wc-ajax", "a_b", "ä"):
        yield f"cookie {wanted}", _crumbs_named(wanted)
        for pattern in _parameters_named(wanted):
            yield f"parameter {wanted} {pattern.pattern[0]}", pattern
    yield "a token", _value_of("__Host-gatekeeper")


PATTERNS = {pattern.pattern: (name, pattern) for name, pattern in patterns()}.values()


@cache
def members(items: tuple[Any, ...]) -> list[str]:
    """Characters of a class; first those that other patterns also contain."""

    def has(character: str) -> bool:
        code, found, is_negated = ord(character), False, False
        for kind, value in items:
            if kind is op.NEGATE:
                is_negated = True
            elif kind is op.LITERAL:
                found |= code == value
            elif kind is op.RANGE:
                found |= value[0] <= code <= value[1]
            elif kind is op.CATEGORY:
                found |= (
                    re.match({op.CATEGORY_SPACE: r"\s"}.get(value, r"\w"), character) is not None
                )
        return found is not is_negated

    every = [chr(code) for code in range(0x20, 0x100)]
    return [each for each in (*_PUMPS, *every) if has(each)][:5] or [""]


def samples(tree: Any) -> list[str]:
    """Some texts that a part of a pattern matches."""
    found = [""]
    for kind, value in tree:
        parts = [""]
        if kind is op.LITERAL:
            parts = [chr(value)]
        elif kind is op.NOT_LITERAL:
            parts = [each for each in _PUMPS if ord(each) != value][:4]
        elif kind is op.ANY:
            parts = ["a", " "]
        elif kind is op.IN:
            parts = members(tuple(value))
        elif kind is op.BRANCH:
            parts = [each for branch in value[1] for each in samples(branch)]
        elif kind is op.SUBPATTERN:
            parts = samples(value[-1])
        elif kind is op.ATOMIC_GROUP:
            parts = samples(value)
        elif kind in _REPEATS:
            parts = [each * max(value[0], 0) for each in samples(value[2])]
            parts = [*parts, *samples(value[2])] if value[0] == 0 else parts
        found = [before + part for before in found for part in parts][:8]
    return list(dict.fromkeys(found))


def attacks(tree: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """For each long repetition, a prefix that leads to it, and the repeated text."""
    for at, (kind, value) in enumerate(tree):
        start = before + samples(tree[:at])[0]
        if kind in _REPEATS:
            if value[1] >= _LONG:
                for pump in samples(value[2]):
                    yield start, pump
            yield from attacks(value[2], start)
        elif kind is op.SUBPATTERN:
            yield from attacks(value[-1], start)
        elif kind is op.ATOMIC_GROUP:
            yield from attacks(value, start)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from attacks(branch, start)


def cost_s(pattern: re.Pattern[Any], use: Use, text: str) -> float:
    data: Any = text.encode("latin-1") if isinstance(pattern.pattern, bytes) else text
    started_s = time.thread_time()  # without the time of other processes
    use(data)
    return time.thread_time() - started_s


@cache
def names_searched() -> frozenset[str]:
    """The names on which the program calls one of `_SEARCHES`."""
    sources = [path.read_text() for path in Path(gatekeeper.__path__[0]).rglob("*.py")]
    called = rf"(\w+)\.(?:{'|'.join(_SEARCHES)})\b"
    return frozenset(name for source in sources for name in re.findall(called, source))


def uses(name: str, pattern: re.Pattern[Any]) -> list[Use]:
    """The calls by which the program uses a pattern."""
    if " " in name or name.rpartition(".")[2] in names_searched():
        return [pattern.findall]
    return [pattern.fullmatch]


def is_linear(
    pattern: re.Pattern[Any], use: Use, start: str, pump: str, end: str, *, attempts: int = 1
) -> bool:
    sizes = _SIZE, _SIZE * _GROWTH
    short, long = (start + pump * (size // len(pump)) + end for size in sizes)
    for _ in range(attempts):
        long_s = cost_s(pattern, use, long)
        if long_s <= _NOISE_S:
            return True
        short_s = min(cost_s(pattern, use, short) for _ in range(_ROUNDS))
        if long_s <= _MAX_RATIO * short_s + _NOISE_S:
            return True
    return False


@pytest.mark.parametrize(
    ("name", "pattern"), PATTERNS, ids=[name.removeprefix("gatekeeper.") for name, _ in PATTERNS]
)
def test_pattern_takes_linear_time(name: str, pattern: re.Pattern[Any]) -> None:
    tree = sre.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    tried = {(start, pump) for start, pump in attacks(tree) if pump}
    tried |= {("", pump) for _, pump in tried}
    for use in uses(name, pattern):
        for start, pump in sorted(tried):
            for end in _SUFFIXES:
                where = f"{use.__name__} of {name}: {start!r} {pump!r} {end!r}"
                assert is_linear(pattern, use, start, pump, end, attempts=_ATTEMPTS), where


@pytest.mark.parametrize("pattern", [r"^a:[ ]*([ -~]*)\r?$", r"a+$"])
def test_pattern_that_backtracks_is_found(pattern: str) -> None:
    compiled = re.compile(pattern, re.MULTILINE)
    start, pump = next(attacks(sre.parse(pattern)))
    assert not is_linear(compiled, compiled.search, start, pump, "\x01")


def possessive_parts(tree: Any) -> Iterator[Any]:
    """The repeated part of each possessive repetition in a pattern."""
    for kind, value in tree:
        if kind in _REPEATS:
            if kind is op.POSSESSIVE_REPEAT:
                yield value[2]
            yield from possessive_parts(value[2])
        elif kind is op.SUBPATTERN:
            yield from possessive_parts(value[-1])
        elif kind is op.ATOMIC_GROUP:
            yield from possessive_parts(value)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from possessive_parts(branch)


def test_no_pattern_repeats_a_group_possessively() -> None:
    """`(?:…)*+` does not match what it should before Python 3.11.5 (cpython#106052). An atomic
    group, `(?>(?:…)*)`, does, and so does a possessive class such as `[a-z]*+`."""
    single = {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN}

    def has_group(pattern: re.Pattern[Any]) -> bool:
        parts = possessive_parts(sre.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
        return any(len(part) != 1 or part[0][0] not in single for part in parts)

    assert has_group(re.compile("(?:ab)*+"))
    assert not has_group(re.compile("(?>(?:ab)*)[a-z]*+"))
    assert [name for name, pattern in PATTERNS if has_group(pattern)] == []
