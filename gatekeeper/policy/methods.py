"""Conditions on the method of a request, as an origin could read it.

Rules. Pure. Methods are case-sensitive (RFC 9110 section 9.1), but some origins read them in any
letter case. Some also accept a method override: from a field, or from the parameter `_method`
(WordPress and its shops also for a GET). A rule that tightens applies to both methods, and a rule
that loosens only if it names both. An override in the body is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from gatekeeper.policy.facts import Fact, FactSet, RequestFacts
from gatekeeper.policy.request_readings import RequestReadings

_FIELDS: Final = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
_PARAMETER: Final = "_method"
_READS: Final = Fact.FIELDS | Fact.TARGET


@dataclass(frozen=True, slots=True)
class MethodCondition:
    """The method is one of these; `or_override`: or the override is."""

    methods: frozenset[str]
    or_override: bool = False
    key: ClassVar[str] = "method"

    @property
    def reads(self) -> FactSet:
        return Fact.METHOD | (_READS if self.or_override else Fact.NONE)

    @property
    def value(self) -> str:
        return " or ".join(sorted(self.methods))

    def is_never(self, methods: frozenset[str]) -> bool:
        """Whether this holds for no request with one of these methods."""
        return not self.or_override and self.methods.isdisjoint(methods)

    def holds(self, request: RequestReadings, *, every: bool) -> bool:
        method = request.method
        if method in self.methods or (not every and method.upper() in self.methods):
            return True
        return self.or_override and not self.methods.isdisjoint(_other_methods(request))


@dataclass(frozen=True, slots=True)
class NoOtherMethodCondition:
    """The request has no override to a method other than these."""

    methods: frozenset[str]
    reads: ClassVar[FactSet] = _READS
    key: ClassVar[str] = "request"
    value: ClassVar[str] = "without another method"

    def holds(self, request: RequestReadings, *, every: bool) -> bool:  # noqa: ARG002  one reading
        return self.methods.issuperset(_other_methods(request))


def has_override_field(facts: RequestFacts) -> bool:
    """Whether a field overrides the method."""
    return any(facts.fields(name) or facts.underscored(name) for name in _FIELDS)


def _other_methods(request: RequestReadings) -> set[str]:
    """The overrides of the method. Raises TooManyValues."""
    facts = request.facts
    values = [*request.values(_PARAMETER, every=False)]
    for name in _FIELDS:
        values += [*facts.fields(name), *facts.underscored(name)]
    return {value.strip().upper() for value in values if value.strip()}
