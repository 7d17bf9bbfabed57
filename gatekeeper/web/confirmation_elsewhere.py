"""Confirms the pass of a visitor whose next request is not in its room.

Rules. The origin may respond to the first request in a room by a redirect out of it (`/checkout` to
`/login`), so an unconfirmed pass is returned outside of its room. Any request with the pass proves
that its client keeps cookies: it confirms the visitor. The cookie is not changed; if the pass has
expired, the store is asked for its slot. Checked once for each new block of fields, not for those
that the fast path recalls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.tokens import Pass
from gatekeeper.web.room_gate import RoomGate

# The names in a Cookie field, without the prefix of cookies behind TLS.
_NAMES = re.compile(r"(?:^|;)[ \t]*(?:__Host-|__Secure-)?([^=;\s]+)=")


class Confirmations:
    """The rooms of one listener, by the names of their cookies."""

    def __init__(self, gates: Iterable[RoomGate]) -> None:
        self._gates = {gate.credentials.plain_name: gate for gate in gates}

    def confirm(self, facts: RequestFacts, *, but: RoomName | None) -> None:
        """Confirm the passes of this request, except for those of the room that it is in."""
        for cookies in facts.cookies:
            for name in self._gates.keys() & _NAMES.findall(cookies):
                gate = self._gates[name]
                if gate.admission.config.name != but:
                    _confirm(gate, cookies, is_secure=facts.is_secure)


def _confirm(gate: RoomGate, cookies: str, *, is_secure: bool) -> None:
    held = gate.read_cookie(cookies, secure=is_secure)
    if isinstance(held.token, Pass) and not held.token.confirmed:
        gate.admission.confirm_soon(held.token)
