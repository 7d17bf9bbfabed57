"""One connection to the store: commands go out as they come, replies come back in their order.

Rules. No time-outs here: whoever waits has one, and breaks the connection when it passes, since
nobody can tell which of what was sent has run. When the connection ends, everyone who still waits
gets a `ConnectionError`. Nothing is sent twice. redis-py reads the address and makes the TLS
context; it is not asked to run commands, which took it 150 µs each where this takes 20.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, parse_url

_DEFAULT_PORT = 6379
_NOT_YET = object()


class Wire(asyncio.Protocol):
    """A connection; `opened` makes one."""

    def __init__(self) -> None:
        self._replies = hiredis.Reader(notEnoughData=_NOT_YET)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def call(self, *command: str) -> Any:
        """The reply; raises HiredisError for an error of the store or nonsense, else OSError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        # Either may fail, and whoever waits for a reply to what was not sent would get another's.
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        reply = await future
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def break_off(self) -> None:
        """Close at once, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not _NOT_YET:
                future = self._waiting.popleft()
                if not future.done():  # else its caller went away
                    future.set_result(reply)
        except hiredis.ProtocolError as error:  # no store's words
            self._fail(error)
            self.break_off()
        except IndexError:  # words that nobody asked for
            self.break_off()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(ConnectionError(str(exc or "the store closed the connection")))

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)


class Address:
    """Where a store is, by its URL, and what it wants to hear first."""

    def __init__(self, url: str) -> None:
        """Raises ValueError or RedisError for a URL that is none."""
        options: dict[str, Any] = dict(parse_url(url))
        self._path: str | None = options.get("path")
        self._host = options.get("host", "localhost")
        self._port = options.get("port", _DEFAULT_PORT)
        self._tls = None
        if options.get("connection_class") is SSLConnection:
            named = {name: value for name, value in options.items() if name.startswith("ssl_")}
            self._tls = SSLConnection(**named).ssl_context.get()
        self._greeting: list[Sequence[str]] = []
        if options.get("password"):
            user = (options["username"],) if options.get("username") else ()
            self._greeting.append(("AUTH", *user, options["password"]))
        if options.get("db"):
            self._greeting.append(("SELECT", str(options["db"])))

    async def open(self) -> Wire:
        """A connection that is ready; raises OSError or hiredis.ReplyError."""
        loop = asyncio.get_running_loop()
        if self._path is not None:
            _, wire = await loop.create_unix_connection(Wire, self._path)
        else:
            _, wire = await loop.create_connection(Wire, self._host, self._port, ssl=self._tls)
        try:
            for command in self._greeting:
                await wire.call(*command)
        except BaseException:
            wire.break_off()
            raise
        return wire
