"""The gate that most would write first: an aiohttp application, a call to the store per request.

python naive_gate.py STORE_URL ROOM_TOML PORT

It does the work of the real one's polls and arrivals, with the same scripts, tokens and page. Each
request is a task, an EVALSHA of its own through redis-py, a token by PyJWT, and a JSON or a
template rendered and compressed. That template holds no expressions but the numbers that differ,
which flatters it.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jinja2
import jwt
import redis.asyncio
import uvloop
from aiohttp import web
from contenders import SECRET

from gatekeeper.config.load import load_config
from gatekeeper.pages.renderer import Pages, WaitingView
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.pacing import eta_s, refresh_s
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room.queue import PollRequest, Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Script
from gatekeeper.web.waiting_status import rfc3339

POSITION, AHEAD, LENGTH, ARRIVED = 7_654_321, 7_654_320, 8_765_432, "2001-02-03T04:05:06Z"


class OneByOne:
    """The store, as most would call it."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> list[bytes]:
        try:
            return await self._redis.evalsha(script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await self._redis.eval(script.text, len(keys), *keys, *args)


class Naive:
    def __init__(self, store_url: str, config_file: Path) -> None:
        room = load_config(config_file, environ={}).rooms[0]
        self.rules = Rules.of(room)
        self.status = room.status
        self.state: RoomState | None = None
        self.queue = Queue(
            OneByOne(store_url),  # type: ignore[arg-type]
            self.rules,
            replica="naive",
            on_state=self._hear,
            newest_known=lambda: None,
        )
        self.template = _template(Pages())

    def _hear(self, state: RoomState) -> None:
        self.state = state

    async def poll(self, request: web.Request) -> web.Response:
        claims = jwt.decode(
            request.cookies["gatekeeper"], SECRET, algorithms=["HS256"], audience=self.rules.room
        )
        asking = PollRequest(VisitorId(claims["sub"]), claims["arr"], has_pass=False)
        [standing] = await self.queue._poll([asking])  # noqa: SLF001
        assert isinstance(standing, QueuePosition)
        response = web.json_response(self.place(standing), headers={"Cache-Control": "no-store"})
        if time.time() - claims["iat"] > self.rules.ticket_renewal_s:
            self.hand_out(response, VisitorId(claims["sub"]), standing)
        return response

    async def arrive(self, _request: web.Request) -> web.Response:
        visitor = new_visitor_id()
        [standing] = await self.queue._arrive([visitor])  # noqa: SLF001
        assert isinstance(standing, QueuePosition)
        page = self.template.render(self.place(standing))
        response = web.Response(
            body=gzip.compress(page.encode(), compresslevel=5),
            status=self.status,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Encoding": "gzip", "Cache-Control": "no-store"},
        )
        self.hand_out(response, visitor, standing)
        return response

    def hand_out(self, response: web.Response, visitor: VisitorId, standing: QueuePosition) -> None:
        now_s = time.time()
        claims = {
            "aud": self.rules.room,
            "sub": visitor,
            "arr": standing.turn_us,
            "iat": round(now_s, 3),
            "exp": round(now_s + self.rules.ticket_life_s, 3),
        }
        token = jwt.encode(claims, SECRET, algorithm="HS256", headers={"typ": "ticket+jwt"})
        response.set_cookie("gatekeeper", token, max_age=600, httponly=True, samesite="Lax")

    def place(self, standing: QueuePosition) -> dict[str, object]:
        assert self.state is not None
        rate = self.state.effective_rate_per_minute
        eta = eta_s(standing.ahead, rate_per_minute=rate)
        return {
            "state": "waiting",
            "room": self.rules.room,
            "position": standing.ahead + 1,
            "ahead": standing.ahead,
            "queue_length": self.state.queue_length,
            "eta_seconds": eta,
            "rate_per_minute": rate,
            "refresh_seconds": refresh_s(standing.ahead, rate_per_minute=rate, rules=self.rules),
            "arrived_at": rfc3339(standing.turn_us / 1e6),
        }


def _template(pages: Pages) -> jinja2.Template:
    """The real page, with the numbers of one visitor as the only expressions."""
    view = WaitingView(
        title="You are in line",
        room="default",
        position=POSITION,
        ahead=AHEAD,
        queue_length=LENGTH,
        eta_seconds=3600,
        rate_per_minute=500.0,
        refresh_seconds=30,
        arrived_at=ARRIVED,
        place_ttl_minutes=10,
    )
    page = pages.waiting(view).body.decode()
    for number, name in ((POSITION, "position"), (AHEAD, "ahead"), (LENGTH, "queue_length")):
        page = page.replace(f"{number:,}", "{{ '{:,}'.format(" + name + ") }}")
        page = page.replace(str(number), "{{ " + name + " }}")
    page = page.replace(ARRIVED, "{{ arrived_at }}")
    assert "{{ position }}" in page or "format(position)" in page
    return jinja2.Environment(autoescape=True).from_string(page)


async def serve(store_url: str, config_file: Path, port: int) -> None:
    naive = Naive(store_url, config_file)
    app = web.Application()
    app.router.add_get("/.gatekeeper/status", naive.poll)
    app.router.add_get("/{rest:.*}", naive.arrive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
