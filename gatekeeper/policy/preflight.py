"""The condition of a CORS preflight: a browser sends it without a body and without a method
override. An origin that reads an override treats the `OPTIONS` request as a `POST`, so it is not a
preflight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gatekeeper.policy.facts import Fact, FactSet
from gatekeeper.policy.methods import has_override_field
from gatekeeper.policy.request_readings import RequestReadings


@dataclass(frozen=True, slots=True)
class PreflightCondition:
    """The request has no body, and no field that overrides the method."""

    reads: ClassVar[FactSet] = Fact.FIELDS
    key: ClassVar[str] = "request"
    value: ClassVar[str] = "without a body and a method override"

    def holds(self, request: RequestReadings, *, every: bool) -> bool:  # noqa: ARG002  one reading
        facts = request.facts
        lengths = facts.fields("Content-Length")
        if facts.fields("Transfer-Encoding") or any(each.strip("0 ") for each in lengths):
            return False
        return not has_override_field(facts)
