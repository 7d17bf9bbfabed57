"""Where the store is, by its URL, and how a connection to it is opened.

Rules. redis-py opens a connection (TLS, login, database, client name) and queries the Sentinels;
then the connection is handed over, so that commands avoid redis-py's 150 µs each. Behind Sentinels
each connection is opened to the primary that they name at that moment, and used only if that server
reports that role: a Sentinel may be outdated, and is asked last from then on. A demoted primary
accepts writes until a Sentinel makes it a replica, which takes up to 10 s, and loses them then. So
while a connection is open the Sentinels are asked each second, and it is closed when they name
another server. A Sentinel that does not respond takes a quarter of the store's timeout, and is
asked last as well.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import hiredis
import structlog
from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from gatekeeper.config.sentinel_url import SentinelUrl, parse_sentinel_url
from gatekeeper.room.resp_connection import RespConnection

_CLIENT_NAME = "gatekeeper"  # in CLIENT LIST
_SHARE_OF_TIMEOUT = 4
_PROTOCOL = 2  # of RESP
_WATCH_EVERY_S = 1.0
# The URL parameters of a single connection; the others are for redis-py's connection pool.
_OF_CONNECTION = frozenset({"host", "port", "path", "username", "password", "db", "client_name"})
_REFUSALS = (AuthenticationError, InvalidResponse, ResponseError)

log = structlog.get_logger()


class _Handover:
    """A connection of redis-py that gives away its streams, which no public method does."""

    _reader: asyncio.StreamReader | None
    _writer: asyncio.StreamWriter | None

    def hand_over(self) -> RespConnection:
        assert self._writer is not None
        wire = RespConnection.over(self._writer)
        self._reader = self._writer = None
        return wire


class _TcpOpener(_Handover, Connection):
    pass


class _TlsOpener(_Handover, SSLConnection):
    pass


class _UnixOpener(_Handover, UnixDomainSocketConnection):
    pass


_OPENERS: dict[type, Any] = {
    Connection: _TcpOpener,
    SSLConnection: _TlsOpener,
    UnixDomainSocketConnection: _UnixOpener,
}


class StoreAddress:
    """The address of a store; opens one connection at a time."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Raises ValueError or RedisError for a malformed URL."""
        behind = parse_sentinel_url(url)
        options: dict[str, Any] = dict(parse_url(behind.server_url if behind else url))
        opener_class = _OPENERS[options.get("connection_class", Connection)]
        own = {name: value for name, value in options.items() if name in _OF_CONNECTION}
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        session = {"client_name": _CLIENT_NAME, "protocol": _PROTOCOL}
        # One opener for all connections: it keeps its TLS context.
        self._opener = opener_class(**(session | own | tls))
        if opener_class is _TlsOpener:
            self._opener.ssl_context.get()  # raises if a file is missing
            tls["ssl"] = True
        is_by_host = opener_class is not _UnixOpener
        self._url_server = (self._opener.host, self._opener.port) if is_by_host else None
        self._server = ("", 0)  # the primary that the Sentinels named last
        self._primary = behind.primary if behind else ""
        self._sentinel = _sentinel(behind, tls, timeout_s) if behind else None
        self._watching: set[asyncio.Task[None]] = set()

    async def open(self) -> RespConnection:
        """A connection ready for commands; raises OSError or hiredis.ReplyError."""
        if self._sentinel is None:
            return await self._connect_alone()
        self._server = await self._find(self._sentinel)
        self._opener.host, self._opener.port = self._server
        try:
            wire = await self._connect_to_primary()
        except BaseException:
            # The server that this Sentinel names does not serve. Another Sentinel may be more
            # recent.
            self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))
            raise
        watch = self._watch(wire, self._server, self._sentinel)
        task = asyncio.create_task(watch, name="primary")
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return wire

    def follow(self, moved: str) -> None:
        """`MOVED SLOT HOST:PORT`: in a cluster of one shard another server is the primary now."""
        host, _, port = moved.rpartition(" ")[2].rpartition(":")
        is_port = port.isdecimal() and int(port) < 65536
        if self._sentinel is None and is_port and self._url_server:
            self._opener.host, self._opener.port = host or self._opener.host, int(port)
            log.info("store_primary", name="", address=f"{self._opener.host}:{port}")

    async def _connect_alone(self) -> RespConnection:
        try:
            return await self._connect()
        except BaseException:
            if self._url_server:  # it may have followed a primary that is gone
                self._opener.host, self._opener.port = self._url_server
            raise

    async def _connect_to_primary(self) -> RespConnection:
        wire = await self._connect()
        try:
            await self._check_role(wire)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _connect(self) -> RespConnection:
        try:
            return await self._connect_by_any_name()
        except RedisError as error:
            raise _translated(error) from error

    async def _connect_by_any_name(self) -> RespConnection:
        try:
            try:
                await self._opener.connect()
            except RedisError as error:
                may_name_itself = not isinstance(_cause(error), NoPermissionError)
                if may_name_itself or not self._opener.client_name:
                    raise
                self._opener.client_name = None
                await self._opener.connect()
        except BaseException:
            await self._opener.disconnect(nowait=True)
            raise
        wire: RespConnection = self._opener.hand_over()
        return wire

    async def _check_role(self, wire: RespConnection) -> None:
        with suppress(hiredis.ReplyError):
            [role, *_] = await wire.call("ROLE")
            if role == b"master":
                return
        raise ConnectionError("the server that the Sentinels name is not a primary")

    async def close(self) -> None:
        for task in self._watching:
            task.cancel()
        if self._sentinel:
            await self._sentinel.aclose()

    async def _watch(
        self, wire: RespConnection, server: tuple[str, int], sentinel: Sentinel
    ) -> None:
        """Close the connection when the Sentinels name another primary than `server`."""
        while wire.is_open:
            await asyncio.sleep(_WATCH_EVERY_S)
            with suppress(RedisError, OSError):  # unreachable Sentinels change nothing
                if await sentinel.discover_master(self._primary) != server:
                    wire.abort()

    async def _find(self, sentinel: Sentinel) -> tuple[str, int]:
        try:
            host, port = await sentinel.discover_master(self._primary)
        except MasterNotFoundError:
            raise await self._no_primary(sentinel) from None
        except RedisError as error:
            raise _translated(error) from error
        if (host, port) != self._server:
            log.info("store_primary", name=self._primary, address=f"{host}:{port}")
        return host, port

    async def _no_primary(self, sentinel: Sentinel) -> Exception:
        """Why no Sentinel names a primary. redis-py's error has whole objects in its text, with the
        options of connections, and the cause behind them."""
        replies = await asyncio.gather(
            *(each.sentinel_masters() for each in sentinel.sentinels), return_exceptions=True
        )
        known = [each for each in replies if isinstance(each, dict)]
        refusals = [each for each in replies if isinstance(each, _REFUSALS)]
        if refusals and not known:
            return hiredis.ReplyError(f"a Sentinel: {refusals[0]}")
        if not known:
            return ConnectionError("no Sentinel responds")
        if not any(self._primary in each for each in known):
            return ConnectionError(f"no Sentinel knows a primary named {self._primary!r}")
        return ConnectionError("no Sentinel reports a running primary")


def _cause(error: RedisError) -> RedisError:
    """The server's own error, which redis-py wraps for a Unix socket."""
    return error.__cause__ if isinstance(error.__cause__, RedisError) else error


def _translated(error: RedisError) -> Exception:
    cause = _cause(error)
    if isinstance(cause, _REFUSALS):
        return hiredis.ReplyError(str(cause))
    return ConnectionError(str(cause))


def _sentinel(url: SentinelUrl, tls: dict[str, Any], timeout_s: float) -> Sentinel:
    share_s = timeout_s / _SHARE_OF_TIMEOUT
    return Sentinel(  # type: ignore[no-untyped-call]
        url.hosts,
        sentinel_kwargs=url.login
        | tls
        | {
            "socket_timeout": share_s,
            "socket_connect_timeout": share_s,
            "protocol": _PROTOCOL,
            "retry": Retry(NoBackoff(), 0),  # redis-py's own default waits for seconds
        },
    )
