"""Requests without cookies at a fixed rate, as crawlers, monitors, webhooks and previews send them.

Rules. Each request is a separate client, which keeps nothing of the response. The kinds alternate.
The number in flight is bounded: what exceeds it is counted as skipped and not sent later.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

from gatekeeper.simulate.connection import RawResponse
from gatekeeper.simulate.gate_client import GateClient
from gatekeeper.simulate.gate_response import claims_in, is_forwarded
from gatekeeper.simulate.observer import Observer
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.request_kinds import RequestKind

_MAX_IN_FLIGHT = 256


class Flood:
    """The flood of one run. Call `send_due` at short intervals."""

    def __init__(
        self, plan: CrowdPlan, client: GateClient, observer: Observer, *, now_s: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._client = client
        self._observer = observer
        self.now_s = now_s
        self._kinds = cycle(RequestKind)
        self._due = 0

    def send_due(self, now_s: float) -> None:
        """Send what is due by `now_s`, seconds from the start."""
        record = self._observer.pressure.floods
        due = int(now_s * self._plan.floods)
        while self._due < due:
            self._due += 1
            if record.in_flight >= _MAX_IN_FLIGHT:
                record.skipped += 1
                continue
            record.in_flight += 1
            at = self._due % self._client.addresses
            self._client.send(_FloodRequest(self, next(self._kinds), at), at=at)

    def encode(self, request: _FloodRequest) -> bytes:
        self._observer.pressure.floods.sent += 1
        path = self._plan.paths[self._due % len(self._plan.paths)]
        kind = request.kind
        return self._client.without_token(kind.method, path, fields=kind.fields, at=request.at)

    def complete(self, request: _FloodRequest, raw: RawResponse | str) -> None:
        record = self._observer.pressure.floods
        record.in_flight -= 1
        if isinstance(raw, str):
            record.failures[raw] += 1
        elif not is_forwarded(raw):
            record.turned_away += 1
        elif request.kind is RequestKind.PREFLIGHT:
            record.bypassed += 1  # by a default rule
        else:
            record.forwarded += 1
            self._observer.request_forwarded(
                claims_in(raw), began_s=request.began_s, now_s=self.now_s()
            )


class _FloodRequest:
    """One request, to the address with index `at`."""

    __slots__ = ("_flood", "at", "began_s", "kind")

    def __init__(self, flood: Flood, kind: RequestKind, at: int) -> None:
        self._flood = flood
        self.kind = kind
        self.at = at
        self.began_s = 0.0

    def encode(self) -> bytes:
        self.began_s = self._flood.now_s()
        return self._flood.encode(self)

    def complete(self, raw: RawResponse | str) -> None:
        self._flood.complete(self, raw)
