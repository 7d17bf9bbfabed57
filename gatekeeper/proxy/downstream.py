"""The client's side of an exchange: direct writes, and waiting for a slow client."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import HttpVersion11
from aiohttp.web import BaseRequest

# struct linger: off (the default), or on for 0 seconds: TCP resets when the socket closes.
_LINGER_OFF = struct.pack("ii", 0, 0)
_LINGER_RESET = struct.pack("ii", 1, 0)


class ClientTimeout(ConnectionError):
    """The client did not read from its write buffer within the timeout."""


class Downstream:
    """The connection of one request's client."""

    __slots__ = ("_protocol", "_timeout_s", "_writer", "http11", "transport")

    def __init__(self, request: BaseRequest, *, timeout_s: float) -> None:
        transport = request.transport
        if transport is None:  # handler_cancellation ends the handler
            raise ConnectionResetError("the client disconnected")
        self.transport = transport
        self.http11 = request.version == HttpVersion11
        self._protocol = request.protocol
        self._writer = request.writer
        self._timeout_s = timeout_s

    def begin(self, data: bytes) -> None:
        """Write the final head and the bytes after it; then no other response is possible.

        Once `output_size` is not 0, aiohttp sends no error page when the handler fails.
        """
        self._writer.output_size += len(data)
        self.write(data)

    def write(self, data: bytes) -> None:
        # A disconnect cancels the handler later; until then uvloop raises on a closed transport.
        if not self.transport.is_closing():
            self.transport.write(data)

    @property
    def slow(self) -> bool:
        """Whether the client reads slower than the origin sends: its write buffer is full."""
        return self._protocol.writing_paused

    async def drained(self) -> None:
        """Wait for a slow client as long as it makes progress; else raise `ClientTimeout`."""
        drain = asyncio.ensure_future(self._writer.drain())
        try:
            while not drain.done():
                unread = self.transport.get_write_buffer_size()
                await asyncio.wait({drain}, timeout=self._timeout_s)
                if not drain.done() and self.transport.get_write_buffer_size() >= unread:
                    raise ClientTimeout("the client stopped reading")
            drain.result()
        finally:
            drain.cancel()

    def abort(self) -> None:
        reset(self.transport)

    def reset_when_closed(self, armed: bool) -> None:
        """Arm or disarm resets for a body that ends with the connection: while armed, every close
        is a reset.

        That includes the close by a server that shuts down, and by the kernel when a process dies.
        """
        _set_linger(self.transport, _LINGER_RESET if armed else _LINGER_OFF)


def reset(transport: asyncio.Transport) -> None:
    """Abort a client's connection with a TCP reset.

    A plain close would look like the end of a body that ends with the connection.
    """
    _set_linger(transport, _LINGER_RESET)
    transport.abort()


def reset_at_close(client: socket.socket) -> None:
    """Make the next close of this socket a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)


def _set_linger(transport: asyncio.Transport, linger: bytes) -> None:
    if not transport.is_closing():
        socket_ = transport.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
