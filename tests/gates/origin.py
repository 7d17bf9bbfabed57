"""Origins: one that records its requests, one that never responds, one that refuses connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests import ports


@dataclass
class Origin:
    """A real origin that records its requests.

    The JSON response describes the request. `/slow` responds when `go` is set; `/stream` begins a
    response that ends when `go` is set; `/done` ends the session by its response; `/ws` echoes each
    message of a WebSocket. `headers` are added to every other response; their `ETag` is validated.
    """

    url: str = ""
    requests: list[web.Request] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    headers: Mapping[str, str] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    @classmethod
    @asynccontextmanager
    async def running(
        cls, *, port: int = 0, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Origin]:
        """A started origin; `port` 0: any free port."""
        origin = cls(headers=headers or {})
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{rest:.*}", origin._respond)
        origin._runner = runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        origin.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield origin
        finally:
            await origin.stop()

    async def stop(self) -> None:
        """Close all connections and stop listening. Idempotent."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.path == "/ws":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"echo {message.data}")
            return socket
        if request.path == "/stream":
            stream = web.StreamResponse(headers=self.headers)
            await stream.prepare(request)
            await stream.write(b"begin")
            await self.go.wait()
            await stream.write(b"end")
            return stream
        if request.path == "/slow":
            await self.go.wait()
        if request.path == "/done":
            return web.Response(text="done", headers={"Gatekeeper-Command": "revoke"})
        etag = self.headers.get("ETag")
        if etag is not None and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=self.headers)
        body = await request.read()
        return web.json_response(
            {
                "path": request.raw_path,
                "method": request.method,
                "visitor": request.headers.get("X-Gatekeeper-Visitor"),
                "room": request.headers.get("X-Gatekeeper-Room"),
                "length": len(body),
            },
            headers=self.headers,
        )


@asynccontextmanager
async def silent_origin() -> AsyncIterator[str]:
    """The URL of an origin that accepts connections and never responds."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def closed_port() -> str:
    """The URL of a port that nothing listens on."""
    return f"http://127.0.0.1:{ports.closed_port()}"
