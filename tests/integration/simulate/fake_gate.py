"""A small gate in memory, honest unless it is told how to cheat.

It keeps the outside of the real one: the endpoints under `/.gatekeeper/`, tokens with the same
claims in a cookie or a header, and the operator's figures. Tokens are known by their bytes.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from aiohttp import web

REFRESH_S = 0.2


@dataclass(frozen=True)
class Cheats:
    """What is wrong with this gate."""

    every_nth_enters_at_once: int = 0
    releases_backwards: bool = False
    believes_everything: bool = False
    honours_spent_tickets: bool = False
    forgets_the_fifth: bool = False
    moves_everybody: bool = False
    turns_the_admitted_back: bool = False
    times_faster_than_told: float = 1.0
    tells_no_claims: bool = False
    fails: bool = False
    hides_positions: bool = False
    one_replica_knows_no_pass: bool = False
    counts_nobody: bool = False
    forgets_the_watermark: bool = False
    asks_back_after_s: float = REFRESH_S
    lets_in_after_s: float = 0.0  # they are released


@dataclass
class Person:
    arrival_us: int
    number: int
    admitted: bool = False
    gone: bool = False
    told_from_s: float = 0.0


@dataclass
class FakeGate:
    """Serves on a port of its own, its origin included."""

    rate_per_minute: float = 1800.0
    burst: int = 2
    max_active: int = 0
    cheats: Cheats = field(default_factory=Cheats)
    url: str = ""
    people: dict[str, Person] = field(default_factory=dict)
    line: list[Person] = field(default_factory=list)
    released_total: int = 0
    watermark_us: int = 0
    active: int = 0
    asked_at: Counter[int] = field(default_factory=Counter)
    _runner: web.AppRunner | None = None
    _numbers: Iterator[int] = field(default_factory=count)
    _level: float = 0.0
    _filled_s: float = 0.0

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
                web.get("/{rest:.*}", self._site),
            ]
        )
        self._level, self._filled_s = self.burst, time.monotonic()
        self._runner = runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def another(self) -> AsyncIterator[str]:
        """A second address of the same gate."""
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{self._runner.addresses[1][1]}"
        finally:
            await site.stop()

    # The line.

    def _arrive(self) -> tuple[Person, str]:
        number = next(self._numbers)
        person = Person(time.time_ns() // 1000 + number, number)
        self._release()
        nth = self.cheats.every_nth_enters_at_once
        if nth and number % nth == nth - 1:
            self._enter(person)
        elif not self.line and self._free():
            self._level -= 1
            self._enter(person)
        else:
            self.line.append(person)
        return person, self._token(person)

    def _release(self) -> None:
        now_s = time.monotonic()
        rate_per_s = self.rate_per_minute / 60 * self.cheats.times_faster_than_told
        self._level = min(self.burst, self._level + (now_s - self._filled_s) * rate_per_s)
        self._filled_s = now_s
        while self.line and self._free():
            self._level -= 1
            self.released_total += 1
            person = self.line.pop(-1 if self.cheats.releases_backwards else 0)
            self.watermark_us = max(self.watermark_us, person.arrival_us)
            person.told_from_s = now_s + self.cheats.lets_in_after_s
            self._enter(person)

    def _free(self) -> bool:
        return self._level >= 1

    def _enter(self, person: Person) -> None:
        person.admitted = True
        self.active += 1

    def _token(self, person: Person) -> str:
        if self.cheats.tells_no_claims:
            raw = secrets.token_hex(20)
        else:
            kind = "pass+jwt" if person.admitted else "ticket+jwt"
            if self.cheats.moves_everybody:
                person.arrival_us += 1_000_000
            claims = {
                "sub": f"v{person.number:021}",
                "arr": person.arrival_us,
                "exp": 2_000_000_000,
            }
            parts = ({"typ": kind, "alg": "HS256"}, claims)
            texts = [_base64url(json.dumps(part).encode()) for part in parts]
            raw = ".".join([*texts, secrets.token_urlsafe(32)])
        self.people[raw] = person
        return raw

    def _known(self, request: web.Request) -> Person | None:
        raw = request.headers.get("X-Queue-Token") or request.cookies.get("gatekeeper", "")
        if raw and raw not in self.people and self.cheats.believes_everything:
            self.people[raw] = Person(0, -1, admitted=True)
        person = self.people.get(raw)
        if person is None or (person.gone and not self.cheats.honours_spent_tickets):
            return None
        return person

    def _standing(self, person: Person) -> dict[str, object]:
        if person.admitted and time.monotonic() >= person.told_from_s:
            return {"state": "admitted", "expires_at": "2100-01-01T00:00:00Z"}
        position = 1 if person.admitted else self.line.index(person) + 1
        return {
            "state": "waiting",
            "position": None if self.cheats.hides_positions else position,
            "eta_seconds": position * 60 / self.rate_per_minute,
            "rate_per_minute": self.rate_per_minute,
            "refresh_seconds": self.cheats.asks_back_after_s,
        }

    # The endpoints.

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _enqueue(self, _request: web.Request) -> web.Response:
        if self.cheats.fails:
            return web.json_response({"error": "out of order"}, status=500)
        person, token = self._arrive()
        return web.json_response(self._standing(person) | {"token": token}, status=201)

    async def _status(self, request: web.Request) -> web.Response:
        self.asked_at[request.url.port or 0] += 1
        self._release()
        person = self._known(request)
        if person is None or (self.cheats.forgets_the_fifth and person.number == 5):
            return web.json_response({"state": "none"})
        answer = web.json_response(self._standing(person))
        if self.cheats.moves_everybody and not person.admitted:
            answer.headers["X-Queue-Token"] = self._token(person)
        return answer

    async def _leave(self, request: web.Request) -> web.Response:
        person = self._known(request)
        if person is not None:
            person.gone = True
            self.active -= person.admitted
            if person in self.line:
                self.line.remove(person)
        return web.json_response({"state": "none"})

    async def _site(self, request: web.Request) -> web.Response:
        person = self._known(request)
        first = self.asked_at and request.url.port == min(self.asked_at)
        if self.cheats.one_replica_knows_no_pass and person and person.admitted and first:
            waiting = {"state": "waiting", "position": 1, "refresh_seconds": 1}
            return web.json_response(waiting, status=503)
        headers = {}
        if person is None:
            person, token = self._arrive()
            if "text/html" in request.headers.get("Accept", ""):
                headers["Set-Cookie"] = f"gatekeeper={token}; Path=/; HttpOnly"
            else:
                headers["X-Queue-Token"] = token
        if person.admitted and not self.cheats.turns_the_admitted_back:
            return web.Response(text="the shop", headers=headers)
        if person.admitted:
            waiting = {"state": "waiting", "position": 1, "refresh_seconds": 1}
            return web.json_response(waiting, status=503, headers=headers)
        answer = web.json_response(self._standing(person), status=503, headers=headers)
        answer.headers["Retry-After"] = "1"
        return answer

    async def _admin(self, _request: web.Request) -> web.Response:
        forgets = self.cheats.forgets_the_watermark
        room = {
            "room": "default",
            "rate_per_minute": self.rate_per_minute,
            "queue_length": len(self.line),
            "active": self.active,
            "max_active": self.max_active,
            "released_total": 0 if self.cheats.counts_nobody else self.released_total,
            "watermark": self.watermark_us if not forgets else int(self.released_total == 0),
        }
        return web.json_response({"rooms": [room]})


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
