"""What a CORS preflight never has: a browser sends it without a body, and for no other method.

An origin that reads such a field takes an `OPTIONS` request for a `POST`, so it is no preflight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gatekeeper.policy.facts import Fact, FactSet
from gatekeeper.policy.methods import has_override_field
from gatekeeper.policy.request_readings import RequestReadings


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
        return not has_override_field(facts)
