"""The TLS side of the public listener: the context of new connections, and their handshakes.

Rules. A handshake has 15 s from the time its connection was accepted. Until it is done, the
connection is known here alone, so that it can be closed for others near the limit of open files.
All handshakes have the same time, so the oldest ends first, and one timer serves them all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection
from typing import Final

from gatekeeper.process.tls_connection import TlsConnection

HANDSHAKE_TIMEOUT_S: Final = 15.0


class TlsListener:
    """A listener; `serve` gives it a context first."""

    def __init__(self) -> None:
        self.context: ssl.SSLContext
        self._handshakes: dict[TlsConnection, float] = {}  # since when, oldest first
        self._timer: asyncio.TimerHandle | None = None

    def serve(self, context: ssl.SSLContext) -> None:
        """From the next connection on."""
        self.context = context

    def over_tls(
        self, new_protocol: Callable[[], asyncio.BaseProtocol]
    ) -> Callable[[], TlsConnection]:
        """What makes the protocol of an accepted socket, with one of `new_protocol` behind it."""
        return lambda: TlsConnection(self, new_protocol())

    @property
    def handshakes(self) -> Collection[TlsConnection]:
        """The connections whose handshake has not ended."""
        return self._handshakes.keys()

    def begin(self, connection: TlsConnection) -> float:
        """Its handshake is awaited; returns when, by the loop's clock."""
        loop = asyncio.get_running_loop()
        now_s = self._handshakes[connection] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(HANDSHAKE_TIMEOUT_S, self._expire)
        return now_s

    def end(self, connection: TlsConnection) -> None:
        """Its handshake is done, or it is closed."""
        self._handshakes.pop(connection, None)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for connection, since_s in list(self._handshakes.items()):
            end_s = since_s + HANDSHAKE_TIMEOUT_S
            if end_s > loop.time():
                self._timer = loop.call_at(end_s, self._expire)
                return
            del self._handshakes[connection]
            connection.abort()
