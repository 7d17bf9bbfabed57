"""A simple reverse proxy for comparison: an aiohttp handler that forwards with `ClientSession`.

python client_session_proxy.py ORIGIN_HOST:PORT PORT
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


async def serve(origin: str, port: int) -> None:
    async with aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
    ) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = CIMultiDict(
                (name, value)
                for name, value in request.headers.items()
                if name.lower() not in HOP_BY_HOP
            )
            headers["X-Forwarded-For"] = request.remote or ""
            async with session.request(
                request.method,
                f"http://{origin}{request.raw_path}",
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
            ) as upstream:
                response = web.StreamResponse(
                    status=upstream.status,
                    headers=CIMultiDict(
                        (name, value)
                        for name, value in upstream.headers.items()
                        if name.lower() not in HOP_BY_HOP
                    ),
                )
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
