"""Confirms the pass of a visitor whose next request is not in its room.

Rules. The origin may respond to the first request in a room by a redirect out of it (`/checkout` to
`/login`), so the pass that walked straight in is shown again, but not where it counts. Any request
that carries it shows that its client keeps cookies: the store counts the visitor from then on. The
cookie stays as it is; when it has expired, the store is asked for its slot. Looked at once for each
new block of fields, not for those that the fast path recalls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gatekeeper.config.types import RoomName
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.tokens import Pass
from gatekeeper.web.room_gate import RoomGate

# Of all cookies, without the prefix that those behind TLS have.
_NAMES = re.compile(r"(?:^|;)[ \t]*(?:__Host-|__Secure-)?([^=;\s]+)=")


class Confirmations:
    """The rooms of one listener, by the names of their cookies."""

    def __init__(self, gates: Iterable[RoomGate]) -> None:
        self._gates = {gate.credentials.plain_name: gate for gate in gates}

    def confirm(self, facts: RequestFacts, *, but: RoomName | None) -> None:
        """Confirm the passes that this request carries, but those of the room that it is in."""
        for cookies in facts.cookies:
            for name in self._gates.keys() & _NAMES.findall(cookies):
                gate = self._gates[name]
                if gate.admission.config.name != but:
                    _confirm(gate, cookies, is_secure=facts.is_secure)


def _confirm(gate: RoomGate, cookies: str, *, is_secure: bool) -> None:
    admission = gate.admission
    held = gate.credentials.read_cookie(
        cookies,
        secure=is_secure,
        now_s=admission.now_s(),
        revoked=admission.room.view.decisive.revoked,
    )
    if isinstance(held.token, Pass) and not held.token.confirmed:
        admission.confirm_soon(held.token)
