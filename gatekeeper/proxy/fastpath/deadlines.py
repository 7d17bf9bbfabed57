"""The deadlines of one client connection on the fast path.

    waiting for a request     `idle_timeout_s`, then it is closed
    a head that has begun     `HEAD_TIMEOUT_S` from its first byte, then aiohttp refuses it
    a client that reads       per progress: `client_timeout_s` for a forwarded response,
    nothing of a response     `WRITE_TIMEOUT_S` for the gate's own, then the connection is reset
    closing, with unread bytes  `WRITE_TIMEOUT_S`, then it is reset

Rules. While an origin or the gate owes a response, its own timeouts count. A timer that comes too
early is set again: a connection that serves many requests sets none for each of them.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from gatekeeper.proxy.aiohttp_server import HEAD_TIMEOUT_S
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S, WriteDeadline


class TimedConnection(Protocol):
    """What the deadlines ask of a connection, and do to it."""

    last_s: float  # the last request's end, or the last progress of its client

    @property
    def idle_since_s(self) -> float | None:
        """Since when it waits for a request; None: it does not."""
        ...

    @property
    def write_timeout_s(self) -> float | None:
        """The limit for a client whose write buffer is full; None: it is not."""
        ...

    def close_if_idle(self) -> None: ...

    def abort(self) -> None: ...

    def refuse_slow_head(self) -> None: ...


class Deadlines:
    """The timers of one connection."""

    __slots__ = (
        "_closing",
        "_connection",
        "_head",
        "_idle_s",
        "_loop",
        "_timer",
        "_transport",
        "_unread_bytes",
    )

    def __init__(
        self,
        connection: TimedConnection,
        transport: asyncio.Transport,
        *,
        loop: asyncio.AbstractEventLoop,
        idle_s: float,
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._loop = loop
        self._idle_s = idle_s
        self._unread_bytes = 0
        self._timer: asyncio.TimerHandle | None = loop.call_later(idle_s, self._check)
        self._head: tuple[asyncio.TimerHandle, float] | None = None
        self._closing: WriteDeadline | None = None

    def begin_head(self) -> None:
        """A part of a head was received."""
        if self._head is None:
            timer = self._loop.call_later(HEAD_TIMEOUT_S, self._connection.refuse_slow_head)
            self._head = timer, self._loop.time() + HEAD_TIMEOUT_S

    def end_head(self) -> float | None:
        """The head is complete, or handed over; until when it had time, if it had begun."""
        if self._head is None:
            return None
        (timer, end_s), self._head = self._head, None
        timer.cancel()
        return end_s

    def begin_pause(self, limit_s: float) -> None:
        """The client's write buffer is full, and the limit counts from now."""
        self._unread_bytes = self._transport.get_write_buffer_size()
        # A large download pauses often: there, the timer that is set comes soon enough.
        if limit_s <= WRITE_TIMEOUT_S and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(limit_s, self._check)

    def close(self, limit_s: float) -> None:
        """The transport is closing, once the client has read everything."""
        self._closing = WriteDeadline(self._transport, loop=self._loop, limit_s=limit_s)

    def cancel(self) -> None:
        self.end_head()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _check(self) -> None:
        if self._head is not None:  # it has a limit of its own
            self._timer = self._loop.call_later(HEAD_TIMEOUT_S, self._check)
            return
        connection, now_s = self._connection, self._loop.time()
        limit_s = connection.write_timeout_s
        if limit_s is not None:
            unread = self._transport.get_write_buffer_size()
            if unread < self._unread_bytes:
                connection.last_s = now_s
            self._unread_bytes = unread
        else:
            limit_s = self._idle_s
            if connection.idle_since_s is None:
                connection.last_s = now_s  # bounded by the origin connection's watchdog
        left_s = limit_s - (now_s - connection.last_s)
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check)
            return
        self._timer = None
        if connection.idle_since_s is not None:
            connection.close_if_idle()
        else:
            connection.abort()
