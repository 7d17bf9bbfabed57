"""The single request of a client that closes after it, from socket to socket without a transport.

Rules. The client is not watched meanwhile, so that its socket costs no call but `accept`, `recv`,
`send` and `close`. This is only correct while the exchange is short and simple. A
`ClientConnection` takes over as soon as a send is partial, the origin fails, or `PATIENCE_S` have
passed: from then on a disconnect is noticed, and deadlines apply. It starts one turn of the event
loop later, with its transport; until then the origin connection buffers.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from time import perf_counter
from typing import Final, cast

from gatekeeper.proxy.downstream import reset_at_close
from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines
from gatekeeper.proxy.fastpath.forwarded_exchange import ForwardedExchange
from gatekeeper.proxy.fastpath.interface import ConnectionOwner, ForwardPlan
from gatekeeper.proxy.upstream import OriginConnection
from gatekeeper.stepper import step

PATIENCE_S: Final = 0.1


class SingleExchange(ForwardedExchange, asyncio.Protocol):
    """One exchange on an accepted socket; `begin` it."""

    __slots__ = (
        "_began_s",
        "_body",
        "_has_transport",
        "_head",
        "_keep_alive",
        "_origin",
        "_partial_head",
        "_peer",
        "_plan",
        "_server",
        "_socket",
        "_unsent",
        "_waiting",
    )
    exchange: Final = None  # too short to count as a use of the session
    idle_since_s: Final = None  # never idle

    def __init__(
        self,
        server: ConnectionOwner,
        client: socket.socket,
        peer: str,
        *,
        waiting: EqualDeadlines[SingleExchange],
    ) -> None:
        """`waiting` are the exchanges whose deadline is `PATIENCE_S`."""
        self._server = server
        self._socket = client
        self._peer = peer
        self._waiting = waiting
        self._partial_head = self._unsent = b""
        self._body = None
        self._keep_alive = self._has_transport = False

    def begin(
        self, plan: ForwardPlan, head: bytes, origin: OriginConnection, *, now_s: float
    ) -> None:
        """Send the request; `now_s` is of the loop's clock."""
        self._plan, self._head, self._origin = plan, head, origin
        self._began_s = perf_counter()
        self._server.add(self)
        self._waiting.add(self, now_s=now_s)
        origin.begin(deliver=self._from_origin, on_wake=self.use_transport)
        origin.write(head[: head.find(b"\n") + 1] + plan.rest)

    def _from_origin(self, data: bytes) -> None:
        body = self._body
        if body is None:
            data = self._take_head(self._partial_head + data)
            body = self._body
        else:
            data = body.take(data)
        if data:
            try:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            except OSError:  # the client has disconnected
                self.abort()
                return
            if sent < len(data):
                self._unsent = data[sent:]
                self.use_transport()
                return
        if body is not None and body.complete:
            self._return_origin()
            self._end()
            self._socket.close()

    def use_transport(self) -> None:
        """Let a `ClientConnection` take over."""
        assert self._origin is not None
        self._has_transport = True
        self._waiting.discard(self)
        self._origin.hold()
        loop = asyncio.get_running_loop()
        step(loop.connect_accepted_socket(lambda: self, self._socket), self._connected)

    def _connected(self, result: object) -> None:
        if isinstance(result, Exception):
            self._has_transport = False
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        if self._origin is None:  # it was aborted meanwhile
            transport.abort()
            return
        connection = ClientConnection(self._server, peer=self._peer)
        transport.set_protocol(connection)
        connection.take_over(self, transport, unsent=self._unsent)
        self._server.forget(self)

    def _end(self) -> None:
        self._waiting.discard(self)
        self._server.forget(self)

    def close_if_idle(self) -> None:
        """Never idle: it ends after its response."""

    def evict(self) -> None:
        """Never idle."""

    def cut(self, began_s: float) -> None:
        """Too short to count as a use of the session."""

    def abort(self) -> None:
        self._release()
        self._end()
        with suppress(OSError):
            reset_at_close(self._socket)
        if not self._has_transport:  # which closes it
            self._socket.close()
