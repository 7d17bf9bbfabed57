"""Rules on requests, checked before rooms: which requests bypass the queue, join it, or are blocked.

Rules of this module. Pure. The first rule that holds decides; a rule holds when all its conditions
do. The strict reading wins: a rule that loosens (`bypass`) holds only if every reading of the request
satisfies it, a rule that tightens (`queue`, `block`) if any reading does. Each condition declares the
facts that it reads, so that a cache knows what its key has to hold. Patterns take linear time
on any input (RE2).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import ClassVar, Literal, Protocol
from urllib.parse import parse_qsl

import re2

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import Fact, RequestFacts
from gatekeeper.policy.readings import host_labels, labels_match, path_of, path_readings

Action = Literal["bypass", "queue", "block"]
Network = IPv4Network | IPv6Network
Quantifier = Callable[[Iterable[object]], bool]


class Condition(Protocol):
    """One condition of a rule; `reads` are the facts that `holds` looks at."""

    reads: ClassVar[Fact]

    @abstractmethod
    def holds(self, facts: RequestFacts, *, every: bool) -> bool:
        """Whether the request satisfies it: in every reading, or in any."""
        ...


@dataclass(frozen=True, slots=True)
class AccessRule:
    """A named rule. `room`: only for requests that fall in this room."""

    name: str
    action: Action
    conditions: tuple[Condition, ...]
    room: RoomName | None = None

    @property
    def reads(self) -> Fact:
        reads = Fact.NONE
        for condition in self.conditions:
            reads |= condition.reads
        return reads

    def holds(self, facts: RequestFacts) -> bool:
        """Whether all conditions hold; without a condition it holds for every request."""
        every = self.action == "bypass"
        return all(condition.holds(facts, every=every) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class MethodCondition:
    """The method is one of these; methods are case-sensitive (RFC 9110 section 9.1)."""

    methods: frozenset[str]
    reads: ClassVar[Fact] = Fact.METHOD

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:  # noqa: ARG002  one reading
        return facts.method in self.methods


@dataclass(frozen=True, slots=True)
class HostCondition:
    """The Host is one of these, as labels; `*` is one label."""

    patterns: tuple[tuple[str, ...], ...]
    reads: ClassVar[Fact] = Fact.HOST

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:  # noqa: ARG002  one reading
        labels = host_labels(facts.client.host)
        return any(labels_match(pattern, labels) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class ClientCondition:
    """The client's address lies in one of these networks."""

    networks: tuple[Network, ...]
    reads: ClassVar[Fact] = Fact.CLIENT

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:  # noqa: ARG002  one reading
        try:
            address = ip_address(facts.client.address)
        except ValueError:
            return False
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class PathCondition:
    """The path matches one of these globs: `*` within a segment, `**` across segments."""

    globs: tuple[str, ...]
    reads: ClassVar[Fact] = Fact.TARGET

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:
        # As it came besides: a bypass does not rest on what `//` means to an origin.
        readings = dict.fromkeys(path_readings(facts.target))
        if every:
            readings[path_of(facts.target)] = None
        quantifier: Quantifier = all if every else any
        return quantifier(
            any(matches(glob, reading, separator="/") for glob in self.globs)
            for reading in readings
        )


@dataclass(frozen=True, slots=True)
class QueryCondition:
    """The query has the parameter `name`, with a value that matches `glob`."""

    name: str
    glob: str = "*"
    reads: ClassVar[Fact] = Fact.TARGET

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:
        query = facts.target.partition("?")[2].partition("#")[0]
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
        return _values_match([v for n, v in pairs if n == self.name], self.glob, every=every)


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """The header field `name` is present with a value that matches `glob`."""

    name: str
    glob: str = "*"
    reads: ClassVar[Fact] = Fact.FIELDS

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:
        return _values_match(facts.fields(self.name), self.glob, every=every)


@dataclass(frozen=True, slots=True)
class CookieCondition:
    """The cookie `name` is present with a value that matches `glob`."""

    name: str
    glob: str = "*"
    reads: ClassVar[Fact] = Fact.COOKIES

    def holds(self, facts: RequestFacts, *, every: bool) -> bool:
        crumbs = [crumb.partition("=") for field in facts.cookies for crumb in field.split(";")]
        values = [
            value.strip().strip('"') for name, _, value in crumbs if name.strip() == self.name
        ]
        return _values_match(values, self.glob, every=every)


def _values_match(values: Sequence[str], glob: str, *, every: bool) -> bool:
    quantifier: Quantifier = all if every else any
    return bool(values) and quantifier(matches(glob, value) for value in values)


def matches(glob: str, text: str, *, separator: str = "") -> bool:
    """Whether the whole of `text` matches. `*` is any text; with a `separator` it stops there, and
    `**` does not."""
    pattern = _compiled(glob, separator)
    return pattern.fullmatch(text.encode("utf-8", "surrogateescape")) is not None


@lru_cache(maxsize=1024)  # as many as an operator writes
def _compiled(glob: str, separator: str) -> re2._Regexp[bytes]:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they came, whatever they spell
    options.dot_nl = True
    across, within = b".*", b"[^%b]*" % separator.encode() if separator else b".*"
    parts = [re2.escape(part.encode()) for part in glob.replace("**", "\0").split("*")]
    return re2.compile(within.join(parts).replace(re2.escape(b"\0"), across), options)
