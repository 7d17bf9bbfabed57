"""One connection to the origin.

Theory of operation: a connection serves one request at a time. It buffers bytes until a head is
complete. After `deliver_to`, each piece of the body is delivered from the event loop's callback,
without a task in between. The one task that runs the exchange sleeps in `changed` and is woken for
a head, an end, a failure, or a slow client. The task checks the state before it sleeps, so that no
wake-up is lost.

Rules: bytes outside an exchange end the connection. An exchange fails when nothing arrives for
longer than `read_timeout`, except while the gate waits for the client (`waiting_for_client`, or
paused reading).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from gatekeeper.errors import GatekeeperError, OriginProtocolError, OriginTimeout
from gatekeeper.proxy.response import ResponseHead, parse_response_head

_CLOSE_TIMEOUT_S = 5.0  # for a closing connection to send its buffer


class OriginDisconnect(OriginProtocolError):
    """The origin closed before a head arrived.

    On a reused connection the likely reason is that its idle timeout expired while the request was
    sent.
    """


class OriginConnection(asyncio.Protocol):
    """One connection; created by the pool, serves one request at a time."""

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
        self._client_waits = 0
        self._unsent_bytes = 0
        self._busy = False
        self._writing_paused = False
        self._reading_paused = False
        self.on_writable: Callable[[], None] | None = None
        # Called instead of waking a task in `changed`.
        self.on_wake: Callable[[], None] | None = None
        self.requests = 0
        self.has_response = False  # a byte of the current response arrived
        self.reusable = False  # no bytes remained after the current exchange
        self.ended = False  # the origin closed its side, or the connection broke
        self.broken: Exception | None = None  # how it broke, if it did

    # One exchange

    def begin(
        self,
        *,
        deliver: Callable[[bytes], None] | None = None,
        on_wake: Callable[[], None] | None = None,
    ) -> None:
        """Start an exchange; `deliver` receives all bytes of the response, head included."""
        self._busy = True
        self._deliver, self.on_wake = deliver, on_wake
        self.requests += 1
        self.has_response = self.reusable = False
        self._quiet_since_s = self._loop.time()
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._read_timeout_s, self._check_silence)

    def finish(self) -> bool:
        """End the exchange; return whether the connection can serve another request."""
        self._busy = False
        self._deliver = self.on_writable = self.on_wake = None
        if self._reading_paused:
            self.resume_reading()
        return self.reusable and not (self._buffer or self.ended or self._transport.is_closing())

    def write(self, data: bytes) -> None:
        # The reader of the response handles the close; uvloop raises on a closed transport.
        if not (self.ended or self._transport.is_closing()):
            self._transport.write(data)

    async def next_head(self, own: frozenset[str]) -> ResponseHead:
        """The next response head, interim or final; `own`: see `parse_response_head`."""
        while (head := parse_response_head(self._buffer, own)) is None:
            if self.ended:
                raise OriginDisconnect("the origin closed without a response") from self.broken
            await self.changed()
        self._buffer = self._buffer[head.size :]
        return head

    def deliver_to(self, deliver: Callable[[bytes], None]) -> bytes:
        """Deliver all further bytes to `deliver`; return the bytes buffered so far."""
        early, self._buffer = self._buffer, b""
        self._deliver = deliver
        return early

    def hold(self) -> None:
        """Buffer received bytes until `deliver_to`, without waking a task."""
        self._deliver = self.on_wake = None
        self.pause_reading()

    async def changed(self) -> None:
        """Sleep until woken; raise the failure of the exchange, if any."""
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
        """Fail the exchange, also while its task waits. The first failure counts."""
        self._failure = self._failure or failure
        self.wake()

    @contextmanager
    def waiting_for_client(self) -> Iterator[None]:
        """Suspend the read timeout: the gate waits for the client, not for the origin."""
        self._client_waits += 1
        try:
            yield
        finally:
            self._client_waits -= 1
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
        """Wait until the write buffer is mostly sent, or the connection ends."""
        if not self._writing_paused or self.closing:
            return
        writable = self._loop.create_future()
        self.on_writable = lambda: None if writable.done() else writable.set_result(None)
        await writable  # bounded by the watchdog

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
        """Send the write buffer, then close."""
        self._transport.close()
        self._loop.call_later(_CLOSE_TIMEOUT_S, self._transport.abort)

    def abort(self) -> None:
        self._on_lost(self)
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._quiet_since_s = self._loop.time()
        self.has_response = True
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
            # A TCP close arrives as `eof_received` first. So does a TLS close, unless it came
            # without a closure alert (RFC 9112 section 9.8; uvloop distinguishes the two).
            self.broken = exc or ConnectionAbortedError("the connection was cut")
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

    def _upload_progressed(self) -> bool:
        """Whether the origin received more of a paused upload since the last call."""
        paused = self._writing_paused and not self.closing
        unsent = self._transport.get_write_buffer_size() if paused else 0
        progressed = unsent < self._unsent_bytes
        self._unsent_bytes = unsent
        return progressed

    def _check_silence(self) -> None:
        self._watchdog = None
        if not self._busy:
            return
        if self._client_waits or self._reading_paused or self._upload_progressed():
            self._quiet_since_s = self._loop.time()
        left_s = self._read_timeout_s - (self._loop.time() - self._quiet_since_s)
        if left_s <= 0:
            self.fail(OriginTimeout("the origin sent nothing within the read timeout"))
        else:
            self._watchdog = self._loop.call_later(left_s, self._check_silence)
