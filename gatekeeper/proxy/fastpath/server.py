"""The express lane of one listener: what its connections share, and how they end together.

Rules. Every client connection begins here, as an `express.ClientConnection`, and is forgotten when
it is closed or handed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gatekeeper.proxy.aiohttp_server import ConnectionHandler
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.interface import FastPathPolicy
from gatekeeper.proxy.pool import OriginPool


class FastPathServer:
    """What all connections of one listener share; `lane()` makes the protocol of a new one."""

    def __init__(
        self,
        pool: OriginPool,
        *,
        admission: FastPathPolicy,
        handler: Callable[[], ConnectionHandler],
        idle_timeout_s: float,
        client_timeout_s: float,
    ) -> None:
        self.pool = pool
        self.admission = admission
        self.handler = handler
        self.idle_timeout_s = idle_timeout_s
        self.client_timeout_s = client_timeout_s
        self.connections: set[ClientConnection] = set()
        self._left: asyncio.Future[None] | None = None
        self.closing = False

    def __call__(self) -> ClientConnection:
        return ClientConnection(self)

    async def close(self, limit_s: float) -> None:
        """Close what is between requests now, the others when their answer is through, and after
        `limit_s` what is left."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_if_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.connections:
                    self._left = asyncio.get_running_loop().create_future()
                    await self._left
        for connection in list(self.connections):
            connection.abort()

    def forget(self, connection: ClientConnection) -> None:
        self.connections.discard(connection)
        if self._left is not None and not self._left.done():
            self._left.set_result(None)
