"""Rules on requests, checked before rooms: a request bypasses the queue, joins it, or is blocked.

Rules of this module. Pure. The first rule that holds decides; a rule holds when all its conditions
do. The strict reading wins: a rule that loosens (`bypass`) holds only if every reading of the
request satisfies it, a rule that tightens (`queue`, `block`) if any reading does. A failed
condition ends the evaluation of its rule; the facts read so far are reported, so that a cache knows
what its key has to contain.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import ClassVar, Literal, Protocol

from gatekeeper.config.patterns import Matcher, NetworkSet, glob_matcher
from gatekeeper.config.rule_schema import RuleConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Fact, FactSet, RequestFacts, facts_of_field
from gatekeeper.policy.methods import MethodCondition, NoOtherMethodCondition
from gatekeeper.policy.parameters import cookie_values
from gatekeeper.policy.path_patterns import PathPatterns
from gatekeeper.policy.readings import (
    ends_with_dot,
    host_labels,
    labels_match,
    path_of,
)
from gatekeeper.policy.request_readings import RequestReadings

RuleAction = Literal["bypass", "queue", "block"]
_READING = frozenset({"GET", "HEAD"})
_Quantifier = Callable[[Iterable[object]], bool]


class Condition(Protocol):
    """One condition of a rule: `key` and `value` as configured, and the facts that `holds`
    reads."""

    @property
    def reads(self) -> FactSet: ...

    @property
    def key(self) -> str: ...

    @property
    def value(self) -> str: ...

    @abstractmethod
    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        """Whether the request satisfies it: in every reading, or in any."""
        ...


@dataclass(frozen=True, slots=True)
class AccessRule:
    """A named rule. `room`: only for requests that fall in this room. `yields_to_parameters`: it
    does not hold for a request with the parameter of any room."""

    name: str
    action: RuleAction
    conditions: tuple[Condition, ...]
    room: RoomName | None = None
    yields_to_parameters: bool = False
    _prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """A bypass needs the original path to match, so most requests fail by its prefix."""
        prefixes: tuple[str, ...] = ()
        if self.action == "bypass":
            paths = [each for each in self.conditions if isinstance(each, PathCondition)]
            prefixes = next((each.prefixes for each in paths if each.prefixes), ())
        object.__setattr__(self, "_prefixes", prefixes)

    @classmethod
    def of(cls, rule: RuleConfig) -> AccessRule:
        """The rule as configured, conditions that read the least first."""
        conditions = [condition for condition in _conditions(rule) if condition is not None]
        return cls(rule.name, rule.action, tuple(conditions), rule.room or None)

    @property
    def reads(self) -> FactSet:
        """The facts that any condition reads."""
        reads: FactSet = Fact.NONE
        for condition in self.conditions:
            reads |= condition.reads
        return reads

    @property
    def deciding_prefixes(self) -> tuple[str, ...]:
        """The prefixes of all targets for which the request line of a GET or HEAD can decide
        whether this rule holds: none, some, or "/"."""
        if not self.reads & (Fact.METHOD | Fact.TARGET):
            return ()
        for condition in self.conditions:
            if isinstance(condition, MethodCondition) and condition.is_never(_READING):
                return ()
        return self._prefixes or ("/",)

    def evaluate(self, request: RequestReadings) -> tuple[bool, FactSet]:
        """Whether all conditions hold, and the facts that were read for it."""
        if self._prefixes and not request.target.startswith(self._prefixes):
            return False, Fact.TARGET
        every, reads = self.action == "bypass", 0
        for condition in self.conditions:
            reads |= condition.reads
            if not condition.holds(request, every=every):
                return False, reads
        return True, reads


@dataclass(frozen=True, slots=True)
class HostCondition:
    """The Host is one of these; `*` is one label. With a trailing dot, which browsers send
    unchanged, an origin may serve another site, so that no bypass holds."""

    hosts: tuple[str, ...]
    reads: ClassVar[FactSet] = Fact.HOST
    key: ClassVar[str] = "host"
    _patterns: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", tuple(map(host_labels, self.hosts)))

    @property
    def value(self) -> str:
        return _one_of(self.hosts)

    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        if every and ends_with_dot(request.facts.client.host):
            return False
        labels = request.labels
        return any(labels_match(pattern, labels) for pattern in self._patterns)


@dataclass(frozen=True, slots=True)
class ClientCondition:
    """The client's address is in one of these networks."""

    networks: NetworkSet
    reads: ClassVar[FactSet] = Fact.CLIENT
    key: ClassVar[str] = "client"

    @property
    def value(self) -> str:
        count = len(self.networks)
        return "in 1 network" if count == 1 else f"in {count} networks"

    def holds(self, request: RequestReadings, *, every: bool) -> bool:  # noqa: ARG002  one reading
        return request.facts.client.address in self.networks


class PathCondition:
    """The path matches one of these globs or regular expressions (`PathPatterns`)."""

    reads: ClassVar[FactSet] = Fact.TARGET

    def __init__(self, globs: Iterable[str] = (), *, regexes: Iterable[str] = ()) -> None:
        self.globs, self.regexes = tuple(globs), tuple(regexes)
        self._patterns = PathPatterns(self.globs, self.regexes)
        self.prefixes = self._patterns.prefixes

    def __repr__(self) -> str:
        return f"PathCondition({self.globs!r}, regexes={self.regexes!r})"

    @property
    def key(self) -> str:
        return "path_regex" if self.regexes else "path"

    @property
    def value(self) -> str:
        return _one_of(self.regexes or self.globs)

    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        patterns = self._patterns
        if not every:
            return any(starmap(patterns.match_loosely, request.loose_paths.items()))
        # The original path has to match too: a bypass must not depend on how an origin treats `//`.
        if not patterns.match_as_configured(path_of(request.target)):
            return False
        return not request.readings.is_ambiguous and all(map(patterns.match, request.paths))


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A name that has to be present, with a value that matches one of `globs`."""

    name: str
    globs: tuple[str, ...] = ("*",)
    _matchers: tuple[Matcher, ...] = field(init=False, repr=False, compare=False)
    _lowered: tuple[Matcher, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_matchers", tuple(map(glob_matcher, self.globs)))
        lowered = tuple(glob_matcher(glob.lower()) for glob in self.globs)
        object.__setattr__(self, "_lowered", lowered)

    @classmethod
    def of(cls, text: str) -> NamedValue:
        """A parameter as configured: `name` or `name=glob`."""
        name, separator, glob = text.partition("=")
        return cls(name, (glob,)) if separator else cls(name)

    def __str__(self) -> str:
        return f"{self.name}={_one_of(self.globs)}"

    def matches(self, values: Sequence[str], *, every: bool) -> bool:
        """Whether one of the values matches, or every one of them and at least one."""
        quantifier: _Quantifier = all if every else any
        return bool(values) and quantifier(
            any(matches(value) for matches in self._matchers) for value in values
        )

    def is_parameter_of(self, request: RequestReadings) -> bool:
        """Whether an origin may find this parameter in the query, in any letter case."""
        values = request.values(self.name, every=False)
        return any(matches(value.lower()) for matches in self._lowered for value in values)


@dataclass(frozen=True, slots=True)
class QueryCondition:
    """The query has one of these parameters, with a value that matches."""

    parameters: tuple[NamedValue, ...]
    reads: ClassVar[FactSet] = Fact.TARGET
    key: ClassVar[str] = "query"

    @property
    def value(self) -> str:
        return _one_of(map(str, self.parameters))

    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        if not every:
            return any(parameter.is_parameter_of(request) for parameter in self.parameters)
        return any(
            parameter.matches(request.values(parameter.name, every=True), every=True)
            for parameter in self.parameters
        )


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """Every one of these header fields is present, with a value that matches."""

    fields: tuple[NamedValue, ...]
    reads: FactSet = field(init=False, repr=False, compare=False)
    key: ClassVar[str] = "header"
    _dashed: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        reads: FactSet = Fact.NONE
        for each in self.fields:
            reads |= facts_of_field(each.name)
        object.__setattr__(self, "reads", reads)
        object.__setattr__(self, "_dashed", tuple(e.name.replace("_", "-") for e in self.fields))

    @property
    def value(self) -> str:
        return " and ".join(map(str, self.fields))

    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        return all(
            each.matches(_values_of(request.facts, each.name, dashed, every=every), every=every)
            for each, dashed in zip(self.fields, self._dashed, strict=True)
        )


@dataclass(frozen=True, slots=True)
class CookieCondition:
    """Every one of these cookies is present, with a value that matches."""

    cookies: tuple[NamedValue, ...]
    reads: ClassVar[FactSet] = Fact.COOKIES
    key: ClassVar[str] = "cookie"

    @property
    def value(self) -> str:
        return " and ".join(map(str, self.cookies))

    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        fields = request.facts.cookies
        return all(
            each.matches(cookie_values(fields, each.name, every=every), every=every)
            for each in self.cookies
        )


def _values_of(facts: RequestFacts, name: str, dashed: str, *, every: bool) -> Sequence[str]:
    """The values of a field in every reading of its name; with `every` none unless the plain
    reading has it."""
    plain = facts.fields(name)
    if every and not plain:
        return ()
    others = facts.fields(dashed) if dashed != name else ()
    return (*plain, *others, *facts.underscored(name))


def _conditions(rule: RuleConfig) -> Iterable[Condition | None]:
    methods, is_strict = frozenset(rule.method), rule.action == "bypass"
    yield MethodCondition(methods) if methods and is_strict else None
    yield HostCondition(rule.host) if rule.host else None
    yield PathCondition(rule.path) if rule.path else None
    yield PathCondition(regexes=[rule.path_regex]) if rule.path_regex else None
    yield QueryCondition(tuple(map(NamedValue.of, rule.query))) if rule.query else None
    yield ClientCondition(NetworkSet(rule.networks)) if rule.client else None
    # Last, since it reads fields: a route that depends on no fields is shared by visitors.
    yield MethodCondition(methods, or_override=True) if methods and not is_strict else None
    yield FieldCondition(_named(rule.header)) if rule.header else None
    agents = (NamedValue("User-Agent", rule.user_agent),)
    yield FieldCondition(agents) if rule.user_agent else None
    yield CookieCondition(_named(rule.cookie)) if rule.cookie else None
    yield NoOtherMethodCondition(methods) if methods and is_strict else None


def _one_of(texts: Iterable[str]) -> str:
    return " or ".join(texts)


def _named(table: Mapping[str, tuple[str, ...]]) -> tuple[NamedValue, ...]:
    return tuple(NamedValue(name, globs) for name, globs in table.items())
