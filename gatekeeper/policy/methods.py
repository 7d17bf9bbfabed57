"""Conditions on the method of a request, as an origin could read it.

Rules. Pure. Methods are case-sensitive (RFC 9110 section 9.1), but some origins read them in any
letter case. Some also take another method in place of the request's own: that of a field, or of the
parameter `_method` (WordPress and its shops do so for a GET as well). A rule that tightens applies
to both methods, and one that loosens only if it names both. What a body names stays unread.
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
    """The method is one of these; `or_override`: or another that an origin may take for it."""

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
    """No origin takes a method for the request's that is none of these."""

    methods: frozenset[str]
    reads: ClassVar[FactSet] = _READS
    key: ClassVar[str] = "request"
    value: ClassVar[str] = "without another method"

    def holds(self, request: RequestReadings, *, every: bool) -> bool:  # noqa: ARG002  one reading
        return self.methods.issuperset(_other_methods(request))


def has_override_field(facts: RequestFacts) -> bool:
    """Whether a field stands for another method."""
    return any(facts.fields(name) or facts.underscored(name) for name in _FIELDS)


def _other_methods(request: RequestReadings) -> set[str]:
    """The methods that an origin may take in place of the request's own. Raises TooManyValues."""
    facts = request.facts
    values = [*request.values(_PARAMETER, every=False)]
    for name in _FIELDS:
        values += [*facts.fields(name), *facts.underscored(name)]
    return {value.strip().upper() for value in values if value.strip()}
