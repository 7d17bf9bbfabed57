"""A simple gate for comparison: an aiohttp application with a store call per request.

python simple_gate.py STORE_URL ROOM_TOML PORT

It does the work of the real gate's polls and arrivals, with the same scripts, tokens and page. Each
request is a task with its own EVALSHA through redis-py, a token by PyJWT, and JSON or a rendered
and compressed template. The template has only the varying numbers as expressions, so it is faster
than a full template.
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
from gatekeeper.policy.pacing import eta_s, poll_interval_s
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId, new_visitor_id
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Script
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from gatekeeper.web.waiting_status import rfc3339

POSITION, AHEAD, LENGTH, ARRIVED = 7_654_321, 7_654_320, 8_765_432, "2001-02-03T04:05:06Z"


class UnbatchedStore:
    """A store client with one call per operation."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> list[bytes]:
        try:
            return await self._redis.evalsha(script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return await self._redis.eval(script.text, len(keys), *keys, *args)


class SimpleGate:
    def __init__(self, store_url: str, config_file: Path) -> None:
        room = load_config(config_file, environ={}).rooms[0]
        self.rules = Rules.of(room)
        self.status = room.status
        self.state: RoomState | None = None
        self.queue = Queue(
            UnbatchedStore(store_url),  # type: ignore[arg-type]
            self.rules,
            replica="simple",
            on_state=self._receive_state,
            newest_known=lambda: None,
        )
        self.template = _template(Pages())

    def _receive_state(self, state: RoomState) -> None:
        self.state = state

    async def poll(self, request: web.Request) -> web.Response:
        claims = jwt.decode(
            request.cookies["gatekeeper"], SECRET, algorithms=["HS256"], audience=self.rules.room
        )
        poll_request = PollRequest(VisitorId(claims["sub"]), claims["arr"], has_pass=False)
        [position] = await self.queue.poll_all([poll_request])
        assert isinstance(position, QueuePosition)
        response = web.json_response(
            self.status_of(position), headers={"Cache-Control": "no-store"}
        )
        if time.time() - claims["iat"] > self.rules.ticket_renewal_s:
            self.set_ticket(response, VisitorId(claims["sub"]), position)
        return response

    async def arrive(self, _request: web.Request) -> web.Response:
        visitor = new_visitor_id()
        request = ArrivalRequest(visitor, may_enter=False)
        [position] = await self.queue._arrive([request])  # noqa: SLF001
        assert isinstance(position, QueuePosition)
        page = self.template.render(self.status_of(position))
        response = web.Response(
            body=gzip.compress(page.encode(), compresslevel=5),
            status=self.status,
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Encoding": "gzip", "Cache-Control": "no-store"},
        )
        self.set_ticket(response, visitor, position)
        return response

    def set_ticket(
        self, response: web.Response, visitor: VisitorId, position: QueuePosition
    ) -> None:
        now_s = time.time()
        claims = {
            "aud": self.rules.room,
            "sub": visitor,
            "arr": position.turn_us,
            "iat": round(now_s, 3),
            "exp": round(now_s + self.rules.ticket_life_s, 3),
        }
        token = jwt.encode(claims, SECRET, algorithm="HS256", headers={"typ": "ticket+jwt"})
        response.set_cookie("gatekeeper", token, max_age=600, httponly=True, samesite="Lax")

    def status_of(self, position: QueuePosition) -> dict[str, object]:
        assert self.state is not None
        rate = self.state.effective_rate_per_minute
        eta = eta_s(position.ahead, rate_per_minute=rate)
        return {
            "state": "waiting",
            "room": self.rules.room,
            "position": position.ahead + 1,
            "ahead": position.ahead,
            "queue_length": self.state.queue_length,
            "eta_seconds": eta,
            "rate_per_minute": rate,
            "refresh_seconds": poll_interval_s(
                position.ahead, rate_per_minute=rate, rules=self.rules
            ),
            "arrived_at": rfc3339(position.turn_us / 1e6),
        }


def _template(pages: Pages) -> jinja2.Template:
    """The real page as a template; the numbers of a visitor are its only expressions."""
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
    gate = SimpleGate(store_url, config_file)
    app = web.Application()
    app.router.add_get("/.gatekeeper/status", gate.poll)
    app.router.add_get("/{rest:.*}", gate.arrive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
