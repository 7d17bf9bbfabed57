"""The connections of the admin listener: a limited number, and a short idle timeout.

Rules. The supervisor replaces workers, and each needs open files. So the admin listener has at most
`MAX_CONNECTIONS`: one more closes the oldest idle one, or is closed itself. A connection also
counts as idle once its response was sent and it discards the rest of its request. Heads have the
limits of the public listener, and a malformed request is refused as `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Final

from aiohttp.web import Server

from gatekeeper.proxy.aiohttp_server import ConnectionHandler

MAX_CONNECTIONS: Final = 64
KEEP_ALIVE_S: Final = 10.0
WRITE_TIMEOUT_S: Final = 10.0  # for a client that does not read


class AdminConnection(ConnectionHandler):
    """One connection; `server` has the others."""

    __slots__ = ("_limit", "_server")

    def __init__(self, server: Server, *, limit: int = MAX_CONNECTIONS) -> None:
        super().__init__(
            server,
            refuse=refuse_as_json,
            keepalive_timeout=KEEP_ALIVE_S,
            write_timeout_s=WRITE_TIMEOUT_S,
        )
        self._server = server
        self._limit = limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        others = [
            other
            for other in self._server.connections
            if isinstance(other, AdminConnection) and other.transport is not None
        ]
        if len(others) <= self._limit:
            return
        idle = [
            (since_s, number, other)
            for number, other in enumerate(others)
            if other is not self and (since_s := other.idle_since_s) is not None
        ]
        (min(idle)[2] if idle else self).force_close()


def refuse_as_json(_head: bytes, status: int, reason: str) -> bytes:
    """A refusal in the format of the API's errors."""
    body = json.dumps({"error": reason}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
