"""The fast path of one listener: the state that its connections share, and their shutdown.

Rules. Every client connection starts as a `ClientConnection` or a `SingleExchange`, and is
forgotten when it is closed or handed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain

from gatekeeper.proxy.aiohttp_server import ConnectionHandler
from gatekeeper.proxy.client_address import EDGE_PEER
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.deadlines import TimedConnection
from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines
from gatekeeper.proxy.fastpath.idle_connections import IdleConnection, IdleConnections
from gatekeeper.proxy.fastpath.interface import FastPathPolicy, OpenConnection
from gatekeeper.proxy.fastpath.response_shapes import ResponseShapes
from gatekeeper.proxy.pool import OriginPool


class FastPathServer:
    """The state that all connections of a listener share; calling it makes a new protocol."""

    def __init__(
        self,
        pool: OriginPool,
        *,
        admission: FastPathPolicy,
        handler: Callable[[], ConnectionHandler],
        idle_timeout_s: float,
        client_timeout_s: float,
        file_limit: int = 1 << 20,
        handed_over: Callable[[], Iterable[IdleConnection]] = tuple,
        handshakes: Callable[[], Iterable[IdleConnection]] = tuple,
    ) -> None:
        """`handed_over` are the connections that aiohttp serves; `handshakes` those in their TLS
        handshake."""
        self.pool = pool
        self.responses = ResponseShapes()
        self.admission = admission
        self._new_handler = handler
        self.idle_timeout_s = idle_timeout_s
        self.client_timeout_s = client_timeout_s
        self.first_checks = EqualDeadlines(idle_timeout_s, TimedConnection.check_deadlines)
        self.connections: set[OpenConnection] = set()
        self._idle = IdleConnections(
            lambda: chain(self.connections, handed_over(), handshakes()),
            file_limit=file_limit,
        )
        self.known_closers = 0  # number of known requests from clients that close after them
        self._forgotten: asyncio.Future[None] | None = None
        self.closing = False

    def __call__(self) -> ClientConnection:
        self._idle.accept()
        return ClientConnection(self)

    def count_accepted(self, count: int) -> None:
        """`count` connections were accepted, and have no protocol yet."""
        self._idle.accept(count)

    def make_room(self) -> None:
        """Evict connections: no file is left for a new one."""
        self._idle.check()

    def accept_from_edge(self) -> ClientConnection:
        """A new protocol for a connection on the socket of the edge."""
        self._idle.accept()
        return ClientConnection(self, peer=EDGE_PEER)

    async def close(self, limit_s: float) -> None:
        """Close idle connections now, the others after their current response.

        After `limit_s` seconds the remaining ones are aborted.
        """
        self.closing = True
        self._idle.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self.connections:
                    self._forgotten = asyncio.get_running_loop().create_future()
                    await self._forgotten
        for connection in list(self.connections):
            connection.abort()

    def handler(self, peer: str) -> ConnectionHandler:
        """A new aiohttp protocol for a connection of `peer` that is handed over."""
        handler = self._new_handler()
        handler.is_from_edge = peer == EDGE_PEER
        return handler

    def add(self, connection: OpenConnection) -> None:
        """Count an open connection of this server."""
        self.connections.add(connection)

    def forget(self, connection: OpenConnection) -> None:
        """The connection was closed or handed over."""
        self.connections.discard(connection)
        if self._forgotten is not None and not self._forgotten.done():
            self._forgotten.set_result(None)
