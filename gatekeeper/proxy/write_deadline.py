"""The deadline of a client that does not read.

Rules. Every progress restarts the limit: a slow client that reads something within it is kept. A
connection that is closing counts as well: it stays open until its write buffer is sent.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gatekeeper.proxy.downstream import reset

# For the gate's own responses, and for the rest of any response on a closing connection.
WRITE_TIMEOUT_S: Final = 30.0


class WriteDeadline:
    """Resets a connection whose client reads nothing from the write buffer within the limit."""

    __slots__ = ("_limit_s", "_loop", "_timer", "_transport", "_unread_bytes")

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        loop: asyncio.AbstractEventLoop,
        limit_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._limit_s = limit_s
        self._unread_bytes = transport.get_write_buffer_size()
        self._timer = loop.call_later(limit_s, self._check)

    def cancel(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        unread = self._transport.get_write_buffer_size()
        if unread >= self._unread_bytes:
            reset(self._transport)
            return
        self._unread_bytes = unread
        self._timer = self._loop.call_later(self._limit_s, self._check)
