"""A Git server over smart HTTP: `git http-backend` as CGI, behind aiohttp."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.web_app import serving

_TIMEOUT_S = 60.0


@asynccontextmanager
async def running_git_server(root: Path, *, git: str) -> AsyncIterator[str]:
    """The URL of a server of the repositories below `root`; every client may push."""

    async def serve(request: web.Request) -> web.Response:
        environment = {
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "visitor",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.rel_url.raw_query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        }
        body = await request.read()
        environment["CONTENT_LENGTH"] = str(len(body))
        # In a thread: a pipe of the event loop fails where a process ends without reading it.
        backend = await asyncio.to_thread(
            subprocess.run,
            (git, "http-backend"),
            env=environment,
            input=body,
            stdout=subprocess.PIPE,
            check=True,
            timeout=_TIMEOUT_S,
        )
        head, _, content = backend.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(fields.pop("Status", "200").split(" ")[0])
        return web.Response(status=status, headers=fields, body=content)

    route = web.route("*", "/{path:.*}", serve)
    async with serving(route, most_body_bytes=2**30, auto_decompress=False) as url:
        yield url
