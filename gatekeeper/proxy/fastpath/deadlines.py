"""The deadlines of one client connection on the fast path.

    waiting for a request     `idle_timeout_s`, then it is closed
    a head that has begun     `HEAD_TIMEOUT_S` from its first byte, then aiohttp refuses it
    a client that reads       per progress: `client_timeout_s` for a forwarded response,
    nothing of a response     `WRITE_TIMEOUT_S` for the gate's own, then the connection is reset
    closing, with unread bytes  `WRITE_TIMEOUT_S`, then it is reset

Rules. While a response of the origin or the gate is pending, their own timeouts apply. A timer that
fires too early is set again, so that a connection needs no timer per request. The first check is by
`EqualDeadlines`: a connection that ends before it needs no timer at all. This is a base class and
not an object: many connections serve one request, and reference cycles are left to the garbage
collector.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from gatekeeper.proxy.aiohttp_server import HEAD_TIMEOUT_S
from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines
from gatekeeper.proxy.write_deadline import WRITE_TIMEOUT_S, WriteDeadline


class TimedConnection(asyncio.Protocol):
    """A connection with these deadlines. A subclass reports what it waits for, and ends the
    wait."""

    __slots__ = (
        "_closing",
        "_first_checks",
        "_head_deadline",
        "_idle_timeout_s",
        "_loop",
        "_timer",
        "_transport",
        "_unread_bytes",
        "last_s",
    )
    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport
    last_s: float  # the last request's end, or the last progress of its client

    @property
    @abstractmethod
    def idle_since_s(self) -> float | None:
        """Since when it waits for a request (loop's clock); None: it does not."""

    @property
    @abstractmethod
    def write_timeout_s(self) -> float | None:
        """The limit for a client whose write buffer is full; None: the buffer is not full."""

    @abstractmethod
    def close_if_idle(self) -> None: ...

    def evict(self) -> None:
        """Close it now if it is idle; with TLS, without waiting for the client to close."""
        if self.idle_since_s is not None:
            self.close_if_idle()
            self._transport.abort()

    @abstractmethod
    def abort(self) -> None: ...

    @abstractmethod
    def refuse_slow_head(self) -> None: ...

    def _start_deadlines(
        self, first_checks: EqualDeadlines[TimedConnection], *, idle_timeout_s: float
    ) -> None:
        """The connection was made, and waits for its first request; `first_checks` expire after
        `idle_timeout_s`."""
        self._idle_timeout_s = idle_timeout_s
        self._first_checks = first_checks
        self._unread_bytes = 0
        self._head_deadline: tuple[asyncio.TimerHandle, float] | None = None
        self._closing: WriteDeadline | None = None
        self.last_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        first_checks.add(self, now_s=self.last_s)

    def _begin_head(self) -> None:
        """Start the deadline of a head, of which a part was received."""
        if self._head_deadline is None:
            timer = self._loop.call_later(HEAD_TIMEOUT_S, self.refuse_slow_head)
            self._head_deadline = timer, self._loop.time() + HEAD_TIMEOUT_S

    def _end_head(self) -> float | None:
        """The head is complete, or handed over. Returns its deadline, if it had one."""
        if self._head_deadline is None:
            return None
        (timer, end_s), self._head_deadline = self._head_deadline, None
        timer.cancel()
        return end_s

    def _begin_pause(self, limit_s: float) -> None:
        """The client's write buffer is full; the limit counts from now."""
        self.last_s = self._loop.time()
        self._unread_bytes = self._transport.get_write_buffer_size()
        # A large download pauses often: the timer that is already set is early enough.
        if limit_s <= WRITE_TIMEOUT_S and self._cancel_check():
            self._timer = self._loop.call_later(limit_s, self.check_deadlines)

    def _begin_closing(self, limit_s: float) -> None:
        """The transport closes once the client has read everything."""
        self._closing = WriteDeadline(self._transport, loop=self._loop, limit_s=limit_s)

    def _cancel_deadlines(self) -> None:
        if self._head_deadline is not None:
            self._end_head()
        self._cancel_check()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _cancel_check(self) -> bool:
        """Cancel the next check; whether there was one."""
        if self._timer is None:
            return self._first_checks.discard(self)
        self._timer.cancel()
        self._timer = None
        return True

    def check_deadlines(self) -> None:
        """Apply the deadlines; called when a timer fires."""
        if self._head_deadline is not None:  # this state has its own limit
            self._timer = self._loop.call_later(HEAD_TIMEOUT_S, self.check_deadlines)
            return
        now_s = self._loop.time()
        limit_s = self.write_timeout_s
        if limit_s is not None:
            unread = self._transport.get_write_buffer_size()
            if unread < self._unread_bytes:
                self.last_s = now_s
            self._unread_bytes = unread
        else:
            limit_s = self._idle_timeout_s
            if self.idle_since_s is None:
                self.last_s = now_s  # bounded by the origin connection's watchdog
        left_s = limit_s - (now_s - self.last_s)
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self.check_deadlines)
            return
        self._timer = None
        if self.idle_since_s is not None:
            self.close_if_idle()
        else:
            self.abort()
