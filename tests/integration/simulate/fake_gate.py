"""A small gate in memory, correct unless it has defects.

It has the interfaces of the real gate: the endpoints under `/.gatekeeper/`, tokens with the same
claims in a cookie or a header, and the figures of the admin listener. Tokens are compared byte by
byte. A newcomer is in line after the first poll, and no later visitor is released before the
newcomer had time for that poll. A release that is not claimed gives its admission back, and the
second one costs the place.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from aiohttp import web

from tests.simulated_time import TimeOfDay

POLL_INTERVAL_S = 0.2
FAR_POLL_INTERVAL_S = 0.6  # for a place that is not released within the next second
CONFIRM_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Defects:
    """The defects of this gate."""

    every_nth_admitted_on_arrival: int = 0
    releases_newest_first: bool = False
    accepts_any_token: bool = False
    accepts_spent_tickets: bool = False
    loses_fifth_visitor: bool = False
    changes_arrivals: bool = False
    denies_admitted: bool = False
    rate_factor: float = 1.0
    opaque_tokens: bool = False
    fails: bool = False
    hides_positions: bool = False
    one_replica_rejects_passes: bool = False
    reports_no_releases: bool = False
    resets_watermark: bool = False
    poll_interval_s: float = POLL_INTERVAL_S
    admits_after_s: float = 0.0  # seconds from the release to the admitted response
    ranks_unconfirmed: bool = False
    keeps_missed_admissions: bool = False
    never_moves_lurkers: bool = False


@dataclass
class FakeVisitor:
    arrival_us: int
    number: int
    admitted: bool = False
    left: bool = False
    admitted_from_s: float = 0.0
    claimed: bool = False
    confirmed: bool = False
    released_s: float = 0.0
    misses: int = 0
    is_moved: bool = False


@dataclass
class FakeGate:
    """Serves gate, origin and admin listener on one port."""

    rate_per_minute: float = 1800.0
    burst: int = 2
    max_active: int = 0
    claim_timeout_s: float = 60.0
    defects: Defects = field(default_factory=Defects)
    url: str = ""
    visitors: dict[str, FakeVisitor] = field(default_factory=dict)
    queue: list[FakeVisitor] = field(default_factory=list)
    released: list[FakeVisitor] = field(default_factory=list)  # and have not claimed yet
    released_total: int = 0
    abandoned_total: int = 0
    watermark_us: int = 0
    active: int = 0
    polls_by_port: Counter[int] = field(default_factory=Counter)
    _runner: web.AppRunner | None = None
    _numbers: Iterator[int] = field(default_factory=count)
    _level: float = 0.0
    _filled_s: float = 0.0
    _last_arrival_us: int = 0
    _newcomers: deque[FakeVisitor] = field(default_factory=deque)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeGate]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.gatekeeper/health", self._health),
                web.get("/.gatekeeper/status", self._status),
                web.post("/.gatekeeper/enqueue", self._enqueue),
                web.post("/.gatekeeper/leave", self._leave),
                web.get("/admin/status", self._admin),
                *self._more_routes(),
                web.get("/{rest:.*}", self._site, allow_head=False),
                web.route("*", "/{rest:.*}", self._turn_away),
            ]
        )
        self._level, self._filled_s = self.burst, self._loop_s()
        self._runner = runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def second_address(self) -> AsyncIterator[str]:
        """A second address of the same gate."""
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{self._runner.addresses[1][1]}"
        finally:
            await site.stop()

    def _more_routes(self) -> list[web.RouteDef]:
        return []

    # The queue.

    def _arrive(self) -> tuple[FakeVisitor, str]:
        number = next(self._numbers)
        visitor = FakeVisitor(self._next_arrival_us(), number)
        self._release()
        nth = self.defects.every_nth_admitted_on_arrival
        if nth and number % nth == nth - 1:
            self._admit(visitor)
        elif not self.queue and self._has_token() and self._level * 2 > self.burst:
            self._level -= 1
            self._admit(visitor)
        elif self.defects.ranks_unconfirmed:
            self._enter_line(visitor)
        else:
            self._newcomers.append(visitor)
        return visitor, self._token(visitor)

    def _next_arrival_us(self) -> int:
        self._last_arrival_us = max(self._last_arrival_us + 1, TimeOfDay.time_ns() // 1000)
        return self._last_arrival_us

    @staticmethod
    def _loop_s() -> float:
        return asyncio.get_running_loop().time()

    def _enter_line(self, visitor: FakeVisitor) -> None:
        visitor.confirmed = True
        self.queue.append(visitor)
        self.queue.sort(key=self._turn_us)

    def _turn_us(self, visitor: FakeVisitor) -> int:
        return visitor.arrival_us

    def _expire(self, now_s: float) -> None:
        for visitor in self.released:
            if now_s - visitor.released_s > self.claim_timeout_s:
                visitor.admitted = visitor.confirmed = False
                visitor.misses += 1
                self.active -= 1
                self.abandoned_total += 1
                self._level += not self.defects.keeps_missed_admissions
                if visitor.misses >= 2 and not self.defects.never_moves_lurkers:
                    visitor.arrival_us = self._next_arrival_us()
                    visitor.is_moved = True
        self.released = [each for each in self.released if each.admitted and not each.claimed]

    def _release(self) -> None:
        now_s = self._loop_s()
        rate_per_s = self.rate_per_minute / 60 * self.defects.rate_factor
        self._level = min(self.burst, self._level + (now_s - self._filled_s) * rate_per_s)
        self._filled_s = now_s
        self._expire(now_s)
        while self.queue and self._has_token() and self._is_first(self.queue[0]):
            self._level -= 1
            self.released_total += 1
            visitor = self.queue.pop(-1 if self.defects.releases_newest_first else 0)
            self.watermark_us = max(self.watermark_us, visitor.arrival_us)
            visitor.admitted_from_s = now_s + self.defects.admits_after_s
            visitor.released_s = now_s
            self.released.append(visitor)
            self._admit(visitor)

    def _is_first(self, visitor: FakeVisitor) -> bool:
        """Whether no newcomer ahead of it can still confirm."""
        since_us = TimeOfDay.time_ns() // 1000 - round(CONFIRM_TIMEOUT_S * 1e6)
        while self._newcomers and (
            (first := self._newcomers[0]).confirmed or first.left or first.arrival_us < since_us
        ):
            self._newcomers.popleft()
        return not self._newcomers or self._turn_us(visitor) < self._turn_us(first)

    def _has_token(self) -> bool:
        return self._level >= 1

    def _admit(self, visitor: FakeVisitor) -> None:
        visitor.admitted = True
        self.active += 1

    def _token(self, visitor: FakeVisitor) -> str:
        if self.defects.opaque_tokens:
            raw = secrets.token_hex(20)
        else:
            kind = "pass+jwt" if visitor.admitted else "ticket+jwt"
            if self.defects.changes_arrivals:
                visitor.arrival_us += 1_000_000
            claims = {
                "sub": f"v{visitor.number:021}",
                "arr": visitor.arrival_us,
                "exp": 2_000_000_000,
                **self._more_claims(visitor),
            }
            parts = ({"typ": kind, "alg": "HS256"}, claims)
            texts = [_base64url(json.dumps(part).encode()) for part in parts]
            raw = ".".join([*texts, secrets.token_urlsafe(32)])
        self.visitors[raw] = visitor
        return raw

    def _more_claims(self, visitor: FakeVisitor) -> dict[str, object]:  # noqa: ARG002
        return {}

    def _visitor_of(self, request: web.Request) -> FakeVisitor | None:
        raw = request.headers.get("X-Queue-Token") or request.cookies.get("gatekeeper", "")
        if raw and raw not in self.visitors and self.defects.accepts_any_token:
            self.visitors[raw] = FakeVisitor(0, -1, admitted=True)
        visitor = self.visitors.get(raw)
        if visitor is None or (visitor.left and not self.defects.accepts_spent_tickets):
            return None
        return visitor

    def _state_of(self, visitor: FakeVisitor) -> dict[str, object]:
        if visitor.admitted and self._loop_s() >= visitor.admitted_from_s:
            visitor.claimed = True
            return {"state": "admitted", "expires_at": "2100-01-01T00:00:00Z"}
        if visitor in self.queue:
            position = self.queue.index(visitor) + 1
        else:
            position = 1 if visitor.admitted else len(self.queue) + 1
        return {
            "state": "waiting",
            "position": None if self.defects.hides_positions else position,
            "queue_length": len(self.queue),
            "eta_seconds": position * 60 / self.rate_per_minute,
            "rate_per_minute": self.rate_per_minute,
            "refresh_seconds": self.defects.poll_interval_s
            if position <= self.rate_per_minute / 60
            else max(self.defects.poll_interval_s, FAR_POLL_INTERVAL_S),
        }

    # The endpoints.

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _enqueue(self, _request: web.Request) -> web.Response:
        if self.defects.fails:
            return web.json_response({"error": "defect"}, status=500)
        visitor, token = self._arrive()
        return web.json_response(self._state_of(visitor) | {"token": token}, status=201)

    async def _status(self, request: web.Request) -> web.Response:
        self.polls_by_port[request.url.port or 0] += 1
        visitor = self._visitor_of(request)
        if visitor is not None and not (visitor.confirmed or visitor.admitted):
            self._enter_line(visitor)
        self._release()
        if visitor is None or (self.defects.loses_fifth_visitor and visitor.number == 5):
            return web.json_response({"state": "none"})
        response = web.json_response(self._state_of(visitor))
        if visitor.is_moved or (self.defects.changes_arrivals and not visitor.admitted):
            visitor.is_moved = False
            response.headers["X-Queue-Token"] = self._token(visitor)
        return response

    async def _leave(self, request: web.Request) -> web.Response:
        visitor = self._visitor_of(request)
        if visitor is not None:
            visitor.left = True
            self.active -= visitor.admitted
            if visitor in self.queue:
                self.queue.remove(visitor)
        return web.json_response({"state": "none"})

    async def _site(self, request: web.Request) -> web.Response:
        visitor = self._visitor_of(request)
        first = self.polls_by_port and request.url.port == min(self.polls_by_port)
        if self.defects.one_replica_rejects_passes and visitor and visitor.admitted and first:
            waiting = {"state": "waiting", "position": 1, "refresh_seconds": 1}
            return web.json_response(waiting, status=503)
        headers = {}
        if visitor is None:
            visitor, token = self._arrive()
            if "text/html" in request.headers.get("Accept", ""):
                headers["Set-Cookie"] = f"gatekeeper={token}; Path=/; HttpOnly"
            else:
                headers["X-Queue-Token"] = token
        if visitor.admitted and not self.defects.denies_admitted:
            return web.Response(text="the shop", headers=headers)
        if visitor.admitted:
            waiting = {"state": "waiting", "position": 1, "refresh_seconds": 1}
            return web.json_response(waiting, status=503, headers=headers)
        response = web.json_response(self._state_of(visitor), status=503, headers=headers)
        response.headers["Retry-After"] = "1"
        return response

    async def _turn_away(self, _request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"X-Gatekeeper-State": "waiting"})

    async def _admin(self, _request: web.Request) -> web.Response:
        resets = self.defects.resets_watermark
        room = {
            "room": "default",
            "rate_per_minute": self.rate_per_minute,
            "queue_length": len(self.queue),
            "active": self.active,
            "max_active": self.max_active,
            "mode": "auto",
            "abandoned_total": self.abandoned_total,
            "released_total": 0 if self.defects.reports_no_releases else self.released_total,
            "watermark": self.watermark_us if not resets else int(self.released_total == 0),
        }
        return web.json_response({"rooms": [room]})


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
