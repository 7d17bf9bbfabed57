"""The TLS side of the public listener: the context of new connections, and their handshakes.

Rules. A handshake has 15 s from the time its connection was accepted. Until it is done, only this
list has the connection, so that it can be evicted near the limit of open files.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Final

from gatekeeper.process.tls_connection import TlsConnection
from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines

HANDSHAKE_TIMEOUT_S: Final = 15.0


class TlsListener:
    """A listener; `serve` gives it a context first."""

    def __init__(self) -> None:
        self.context: ssl.SSLContext
        self._handshakes = EqualDeadlines(HANDSHAKE_TIMEOUT_S, TlsConnection.abort)

    def serve(self, context: ssl.SSLContext) -> None:
        """Use this context from the next connection on."""
        self.context = context

    def over_tls(
        self, new_protocol: Callable[[], asyncio.BaseProtocol]
    ) -> Callable[[], TlsConnection]:
        """A protocol factory for accepted sockets: TLS with a protocol of `new_protocol` behind
        it."""
        return lambda: TlsConnection(self, new_protocol())

    @property
    def handshakes(self) -> Iterable[TlsConnection]:
        """The connections whose handshake has not ended."""
        return self._handshakes

    def begin(self, connection: TlsConnection) -> float:
        """Its handshake is awaited; returns when, by the loop's clock."""
        now_s = asyncio.get_running_loop().time()
        self._handshakes.add(connection, now_s=now_s)
        return now_s

    def end(self, connection: TlsConnection) -> None:
        """Forget a connection whose handshake is done, or that is closed."""
        self._handshakes.discard(connection)
