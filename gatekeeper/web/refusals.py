"""Responses to requests that no parser accepts, in the words and the format of every other error.

Rules. Nothing is decided here, and the head is trusted with nothing but the format and the language
of its own error: fields are searched for in what was received, wherever that breaks off.
"""

from __future__ import annotations

import re

from gatekeeper import metrics
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.web.message import head_of
from gatekeeper.web.responses import Responses

_NEGOTIATION = re.compile(
    rb"^(accept|accept-language):[ \t]*([\x20-\x7e]*)\r?$", re.IGNORECASE | re.MULTILINE
)


class Refusals:
    """Builds refusals from the pages (`own_response.Refuse`)."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses

    def __call__(self, head: bytes, status: int, reason: str) -> bytes:
        """The whole response."""
        metrics.requests.labels("", "bad_request").inc()
        found = {name.lower(): value.decode("ascii") for name, value in _NEGOTIATION.findall(head)}
        facts = RequestFacts(
            Client("", "", ""),
            "GET",
            "/",
            accept=found.get(b"accept", ""),
            accept_language=found.get(b"accept-language", ""),
        )
        response = self._responses.problem(facts, reason, status=status)
        return head_of(response) + b"Connection: close\r\n\r\n" + response.body
