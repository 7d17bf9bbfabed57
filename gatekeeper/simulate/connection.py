"""One keep-alive connection to a gate, and the connections to one address.

Theory of operation. A connection carries one request at a time. Whoever wants to ask hands over a
`Question`; when a connection is free the question is put into bytes, which is also the moment at
which it counts as asked, and the reply is handed to it from within the event loop's callback. No
task and no future for a request: that is what lets one process stand for tens of thousands.

Rules. Every request has a time-out, and a failure is a value. Heads and bodies are read as
strictly as the gate itself reads an origin's. A body is kept up to a limit; a connection with more
on it is given up. A `GET` that met a connection which was just being closed is sent once more.
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

_MOST_BODY_BYTES = 256 * 1024
_SWEEP_EVERY_S = 0.25
_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    head: ResponseHead
    body: bytes


class Question(Protocol):
    """One request, from when it is sent to what becomes of it."""

    def put(self) -> bytes:
        """The request as it is to be sent now."""
        ...

    def answered(self, reply: Reply | str) -> None:
        """The reply, or in words why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gate listens, and what its requests begin with."""

    host: str
    port: int
    tls: bool
    authority: str
    base: str

    @classmethod
    def of(cls, url: str) -> Address:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        authority = parts.netloc.rpartition("@")[2]
        return cls(host, parts.port or (443 if tls else 80), tls, authority, parts.path.rstrip("/"))


class Channel(asyncio.Protocol):
    """One connection; `on_free` is called when it can take the next question or is closed."""

    def __init__(self, on_free: Callable[[Channel], None]) -> None:
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._question: Question | None = None
        self._request = b""
        self._buffer = b""
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._answered_before = False
        self._heard = False
        self.asked_s = 0.0
        self.closed = False

    @property
    def busy(self) -> bool:
        return self._question is not None

    def ask(self, question: Question, *, now_s: float, request: bytes | None = None) -> None:
        """`request`: what was sent already on a connection that was gone."""
        assert self._transport is not None
        self._question, self.asked_s = question, now_s
        self._heard = False
        self._answered_before = self._answered_before and request is None
        self._request = question.put() if request is None else request
        self._transport.write(self._request)

    def retry(self) -> tuple[Question, bytes] | None:
        """What may be sent once more after this connection ended: a `GET` that it had no answer
        to, if it answered others before (RFC 9112 section 9.3.1)."""
        question = self._question
        if question is None or self._heard or not self._answered_before:
            return None
        if not self._request.startswith(b"GET "):
            return None
        self._question = None
        return question, self._request

    def fail(self, why: str) -> None:
        """End the exchange under way, and the connection with it."""
        self._close()
        self._finish(why)

    def close(self) -> None:
        self._question = None
        self._close()

    def _close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._question is None:
            self._close()  # an answer that nobody asked for
            return
        self._heard = True
        try:
            self._take(data)
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
            self._on_free(self)  # which may take the question back
            self._finish("connection lost")

    # One answer

    def _take(self, data: bytes) -> None:
        while self._body is None:
            data = self._buffer + data
            head = parse_response_head(data)
            if head is None:
                self._buffer = data
                return
            self._buffer, data = b"", data[head.size :]
            if head.status >= 200:  # else an interim one, and more comes
                self._head = head
                self._body = body_of(head, method="GET", http11_client=False)
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
        elif self._size > _MOST_BODY_BYTES:
            self._close()
            self._complete()

    def _complete(self) -> None:
        assert self._head is not None
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self.closed or not self._head.persistent:
            self._close()
        self._finish(Reply(self._head, body))

    def _finish(self, reply: Reply | str) -> None:
        question, self._question = self._question, None
        self._head = self._body = None
        self._buffer, self._parts, self._size = b"", [], 0
        self._answered_before = True
        if question is None:
            return
        question.answered(reply)
        self._on_free(self)


class Channels:
    """The connections to one address, at most `most`, opened as they are needed."""

    def __init__(self, address: Address, *, most: int, timeout_s: float) -> None:
        self.address = address
        self._most = most
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._context = ssl.create_default_context() if address.tls else None
        self._idle: list[Channel] = []
        self._busy: set[Channel] = set()
        self._waiting: deque[tuple[Question, bytes | None]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._sweeping = self._loop.call_later(_SWEEP_EVERY_S, self._sweep)
        self._closing = False

    def ask(self, question: Question) -> None:
        """Put the question as soon as a connection is free."""
        self._waiting.append((question, None))
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._idle:
            channel = self._idle.pop()
            if channel.closed:
                continue
            question, request = self._waiting.popleft()
            self._busy.add(channel)
            channel.ask(question, now_s=self._loop.time(), request=request)
        wanted = min(len(self._waiting), self._most - len(self._busy) - len(self._idle))
        for _ in range(wanted - len(self._opening)):
            opening = asyncio.create_task(self._open(), name=f"connect to {self.address.authority}")
            self._opening.add(opening)
            opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        if not self._closing:
            self._go_on()

    async def _open(self) -> None:
        address = self.address
        try:
            async with asyncio.timeout(self._timeout_s):
                _, channel = await self._loop.create_connection(
                    lambda: Channel(self._free),
                    address.host,
                    address.port,
                    ssl=self._context,
                )
        except TimeoutError:
            self._fail_one("connecting timed out")
        except ssl.SSLError as error:
            self._fail_one(f"TLS: {error.reason or type(error).__name__}")
        except socket.gaierror:
            self._fail_one("unknown host")
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._fail_one("connection refused" if refused else type(error).__name__)
        else:
            if self._closing:
                channel.close()
            else:
                self._idle.append(channel)

    def _fail_one(self, why: str) -> None:
        """The attempt was made for one of those who wait."""
        if self._waiting:
            question, request = self._waiting.popleft()
            if request is None:
                question.put()  # it was asked, and nobody heard
            question.answered(why)

    def _free(self, channel: Channel) -> None:
        if self._closing:
            return
        if channel.closed and (again := channel.retry()) is not None:
            self._waiting.appendleft(again)
        if not channel.busy:
            self._busy.discard(channel)
            if not channel.closed:
                self._idle.append(channel)
        self._go_on()

    def _sweep(self) -> None:
        long_ago_s = self._loop.time() - self._timeout_s
        for channel in [each for each in self._busy if each.asked_s < long_ago_s]:
            channel.fail("timed out")
        self._idle = [channel for channel in self._idle if not channel.closed]
        self._sweeping = self._loop.call_later(_SWEEP_EVERY_S, self._sweep)

    async def close(self) -> None:
        self._closing = True
        self._sweeping.cancel()
        self._waiting.clear()
        for channel in [*self._idle, *self._busy]:
            channel.close()
        opening = set(self._opening)
        for task in opening:
            task.cancel()
        if opening:
            await asyncio.wait(opening, timeout=_CLOSE_TIMEOUT_S)
