"""The connection to the store and the running of scripts on it.

Rules. Every call has a time-out and is tried once: redis-py's own retries are off, since a call
that timed out may have run. One boundary translates errors: out come replies or `StoreError`.
Scripts go by EVALSHA, with EVAL when the server does not have them (a restart, a fail-over);
never in MULTI, and with every key in KEYS, as DragonflyDB demands.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from gatekeeper import metrics
from gatekeeper.config import RoomName
from gatekeeper.errors import StoreError

Reply = list[bytes]

_CONNECTIONS = 8  # per replica; calls are batched, so a few are busy at a time
# uvloop answers a write to a connection that was just reset with RuntimeError.
_FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)


class StoreFull(StoreError):
    """The store is at `maxmemory`: it answers, removes, and takes nothing more."""


class StoreRefused(StoreError):
    """It answers, and not as a store would that will have us: a password, another program."""


@dataclass(frozen=True, slots=True)
class Script:
    """One atomic operation: its name, its whole text and that text's SHA-1."""

    name: str
    text: str
    sha: str


def load_script(name: str) -> Script:
    """The packaged script `name` with the room's shared part in front."""
    folder = files("gatekeeper.room") / "scripts"
    text = "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("_room", name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def room_keys(room: RoomName) -> list[str]:
    """The keys of a room in the order of `_room.lua`, all of one hash tag, hence of one slot."""
    names = ("queue", "seen", "active", "revoked", "spent", "replicas", "state")
    return [f"gk:{{{room}}}:{name}" for name in names]


class Store(Protocol):
    """What a room needs of a store."""

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        """The script's reply as a flat list of bytes; raises StoreError."""
        ...

    async def scores(self, key: str, *, since: float, most: int) -> dict[str, float]:
        """Of a ZSET the first `most` members with at least that score; raises StoreError."""
        ...

    async def ping(self) -> None:
        """Raises StoreError unless the store answers."""
        ...

    async def close(self) -> None: ...


class RedisStore:
    """DragonflyDB, Valkey or Redis by URL."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
        )
        self._redis = Redis(connection_pool=pool)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    reply = await self._redis.evalsha(script.sha, len(keys), *keys, *args)
                except NoScriptError:
                    reply = await self._redis.eval(script.text, len(keys), *keys, *args)
        except _FAILURES as error:
            metrics.store_errors.labels(script.name).inc()
            raise _translated(error, script.name) from error
        metrics.store_seconds.labels(script.name).observe(time.perf_counter() - began_s)
        return reply  # type: ignore[no-any-return]

    async def scores(self, key: str, *, since: float, most: int) -> dict[str, float]:
        try:
            async with asyncio.timeout(self._timeout_s):
                pairs: Any = await self._redis.zrangebyscore(
                    key, since, "+inf", start=0, num=most, withscores=True
                )
        except _FAILURES as error:
            raise _translated(error, "zrangebyscore") from error
        return {member.decode(): float(score) for member, score in pairs}

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.ping()
        except (AuthenticationError, ResponseError, InvalidResponse) as error:
            raise StoreRefused(f"the store refuses: {error}") from error
        except _FAILURES as error:
            raise StoreError("the store does not answer") from error

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


def _translated(error: Exception, operation: str) -> StoreError:
    # Before the first write of a script the server says OOM, inside it quotes its own error.
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error):
        return StoreFull("the store is full")
    return StoreError(f"the store did not answer {operation!r}")
