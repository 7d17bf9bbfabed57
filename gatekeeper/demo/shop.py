"""The sample origin: the page of a small record shop on the day of a limited pressing.

Rules. The shop uses only the gate's public interface for origins: it reads `X-Gatekeeper-Visitor`,
and sends `Gatekeeper-Command: revoke` when an order ends a visit. It has one example of every kind
of response for tests through the gate: a page, a form, JSON, server-sent events, a WebSocket, a
slow response. The stock is in memory. The shop counts its requests, so that what the gate forwards
can be checked at the origin.
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
_CART: Final = "cart"  # the origin's own cookie, next to the gate's
_MAX_IN_CART = 8
_TICK_S = 1.0
_MAX_SLOW_S = 30.0
_SOCKET_IDLE_S = 300.0
_SOCKET_BYTES = 64 * 1024
_SHOWN_VISITOR_CHARS = 8


@dataclass(frozen=True, slots=True)
class Record:
    """One product; `sleeve` is the name of its drawing in the template."""

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
    """Requests in progress, their maximum, and the total."""

    concurrent: int = 0
    peak: int = 0
    total: int = 0

    def begin(self) -> None:
        self.concurrent += 1
        self.total += 1
        self.peak = max(self.peak, self.concurrent)

    def end(self) -> None:
        self.concurrent -= 1


class Shop:
    """The request handlers of one shop."""

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
        self.traffic.begin()
        try:
            return await handler(request)
        finally:
            self.traffic.end()

    # The pages.

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
        # Post, redirect, get: reloading the page must not buy another copy.
        response = web.Response(status=303, headers={"Location": "/#cart"})
        if self._stock[number] > 0 and len(in_cart) < _MAX_IN_CART:
            self._stock[number] -= 1
            numbers = ".".join(str(each) for each in (*in_cart, number))
            response.set_cookie(_CART, numbers, path="/", httponly=True, samesite="Lax")
        return response

    async def _leave(self, request: web.Request) -> web.Response:
        page = self._page(
            records=(),
            stock=self._stock,
            cart=[],
            visitor=_shown_visitor(request),
            ordered=request.method == "POST",
        )
        response = _html(page)
        response.headers["Gatekeeper-Command"] = "revoke"  # the gate revokes the pass
        response.del_cookie(_CART, path="/")
        return response

    async def _stylesheet(self, _request: web.Request) -> web.Response:
        return web.Response(
            text=self._css, content_type="text/css", headers={"Cache-Control": "max-age=60"}
        )

    # Other kinds of responses.

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
        """The stock, once a second, until the browser disconnects or the shop closes."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        while not self._closing.is_set():
            left = ",".join(f'"{number}":{copies}' for number, copies in self._stock.items())
            try:
                await response.write(f"event: stock\ndata: {{{left}}}\n\n".encode())
            except ConnectionError:
                break  # the browser disconnected
            await self._closed_within(_TICK_S)
        return response

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            max_msg_size=_SOCKET_BYTES, receive_timeout=_SOCKET_IDLE_S, heartbeat=20
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
        """Respond after `?s=` seconds; the default is 3."""
        try:
            wait_s = float(request.query.get("s", "3"))
        except ValueError:
            raise web.HTTPBadRequest(text="s: not a number; expected seconds\n") from None
        if not 0 <= wait_s <= _MAX_SLOW_S:
            raise web.HTTPBadRequest(text=f"s: out of range; expected 0 to {_MAX_SLOW_S:g}\n")
        await self._closed_within(wait_s)
        return web.Response(text=f"after {wait_s:g} s\n")

    # Shutdown.

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
    """A shop that is serving."""

    url: str
    traffic: Traffic
    stop: Callable[[], Awaitable[None]]


async def start_origin(host: str = "127.0.0.1", port: int = 0) -> RunningOrigin:
    """Serve the shop until `stop()`; port 0 selects a free port. Raises StartError."""
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
    """The first characters of the visitor id; empty without a gate in front."""
    return request.headers.get("X-Gatekeeper-Visitor", "")[:_SHOWN_VISITOR_CHARS]


def _cart_of(request: web.Request) -> list[int]:
    found = [_number_of(each) for each in request.cookies.get(_CART, "").split(".")]
    return [number for number in found if number is not None][:_MAX_IN_CART]


def _number_of(text: str) -> int | None:
    """The number of the record in `text`, if it exists."""
    return next((each.number for each in RECORDS if str(each.number) == text), None)


async def _serve(listen: str) -> None:
    host, port = split_listen(listen)
    origin = await start_origin(host, port)
    print(f"sample shop: listening on {origin.url}", flush=True)  # noqa: T201
    ended = asyncio.Event()
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # PID 1 has no default handlers
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
        print(f"sample shop: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
