"""Small applications of aiohttp that a test serves to the gate or to a browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


@asynccontextmanager
async def serving(
    *routes: web.AbstractRouteDef,
    shutdown_timeout_s: float = 0.1,
    most_body_bytes: int = 2**20,
    **options: Any,
) -> AsyncIterator[str]:
    """The URL of a server with these routes. `options` are those of aiohttp's `AppRunner`."""
    app = web.Application(client_max_size=most_body_bytes)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_timeout_s, **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
