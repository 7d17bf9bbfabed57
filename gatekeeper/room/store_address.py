"""Where the store is, by its URL, and how a connection to it is opened.

Rules. redis-py parses the URL, makes the TLS context, and asks the Sentinels. Behind Sentinels each
connection is opened to the primary that they name at that moment, and used only if that server says
that it is one: a Sentinel may be behind. A demoted primary accepts writes until a Sentinel makes it
a replica, which takes up to 10 s, and loses them then. So while a connection is open the Sentinels
are asked each second, and it is closed when they name another server. A Sentinel that does not
respond takes a quarter of the store's timeout, and is asked last from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gatekeeper.config.sentinel_url import SentinelUrl, parse_sentinel_url
from gatekeeper.room.resp_connection import Wire

_DEFAULT_PORT = 6379
_CLIENT_NAME = "gatekeeper"  # in CLIENT LIST
_SHARE_OF_TIMEOUT = 4
_WATCH_EVERY_S = 1.0

log = structlog.get_logger()


class StoreAddress:
    """Where a store is, and the commands that open a session there."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Raises ValueError or RedisError for a malformed URL."""
        behind = parse_sentinel_url(url)
        options: dict[str, Any] = dict(parse_url(behind.server_url if behind else url))
        self._path: str | None = options.get("path")
        self._server = options.get("host", "localhost"), options.get("port", _DEFAULT_PORT)
        self._tls = None
        tls: dict[str, Any] = {}
        if options.get("connection_class") is SSLConnection:
            tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
            self._tls = SSLConnection(**tls).ssl_context.get()
            tls["ssl"] = True
        self._primary = behind.primary if behind else ""
        self._sentinel = _sentinel(behind, tls, timeout_s) if behind else None
        self._watching: set[asyncio.Task[None]] = set()
        self._handshake: list[Sequence[str]] = []
        if options.get("password"):
            user = (options["username"],) if options.get("username") else ()
            self._handshake.append(("AUTH", *user, options["password"]))
        if options.get("db"):
            self._handshake.append(("SELECT", str(options["db"])))
        self._client_name = options.get("client_name", _CLIENT_NAME)

    async def open(self) -> Wire:
        """A connection ready for commands; raises OSError or hiredis.ReplyError."""
        loop = asyncio.get_running_loop()
        if self._path is not None:
            _, wire = await loop.create_unix_connection(Wire, self._path)
        else:
            host, port = await self._find(self._sentinel) if self._sentinel else self._server
            _, wire = await loop.create_connection(Wire, host, port, ssl=self._tls)
        try:
            await self._begin_session(wire)
        except BaseException:
            wire.abort()
            raise
        if self._sentinel:
            watch = self._watch(wire, self._server, self._sentinel)
            task = asyncio.create_task(watch, name="primary")
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)
        return wire

    async def _begin_session(self, wire: Wire) -> None:
        for command in self._handshake:
            await wire.call(*command)
        with suppress(hiredis.ReplyError):  # a user that may not name itself
            await wire.call("CLIENT", "SETNAME", self._client_name)
        if self._sentinel and (await wire.call("ROLE"))[0] != b"master":
            raise ConnectionError("the server that the Sentinels name is no primary")

    async def close(self) -> None:
        for task in self._watching:
            task.cancel()
        if self._sentinel:
            await self._sentinel.aclose()

    async def _watch(self, wire: Wire, server: tuple[str, int], sentinel: Sentinel) -> None:
        """Close the connection when the Sentinels name another primary than `server`."""
        while wire.is_open:
            await asyncio.sleep(_WATCH_EVERY_S)
            with suppress(RedisError, OSError):  # unreachable Sentinels move nothing
                if await sentinel.discover_master(self._primary) != server:
                    wire.abort()

    async def _find(self, sentinel: Sentinel) -> tuple[str, int]:
        try:
            host, port = await sentinel.discover_master(self._primary)
        except RedisError as error:
            raise ConnectionError(f"no Sentinel names a primary: {error}") from error
        if (host, port) != self._server:
            log.info("store_primary", name=self._primary, address=f"{host}:{port}")
            self._server = host, port
        return host, port


def _sentinel(url: SentinelUrl, tls: dict[str, Any], timeout_s: float) -> Sentinel:
    share_s = timeout_s / _SHARE_OF_TIMEOUT
    return Sentinel(  # type: ignore[no-untyped-call]
        url.hosts,
        sentinel_kwargs=url.login
        | tls
        | {
            "socket_timeout": share_s,
            "socket_connect_timeout": share_s,
            "retry": Retry(NoBackoff(), 0),  # redis-py's own default waits for seconds
        },
    )
