"""Keep-alive HTTP/1.1 connections to a gate, and the pool of connections to one address.

A connection carries one request at a time. A caller submits a `PendingRequest`. When a connection
is free, the request is encoded, and counts as sent from then on. The response is delivered from
within the event loop's callback. There is no task and no future per request, so that one process
can simulate tens of thousands of visitors.

Rules. Every request has a timeout, and a failure is a value. Heads and bodies are parsed with the
gate's strict parser of origin responses. A body is kept up to a limit; a connection with a longer
body is closed. A `GET` on a reused connection that closes before a response is retried once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.response import ResponseHead, body_of, parse_response_head

_MAX_BODY_BYTES = 256 * 1024
_SWEEP_EVERY_S = 0.25
_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A complete response: head and body, not yet interpreted."""

    head: ResponseHead
    body: bytes


class PendingRequest(Protocol):
    """A request that waits for a connection, and the receiver of its response."""

    def encode(self) -> bytes:
        """Return the bytes to send now."""
        ...

    def complete(self, response: RawResponse | str) -> None:
        """Receive the response, or the reason why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class GateAddress:
    """The address of a gate; `base` is the path prefix of every request."""

    host: str
    port: int
    tls: bool
    authority: str
    base: str

    @classmethod
    def of(cls, url: str) -> GateAddress:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        authority = parts.netloc.rpartition("@")[2]
        return cls(host, parts.port or (443 if tls else 80), tls, authority, parts.path.rstrip("/"))


class GateConnection(asyncio.Protocol):
    """One connection; `on_free` is called when it can take the next request or is closed."""

    def __init__(self, on_free: Callable[[GateConnection], None]) -> None:
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._pending: PendingRequest | None = None
        self._request = b""
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._reused = False
        self._response_begun = False
        self.sent_s = 0.0
        self.closed = False

    @property
    def busy(self) -> bool:
        return self._pending is not None

    def send(self, pending: PendingRequest, *, now_s: float, request: bytes | None = None) -> None:
        """Send `pending`. `request`: the bytes already sent on a connection that was closed."""
        assert self._transport is not None
        self._pending, self.sent_s = pending, now_s
        self._response_begun = False
        self._reused = self._reused and request is None
        self._request = pending.encode() if request is None else request
        self._transport.write(self._request)

    def take_retry(self) -> tuple[PendingRequest, bytes] | None:
        """The request to retry after this connection closed, if any.

        Only a `GET` without a response, on a connection that was reused (RFC 9112 section 9.3.1).
        """
        pending = self._pending
        if pending is None or self._response_begun or not self._reused:
            return None
        if not self._request.startswith(b"GET "):
            return None
        self._pending = None
        return pending, self._request

    def fail(self, reason: str) -> None:
        """Fail the current request and close the connection."""
        self._close()
        self._finish(reason)

    def close(self) -> None:
        self._pending = None
        self._close()

    def _close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._pending is None:
            self._close()  # a response without a request
            return
        self._response_begun = True
        try:
            self._feed(data)
        except OriginProtocolError:
            self.fail("not HTTP")

    def eof_received(self) -> None:
        self.closed = True  # `connection_lost` follows

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed = True
        if self._body is not None and self._body.until_close and not self._body.complete:
            self._complete()
        else:
            self._on_free(self)  # may take the request back with `take_retry`
            self._finish("connection lost")

    # One response

    def _feed(self, data: bytes) -> None:
        while self._body is None:
            data = self._buffer + data
            head = parse_response_head(data)
            if head is None:
                self._buffer = data
                return
            self._buffer, data = b"", data[head.size :]
            if head.status >= 200:  # below 200: an interim response, the final one follows
                self._head = head
                method = "HEAD" if self._request.startswith(b"HEAD ") else "GET"
                self._body = body_of(head, method=method, http11_client=False)
        if not self._body.complete:
            part = self._body.take(data)
            self._parts.append(part)
            self._size += len(part)
        elif data:
            self.closed = True
        if self._body.surplus:
            self.closed = True
        if self._body.complete:
            self._complete()
        elif self._size > _MAX_BODY_BYTES:
            self._close()
            self._complete()

    def _complete(self) -> None:
        assert self._head is not None
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self.closed or not self._head.persistent:
            self._close()
        self._finish(RawResponse(self._head, body))

    def _finish(self, response: RawResponse | str) -> None:
        pending, self._pending = self._pending, None
        self._head = self._body = None
        self._buffer, self._parts, self._size = b"", [], 0
        self._reused = True
        if pending is None:
            return
        pending.complete(response)
        self._on_free(self)


class ConnectionPool:
    """The connections to one address, at most `limit`, opened on demand."""

    def __init__(self, address: GateAddress, *, limit: int, timeout_s: float) -> None:
        self.address = address
        self._limit = limit
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._context = ssl.create_default_context() if address.tls else None
        self._idle: list[GateConnection] = []
        self._busy: set[GateConnection] = set()
        self._waiting: deque[tuple[PendingRequest, bytes | None]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._sweeping = self._loop.call_later(_SWEEP_EVERY_S, self._sweep)
        self._closing = False

    def send(self, pending: PendingRequest) -> None:
        """Send the request as soon as a connection is free."""
        self._waiting.append((pending, None))
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            pending, request = self._waiting.popleft()
            self._busy.add(connection)
            connection.send(pending, now_s=self._loop.time(), request=request)
        missing = min(len(self._waiting), self._limit - len(self._busy) - len(self._idle))
        for _ in range(missing - len(self._opening)):
            opening = asyncio.create_task(self._open(), name=f"connect to {self.address.authority}")
            self._opening.add(opening)
            opening.add_done_callback(self._on_open_done)

    def _on_open_done(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        if not self._closing:
            self._dispatch()

    async def _open(self) -> None:
        address = self.address
        try:
            async with asyncio.timeout(self._timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: GateConnection(self._on_free_connection),
                    address.host,
                    address.port,
                    ssl=self._context,
                )
        except TimeoutError:
            self._fail_oldest("connecting timed out")
        except ssl.SSLError as error:
            self._fail_oldest(f"TLS: {error.reason or type(error).__name__}")
        except socket.gaierror:
            self._fail_oldest("unknown host")
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._fail_oldest("connection refused" if refused else type(error).__name__)
        else:
            if self._closing:
                connection.close()
            else:
                self._idle.append(connection)

    def _fail_oldest(self, reason: str) -> None:
        """A connection attempt failed: fail the oldest request that waits for a connection."""
        if self._waiting:
            pending, request = self._waiting.popleft()
            if request is None:
                pending.encode()  # counts as sent
            pending.complete(reason)

    def _on_free_connection(self, connection: GateConnection) -> None:
        if self._closing:
            return
        if connection.closed and (retried := connection.take_retry()) is not None:
            self._waiting.appendleft(retried)
        if not connection.busy:
            self._busy.discard(connection)
            if not connection.closed:
                self._idle.append(connection)
        self._dispatch()

    def _sweep(self) -> None:
        deadline_s = self._loop.time() - self._timeout_s
        for connection in [each for each in self._busy if each.sent_s < deadline_s]:
            connection.fail("timed out")
        self._idle = [connection for connection in self._idle if not connection.closed]
        self._sweeping = self._loop.call_later(_SWEEP_EVERY_S, self._sweep)

    async def close(self) -> None:
        self._closing = True
        self._sweeping.cancel()
        self._waiting.clear()
        for connection in [*self._idle, *self._busy]:
            connection.close()
        opening = set(self._opening)
        for task in opening:
            task.cancel()
        if opening:
            await asyncio.wait(opening, timeout=_CLOSE_TIMEOUT_S)
