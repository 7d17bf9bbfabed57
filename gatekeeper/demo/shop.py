"""The sample origin: the page of a small record shop on the day of a limited pressing.

Rules. It knows nothing of the gate but what any origin may: `X-Gatekeeper-Visitor` comes in, and
`Gatekeeper-Command: revoke` goes out when an order ends a visit. Every way in which an origin can
speak is here once, to be tried through the gate: a page, a form, JSON, server-sent events, a
WebSocket, a slow answer. The stock is in memory; nothing else is kept. It counts the requests it
is given, so that what the gate lets through can be seen from this side too.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gatekeeper.config.types import split_listen
from gatekeeper.errors import StartError
from gatekeeper.pages.assets import built_in

_CSS_PATH: Final = "/assets/shop.css"
_CART: Final = "cart"  # the shop's own cookie: what comes and goes beside the gate's
_MOST_IN_CART = 8
_TICK_S = 1.0
_MOST_SLOW_S = 30.0
_SOCKET_SILENCE_S = 300.0
_SOCKET_BYTES = 64 * 1024
_SHOWN_OF_VISITOR = 8


@dataclass(frozen=True, slots=True)
class Record:
    """One thing for sale; `sleeve` names its drawing in the template."""

    number: int
    artist: str
    title: str
    sleeve: str
    price: int
    pressed: int


RECORDS: Final = (
    Record(1, "Marlow & the Tide", "Slack Water", "tide", 29, 300),
    Record(2, "Ines Okafor", "Sunday Engine", "sun", 31, 240),
    Record(3, "Northern Lights", "Eleven Windows", "windows", 27, 200),
    Record(4, "The Quiet Parade", "Ring Road", "rings", 33, 180),
    Record(5, "Ota Brandt", "High Passes", "peaks", 29, 150),
    Record(6, "Lumen Quartet", "Equaliser", "bars", 36, 120),
)


@dataclass(slots=True)
class Traffic:
    """Requests under way, the most there ever were at once, and all of them."""

    concurrent: int = 0
    peak: int = 0
    total: int = 0

    def begins(self) -> None:
        self.concurrent += 1
        self.total += 1
        self.peak = max(self.peak, self.concurrent)

    def ends(self) -> None:
        self.concurrent -= 1


class Shop:
    """The handlers, over one stock."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._stock = {record.number: record.pressed for record in RECORDS}
        self._page = _template()
        self._css = (built_in("static") / "shop.css").read_text()
        self._closing = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._count])
        app.add_routes(
            [
                web.get("/", self._home),
                web.get(_CSS_PATH, self._stylesheet),
                web.post("/cart", self._add_to_cart),
                web.get("/leave", self._leave),
                web.post("/leave", self._leave),
                web.get("/api/stock", self._stock_json),
                web.get("/events", self._events),
                web.get("/ws", self._echo),
                web.get("/slow", self._slow),
                web.get("/stats", self._stats),
            ]
        )
        app.on_shutdown.append(self._end_streams)
        return app

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/stats":
            return await handler(request)
        self.traffic.begins()
        try:
            return await handler(request)
        finally:
            self.traffic.ends()

    # The shop.

    async def _home(self, request: web.Request) -> web.Response:
        in_cart = _cart_of(request)
        page = self._page(
            records=RECORDS,
            stock=self._stock,
            cart=[record for record in RECORDS if record.number in in_cart],
            visitor=_shown_visitor(request),
            ordered=False,
        )
        return _html(page)

    async def _add_to_cart(self, request: web.Request) -> web.Response:
        form = await request.post()
        number = _number_of(str(form.get("record")))
        if number is None:
            raise web.HTTPBadRequest(text="no such record\n")
        in_cart = _cart_of(request)
        # Post, redirect, get: loading the page again must not buy another copy.
        answer = web.Response(status=303, headers={"Location": "/#cart"})
        if self._stock[number] > 0 and len(in_cart) < _MOST_IN_CART:
            self._stock[number] -= 1
            numbers = ".".join(str(each) for each in (*in_cart, number))
            answer.set_cookie(_CART, numbers, path="/", httponly=True, samesite="Lax")
        return answer

    async def _leave(self, request: web.Request) -> web.Response:
        page = self._page(
            records=(),
            stock=self._stock,
            cart=[],
            visitor=_shown_visitor(request),
            ordered=request.method == "POST",
        )
        answer = _html(page)
        answer.headers["Gatekeeper-Command"] = "revoke"  # the gate takes it off, and the pass back
        answer.del_cookie(_CART, path="/")
        return answer

    async def _stylesheet(self, _request: web.Request) -> web.Response:
        return web.Response(
            text=self._css, content_type="text/css", headers={"Cache-Control": "max-age=60"}
        )

    # What machines ask for.

    async def _stock_json(self, _request: web.Request) -> web.Response:
        copies = [
            {"record": each.number, "title": each.title, "left": self._stock[each.number]}
            for each in RECORDS
        ]
        return web.json_response({"stock": copies}, headers={"Cache-Control": "no-store"})

    async def _stats(self, _request: web.Request) -> web.Response:
        traffic = self.traffic
        return web.json_response(
            {"concurrent": traffic.concurrent, "peak": traffic.peak, "total": traffic.total}
        )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """The copies left, once a second, until the browser goes or the shop closes."""
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await answer.prepare(request)
        while not self._closing.is_set():
            left = ",".join(f'"{number}":{copies}' for number, copies in self._stock.items())
            try:
                await answer.write(f"event: stock\ndata: {{{left}}}\n\n".encode())
            except ConnectionError:
                break  # the browser went on, which is no error of ours
            await self._closed_within(_TICK_S)
        return answer

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            max_msg_size=_SOCKET_BYTES, receive_timeout=_SOCKET_SILENCE_S, heartbeat=20
        )
        await socket.prepare(request)
        closing = asyncio.create_task(self._close_with_shop(socket), name="close the echo")
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
                elif message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        except TimeoutError:
            await socket.close()
        finally:
            closing.cancel()
        return socket

    async def _slow(self, request: web.Request) -> web.Response:
        """Answers after `?s=` seconds, 3 unless told."""
        try:
            wait_s = float(request.query.get("s", "3"))
        except ValueError:
            raise web.HTTPBadRequest(text="s: expected seconds\n") from None
        if not 0 <= wait_s <= _MOST_SLOW_S:
            raise web.HTTPBadRequest(text=f"s: expected 0 to {_MOST_SLOW_S:g}\n")
        await self._closed_within(wait_s)
        return web.Response(text=f"after {wait_s:g} s\n")

    # The end.

    async def _end_streams(self, _app: web.Application) -> None:
        self._closing.set()

    async def _close_with_shop(self, socket: web.WebSocketResponse) -> None:
        await self._closing.wait()
        await socket.close()

    async def _closed_within(self, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), timeout_s)
        except TimeoutError:
            return


@dataclass(frozen=True, slots=True)
class RunningOrigin:
    """A shop that serves."""

    url: str
    traffic: Traffic
    stop: Callable[[], Awaitable[None]]


async def start_origin(host: str = "127.0.0.1", port: int = 0) -> RunningOrigin:
    """Serve the shop until `stop()`; port 0 takes a free one. Raises StartError."""
    shop = Shop()
    runner = web.AppRunner(shop.application(), access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    bound = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return RunningOrigin(f"http://{shown}:{bound}", shop.traffic, runner.cleanup)


def _template() -> Callable[..., str]:
    environment = Environment(
        loader=FileSystemLoader(built_in("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("shop.html").render


def _html(page: str) -> web.Response:
    return web.Response(
        text=page, content_type="text/html", headers={"Cache-Control": "private, no-cache"}
    )


def _shown_visitor(request: web.Request) -> str:
    """The first characters of the visitor's id, and nothing when there is no gate in front."""
    return request.headers.get("X-Gatekeeper-Visitor", "")[:_SHOWN_OF_VISITOR]


def _cart_of(request: web.Request) -> list[int]:
    found = [_number_of(each) for each in request.cookies.get(_CART, "").split(".")]
    return [number for number in found if number is not None][:_MOST_IN_CART]


def _number_of(text: str) -> int | None:
    """The record that `text` names, if there is one."""
    return next((each.number for each in RECORDS if str(each.number) == text), None)


async def _serve(listen: str) -> None:
    host, port = split_listen(listen)
    origin = await start_origin(host, port)
    print(f"the sample shop is open at {origin.url}", flush=True)  # noqa: T201
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # process 1 of a container has no default action
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await ended.wait()
    finally:
        await origin.stop()


def main() -> int:
    """`python -m gatekeeper.demo.shop --listen HOST:PORT`."""
    parser = argparse.ArgumentParser(prog="gatekeeper.demo.shop", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:9000", metavar="HOST:PORT")
    try:
        asyncio.run(_serve(parser.parse_args().listen))
    except (StartError, ValueError) as error:
        print(f"origin: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
