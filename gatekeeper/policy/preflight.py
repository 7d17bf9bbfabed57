"""What a CORS preflight never has: a browser sends it without a body, and for no other method.

An origin that reads such a field takes an `OPTIONS` request for a `POST`, so it is no preflight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from gatekeeper.policy.facts import Fact, FactSet

if TYPE_CHECKING:
    from gatekeeper.policy.access import RequestReadings

_OVERRIDES: Final = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


@dataclass(frozen=True, slots=True)
class PreflightCondition:
    """Without a body, and without a field that stands for another method."""

    reads: ClassVar[FactSet] = Fact.FIELDS
    key: ClassVar[str] = "request"
    value: ClassVar[str] = "without a body and a method override"

    def holds(self, request: RequestReadings, *, every: bool) -> bool:  # noqa: ARG002  one reading
        facts = request.facts
        lengths = facts.fields("Content-Length")
        if facts.fields("Transfer-Encoding") or any(each.strip("0 ") for each in lengths):
            return False
        return not any(facts.fields(name) or facts.underscored(name) for name in _OVERRIDES)
