"""One connection to the origin.

Theory of operation: a connection serves one request at a time. While it waits for a head it
gathers bytes; once told where a body goes (`deliver_to`), each piece goes there from within the
event loop's callback, with no task in between. The one task that runs the exchange sleeps in
`changed()` and is woken when something needs it: a head, an end, a failure, a client that cannot
keep up. State is looked at before sleeping, so no wake-up is lost.

Rules: an answer that nobody asked for ends the connection. A silence longer than `read_timeout`
fails the exchange, but never while it is the client that keeps us waiting (`excused`, or a pause
of reading).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from gatekeeper.errors import GatekeeperError, OriginProtocolError, OriginTimeout
from gatekeeper.proxy.response import ResponseHead, parse_response_head

_FAREWELL_S = 5.0  # how long a closing connection may take to send what it still holds


class OriginClosed(OriginProtocolError):
    """The origin closed before a head came: on a connection used before, most likely a crossing
    of its keep-alive time-out and our request."""


class OriginConnection(asyncio.Protocol):
    """See the module; made by the pool, one request at a time."""

    def __init__(self, *, read_timeout_s: float, on_lost: Callable[[OriginConnection], None]):
        self._loop = asyncio.get_running_loop()
        self._read_timeout_s = read_timeout_s
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._buffer = b""
        self._deliver: Callable[[bytes], None] | None = None
        self._changed: asyncio.Future[None] | None = None
        self._failure: GatekeeperError | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._quiet_since_s = 0.0
        self._excuses = 0
        self._unsent_bytes = 0
        self._busy = False
        self._writing_paused = False
        self._reading_paused = False
        self.on_writable: Callable[[], None] | None = None
        self.on_wake: Callable[[], None] | None = None  # instead of a task in `changed`
        self.requests = 0
        self.answered = False  # a byte of the current answer arrived
        self.reusable = False  # the current exchange left nothing behind
        self.ended = False  # the origin closed its side, or the connection broke
        self.broken: Exception | None = None  # how it broke, if it did

    # One exchange

    def begin(
        self,
        *,
        deliver: Callable[[bytes], None] | None = None,
        on_wake: Callable[[], None] | None = None,
    ) -> None:
        """Take the next request; of its answer `deliver` gets all bytes, from the head on."""
        self._busy = True
        self._deliver, self.on_wake = deliver, on_wake
        self.requests += 1
        self.answered = self.reusable = False
        self._quiet_since_s = self._loop.time()
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._read_timeout_s, self._check_silence)

    def rest(self) -> bool:
        """End an exchange; whether the connection may take another."""
        self._busy = False
        self._deliver = self.on_writable = self.on_wake = None
        if self._reading_paused:
            self.resume_reading()
        return self.reusable and not (self._buffer or self.ended or self._transport.is_closing())

    def write(self, data: bytes) -> None:
        # Whoever reads the answer is told of the end; uvloop raises for what is closed.
        if not (self.ended or self._transport.is_closing()):
            self._transport.write(data)

    async def next_head(self) -> ResponseHead:
        """The next head, interim ones too."""
        while (answer := parse_response_head(self._buffer)) is None:
            if self.ended:
                raise OriginClosed("the origin closed without an answer") from self.broken
            await self.changed()
        self._buffer = self._buffer[answer.size :]
        return answer

    def deliver_to(self, deliver: Callable[[bytes], None]) -> bytes:
        """From now on hand all bytes to `deliver`; returns those that came already."""
        early, self._buffer = self._buffer, b""
        self._deliver = deliver
        return early

    async def changed(self) -> None:
        """Sleep until woken; raise what the exchange failed of."""
        if self._failure is None:
            self._changed = self._loop.create_future()
            try:
                await self._changed
            finally:
                self._changed = None
        if self._failure is not None:
            raise self._failure

    def wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake()
        elif self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def fail(self, failure: GatekeeperError) -> None:
        """End the exchange with this, wherever its task is."""
        self._failure = self._failure or failure
        self.wake()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """The origin is not to blame for silence while this lasts: the client is."""
        self._excuses += 1
        try:
            yield
        finally:
            self._excuses -= 1
            self._quiet_since_s = self._loop.time()

    # Flow control and the end

    @property
    def failure(self) -> GatekeeperError | None:
        return self._failure

    @property
    def writing_paused(self) -> bool:
        return self._writing_paused

    @property
    def closing(self) -> bool:
        return self.ended or self._transport.is_closing()

    async def writable(self) -> None:
        """Wait until the origin took most of what was written, or is gone."""
        if not self._writing_paused or self.closing:
            return
        took = self._loop.create_future()
        self.on_writable = lambda: None if took.done() else took.set_result(None)
        await took  # bounded by the watchdog

    def pause_reading(self) -> None:
        if not self._reading_paused and not self.closing:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._quiet_since_s = self._loop.time()
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is written, then close."""
        self._transport.close()
        self._loop.call_later(_FAREWELL_S, self._transport.abort)

    def abort(self) -> None:
        self._on_lost(self)
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._quiet_since_s = self._loop.time()
        self.answered = True
        if self._deliver is not None:
            try:
                self._deliver(data)
            except OriginProtocolError as error:
                self.fail(error)
        elif self._busy:
            self._buffer += data
            self.wake()
        else:
            self.abort()

    def eof_received(self) -> None:
        self.ended = True
        self._on_lost(self)
        self._wake_all()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended:
            # TCP ends with `eof_received` before this, and so does TLS, if it was closed and not
            # just cut off by someone on the way (RFC 9112 section 9.8; uvloop tells them apart).
            self.broken = exc or ConnectionAbortedError("cut off")
        self.ended = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._on_lost(self)
        self._wake_all()

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._unsent_bytes = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._quiet_since_s = self._loop.time()
        if self.on_writable is not None:
            self.on_writable()

    def _wake_all(self) -> None:
        if self.on_writable is not None:
            self.on_writable()
        self.wake()

    def _takes_what_it_gets(self) -> bool:
        """Whether an upload that has to wait for the origin progressed since it was last asked."""
        waits = self._writing_paused and not self.closing
        unsent = self._transport.get_write_buffer_size() if waits else 0
        progressed = unsent < self._unsent_bytes
        self._unsent_bytes = unsent
        return progressed

    def _check_silence(self) -> None:
        self._watchdog = None
        if not self._busy:
            return
        if self._excuses or self._reading_paused or self._takes_what_it_gets():
            self._quiet_since_s = self._loop.time()
        left_s = self._read_timeout_s - (self._loop.time() - self._quiet_since_s)
        if left_s <= 0:
            self.fail(OriginTimeout("the origin was silent for too long"))
        else:
            self._watchdog = self._loop.call_later(left_s, self._check_silence)
