"""The connection pool of the origin.

Rules: last in, first out, so that few connections stay in use and the others expire. A connection
that was idle for as long as the keep-alive timeout of common servers is not reused. For a request
that cannot be repeated the limit is lower, to avoid a race with a close by the origin.
"""

from __future__ import annotations

import asyncio
import ssl

from yarl import URL

from gatekeeper.config.schema import OriginConfig
from gatekeeper.errors import OriginTimeout, OriginUnreachable, StartError
from gatekeeper.proxy.upstream import OriginConnection

MAX_IDLE_S = 4.0  # Node, uvicorn and Apache close after 5 s
FRESH_IDLE_S = 1.0  # gunicorn closes after 2 s


def authority_of(origin: OriginConfig) -> bytes:
    """The origin's host, with the port unless it is the scheme's default, as in its URL."""
    return (URL(origin.url).host_port_subcomponent or "").encode("ascii")


class OriginPool:
    """Connections to one origin: one per concurrent request, up to `max_idle` kept idle.

    An idle connection that ends is removed at once, by `on_lost`.
    """

    def __init__(self, origin: OriginConfig, *, max_idle: int) -> None:
        self._loop = asyncio.get_running_loop()
        url = URL(origin.url)
        self._host, self._port = url.raw_host or "", url.port or 0
        self._tls = _tls_context(origin.tls_ca) if url.scheme == "https" else None
        self._connect_timeout_s = origin.connect_timeout
        self._read_timeout_s = origin.read_timeout
        self._max_idle = max_idle
        self._idle: dict[OriginConnection, float] = {}  # idle since, oldest first
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def acquire(self, *, max_idle_s: float) -> OriginConnection:
        """A connection that was idle for less than `max_idle_s`, or a new one; ready for a request.

        Raises `OriginUnreachable` or `OriginTimeout`.
        """
        connection = self.warm(max_idle_s) or await self.connect()
        connection.begin()
        return connection

    def release(self, connection: OriginConnection) -> None:
        """Return a connection after an exchange; it is kept only if it is reusable."""
        if not connection.finish() or self._closed or len(self._idle) >= self._max_idle:
            if not connection.closing:
                connection.abort()
            return
        self._idle[connection] = self._loop.time()
        if self._sweep is None:
            self._sweep = self._loop.call_later(MAX_IDLE_S, self._close_stale)

    def close(self) -> None:
        """Close idle connections; those in use close when they are released."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._idle):
            connection.abort()
        self._idle.clear()

    def warm(self, max_idle_s: float) -> OriginConnection | None:
        """A connection idle for less than `max_idle_s`, if any; the caller calls `begin`."""
        if not self._idle:
            return None
        connection, since_s = self._idle.popitem()
        if self._loop.time() - since_s < max_idle_s:
            return connection
        self._idle[connection] = since_s
        return None

    async def connect(self) -> OriginConnection:
        """A new connection; the caller calls `begin`."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await self._loop.create_connection(
                    self._new_connection, self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            raise OriginTimeout("connecting to the origin timed out") from error
        except OSError as error:
            raise OriginUnreachable("the origin is unreachable") from error
        return connection

    def _new_connection(self) -> OriginConnection:
        return OriginConnection(read_timeout_s=self._read_timeout_s, on_lost=self._forget)

    def _forget(self, connection: OriginConnection) -> None:
        """Called by a connection that ends, possibly more than once."""
        self._idle.pop(connection, None)

    def _close_stale(self) -> None:
        self._sweep = None
        for connection, since_s in list(self._idle.items()):
            if self._loop.time() - since_s < MAX_IDLE_S:
                self._sweep = self._loop.call_later(MAX_IDLE_S, self._close_stale)
                return
            del self._idle[connection]
            connection.abort()


def _tls_context(tls_ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if tls_ca:
        try:
            context.load_verify_locations(tls_ca)
        except OSError as error:
            raise StartError(
                f"origin.tls_ca: cannot read {tls_ca}; expected a file of PEM certificates"
            ) from error
    return context
