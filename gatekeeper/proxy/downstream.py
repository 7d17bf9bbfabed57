"""The client's side of an exchange: written to directly, and waited for when it is slow."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

_LINGER = struct.pack("ii", 0, 0)  # struct linger: as ever
_LINGER_NOT = struct.pack("ii", 1, 0)  # on, for 0 seconds: TCP resets when the socket closes


class ClientStalled(ConnectionError):
    """The client read nothing of what waits for it for too long."""


class Downstream:
    """The connection of one request's client."""

    __slots__ = ("_protocol", "_timeout_s", "_writer", "http11", "transport")

    def __init__(self, request: BaseRequest, *, timeout_s: float) -> None:
        transport = request.transport
        if transport is None:  # it left; handler_cancellation ends the handler
            raise ConnectionResetError("the client left")
        self.transport = transport
        self.http11 = request.version == HttpVersion11
        self._protocol = request.protocol
        self._writer = request.writer
        self._timeout_s = timeout_s

    def begin(self, data: bytes) -> None:
        """Write the final head and what follows it; from now on no other answer is possible.

        aiohttp sends no error page of its own after a handler that failed, once bytes are counted.
        """
        self._writer.output_size += len(data)
        self.write(data)

    def write(self, data: bytes) -> None:
        # A client that just left has not cancelled us yet; uvloop raises for what is closed.
        if not self.transport.is_closing():
            self.transport.write(data)

    @property
    def slow(self) -> bool:
        """Whether more waits for the client than it took so far."""
        return self._protocol.writing_paused

    async def drained(self) -> None:
        """Wait for a slow client as long as it reads at all, else raise `ConnectionError`."""
        drain = asyncio.ensure_future(self._writer.drain())
        try:
            while not drain.done():
                waiting = self.transport.get_write_buffer_size()
                await asyncio.wait({drain}, timeout=self._timeout_s)
                if not drain.done() and self.transport.get_write_buffer_size() >= waiting:
                    raise ClientStalled("the client stopped reading")
            drain.result()
        finally:
            drain.cancel()

    def abort(self) -> None:
        reset(self.transport)

    def reset_when_closed(self, armed: bool) -> None:
        """For an answer that ends with the connection: until it is whole, any end is a reset.

        Whoever closes, be it the server that shuts down or the kernel of a process that dies.
        """
        _set_linger(self.transport, _LINGER_NOT if armed else _LINGER)


def reset(transport: asyncio.Transport) -> None:
    """Break a client's connection, so that what was sent cannot pass for a whole answer.

    Closing alone would look like the end of an answer that ends with the connection; with nothing
    to linger for, TCP resets it.
    """
    _set_linger(transport, _LINGER_NOT)
    transport.abort()


def _set_linger(transport: asyncio.Transport, linger: bytes) -> None:
    if not transport.is_closing():
        socket_ = transport.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
