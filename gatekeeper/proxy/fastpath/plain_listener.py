"""A listener without TLS: accepts by the event loop, or itself while most clients close after one
known request.

Rules. The event loop's server makes a transport for each connection and accepts one in a turn.
When it accepts itself, the listener reads the first bytes at once, and serves a client that sends a
known request and closes after it without a transport (`single_exchange`). Every other client then
costs more than with the event loop. So it evaluates each `_SAMPLE` new connections: it accepts
itself once three quarters are such clients, until they are fewer than half.

While it accepts itself, the kernel defers a new connection until its first bytes have arrived, for
one second at most (TCP_DEFER_ACCEPT). A limited number is accepted per turn, so that open
connections are served too. When no file is left, it pauses: waiting connections are not reset.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from functools import partial
from typing import Any, Final

from gatekeeper.proxy.fastpath.client_connection import ClientConnection
from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines
from gatekeeper.proxy.fastpath.server import FastPathServer
from gatekeeper.proxy.fastpath.single_exchange import PATIENCE_S, SingleExchange
from gatekeeper.proxy.pool import MAX_IDLE_S
from gatekeeper.stepper import step

_SAMPLE: Final = 64
_MAX_AT_ONCE: Final = 16
_FIRST_BYTES: Final = 4096  # a browser's head has about 1 KB; the transport reads the rest
_DEFER_S: Final = 1
_PAUSE_S: Final = 0.1
_NO_FILE_LEFT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_CLOSES: Final = b"onnection: close\r\n"  # a client with another spelling gets a transport


class PlainListener:
    """`new_protocol` is the protocol factory of the event loop's server, which `begin` receives."""

    def __init__(self, server: FastPathServer, *, backlog: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._backlog = backlog
        self._waiting = EqualDeadlines(PATIENCE_S, SingleExchange.use_transport)
        self._pauses: dict[_ListeningSocket, asyncio.TimerHandle] = {}
        self._by_loop: list[asyncio.Server] = []
        self._change: asyncio.Task[None] | None = None
        self._until_look = _SAMPLE
        self._closers_before = 0
        self.accepts_itself = False
        self.sockets: tuple[_ListeningSocket, ...] = ()

    def begin(self, bound: asyncio.Server) -> PlainListener:
        self._by_loop.append(bound)
        self.sockets = tuple(_ListeningSocket(os.dup(each.fileno())) for each in bound.sockets)
        return self

    def close(self) -> None:
        if self._change is not None:
            self._change.cancel()
        self._stop()
        for each in self.sockets:
            each.close()
        self.sockets = ()

    # Switching between the event loop and itself

    def new_protocol(self) -> ClientConnection:
        """The protocol of a connection that the event loop accepts."""
        self._count(1)
        return self._server()

    def _count(self, accepted: int) -> None:
        self._until_look -= accepted
        if self._until_look > 0:
            return
        self._until_look += _SAMPLE
        closers = self._server.known_closers - self._closers_before
        self._closers_before = self._server.known_closers
        if self._change is not None:
            return
        if not self.accepts_itself and closers >= _SAMPLE * 3 // 4:
            self._loop.call_soon(self.accept_itself)  # the event loop is about to accept
        elif self.accepts_itself and closers < _SAMPLE // 2:
            self._change = self._loop.create_task(self._leave_to_loop(), name="listen by the loop")

    def accept_itself(self) -> None:
        """Accept new connections without the event loop from now on."""
        self._stop()
        self.accepts_itself = bool(self.sockets)
        for each in self.sockets:
            each.defer(_DEFER_S)
            self._listen(each)

    async def _leave_to_loop(self) -> None:
        self._stop()
        try:
            for each in self.sockets:
                each.defer(0)
                again = socket.socket(fileno=os.dup(each.fileno()))
                self._by_loop.append(
                    await self._loop.create_server(
                        self.new_protocol, sock=again, backlog=self._backlog
                    )
                )
        except OSError:  # no file is left
            self.accept_itself()
        finally:
            self._change = None

    def _stop(self) -> None:
        """Stop accepting."""
        self.accepts_itself = False
        for server in self._by_loop:
            server.close()
        self._by_loop.clear()
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        for each in self.sockets:
            self._loop.remove_reader(each)

    # Accepting itself

    def _listen(self, on: _ListeningSocket) -> None:
        self._pauses.pop(on, None)
        self._loop.add_reader(on, self._accept, on)

    def _accept(self, on: _ListeningSocket) -> None:
        count = 0
        while count < _MAX_AT_ONCE:
            try:
                client, address = on.accept()
            except OSError as error:  # no connection waits, or it was reset while waiting
                if error.errno in _NO_FILE_LEFT:
                    self._pause(on)
                break
            count += 1
            self._begin(client, address[0])
        if count:
            self._server.count_accepted(count)
            self._count(count)

    def _pause(self, on: _ListeningSocket) -> None:
        self._server.make_room()
        self._loop.remove_reader(on)
        self._pauses[on] = self._loop.call_later(_PAUSE_S, self._listen, on)

    def _begin(self, client: socket.socket, peer: str) -> None:
        server = self._server
        try:
            data = client.recv(_FIRST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = b""
        except OSError:
            client.close()
            return
        else:
            if not data:  # closed, without a request
                client.close()
                return
        if _CLOSES in data:
            plan = server.admission.recall(data, peer)
            if not (
                plan is None
                or isinstance(plan, partial)
                or plan.keep_alive
                or plan.counted is not None
            ):
                origin = server.pool.warm(MAX_IDLE_S)
                if origin is not None:
                    server.known_closers += 1
                    exchange = SingleExchange(server, client, peer, waiting=self._waiting)
                    exchange.begin(plan, data, origin, now_s=self._loop.time())
                    return
        connection = partial(ClientConnection, server, peer=peer, begun=data)
        step(self._loop.connect_accepted_socket(connection, client), partial(_connected, client))


def _connected(client: socket.socket, result: object) -> None:
    if isinstance(result, Exception):
        client.close()


class _Socket(socket.socket):
    """A socket whose family and type are plain numbers: converting them to `enum` members each time
    costs as much as a system call."""

    __slots__ = ()
    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]


class _ListeningSocket(_Socket):
    """A socket that listens already, by its file descriptor."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.setblocking(False)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # of each accepted connection

    def defer(self, seconds: int) -> None:
        """Defer new connections until their first bytes have arrived, for `seconds` at most."""
        if hasattr(socket, "TCP_DEFER_ACCEPT"):  # on Linux
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, seconds)

    def accept(self) -> tuple[socket.socket, Any]:
        fileno, address = self._accept()  # type: ignore[attr-defined]  # as `socket` does
        return _Socket(self.family, self.type, 0, fileno), address
