"""The connection to the store, and the running of scripts on it.

Rules. One connection for all rooms: calls are pipelined, so that those of one turn of the event
loop are sent together. It reconnects when needed. Every call has a timeout and is sent once, since
a call that timed out may have run. One boundary translates errors: callers get replies or
`StoreError`. Scripts run by EVALSHA, and by EVAL when the server does not have them (a restart, a
fail-over); never in MULTI, and with every key in KEYS, as DragonflyDB demands.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

import hiredis

from gatekeeper import metrics
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.printable import printable
from gatekeeper.room.resp_connection import RespConnection
from gatekeeper.room.store_address import StoreAddress

Reply = list[bytes | int]

_TEMPORARY = ("LOADING ", "BUSY ", "MASTERDOWN ")  # errors after which the server recovers
# The errors of a full store: Redis and Valkey, DragonflyDB.
_FULL = ("OOM command not allowed", "Out of memory")
# A demoted primary keeps its connections, and its name may resolve to another server by now.
_ELSEWHERE = ("READONLY ", "MASTERDOWN ")
# uvloop raises RuntimeError for a write to a connection that was just reset.
_FAILURES = (hiredis.HiredisError, OSError, TimeoutError, RuntimeError)
_MAX_ERROR_CHARACTERS = 300  # characters of an error, in a log or for an operator
_KEY_NAMES = (
    "queue", "deadlines", "active", "revoked", "spent", "replicas", "state",
    "unconfirmed", "missed", "sessions", "lanes", "holders", "held_until", "lane_polls",
)  # fmt: skip


class StoreFull(StoreError):
    """The store is at `maxmemory`: it serves reads and removals, and refuses every other write."""


class StoreRefusal(StoreError):
    """The server responds but cannot serve this gate: a wrong password, another program, several
    shards."""


@dataclass(frozen=True, slots=True)
class Script:
    """One atomic operation: its name, its whole text and the SHA-1 of the text."""

    name: str
    text: str
    sha: str


_WITH_DEVICES = frozenset({"arrive", "poll", "leave", "move"})


def load_script(name: str) -> Script:
    """The packaged script `name` preceded by the room's shared parts."""
    folder = files("gatekeeper.room") / "scripts"
    devices = ("_devices",) if name in _WITH_DEVICES else ()
    parts = ("_room", "_admission", *devices, name)
    text = "".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def room_keys(room: RoomName) -> list[str]:
    """The keys of a room in the order of `_room.lua`: one hash tag, and so one slot."""
    return [f"gk:{{{room}}}:{name}" for name in _KEY_NAMES]


def participants_key(room: RoomName, draw: str) -> str:
    """The key of a draw's participants, of the room's hash tag."""
    return f"gk:{{{room}}}:draw:{draw}"


class Store(Protocol):
    """The store, as a room uses it."""

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        """The script's reply as a flat list; raises StoreError."""
        ...

    async def scores(self, key: str, *, since: float, limit: int) -> dict[str, float]:
        """The first `limit` members of a ZSET with at least that score; raises StoreError."""
        ...

    async def members(self, key: str, *, after: str, limit: int) -> list[str]:
        """The first `limit` members after `after` of a ZSET whose scores are equal, in the order of
        their bytes; raises StoreError."""
        ...

    async def count(self, key: str) -> int:
        """How many members a ZSET has; raises StoreError."""
        ...

    async def values(self, key: str, fields: Sequence[str]) -> dict[str, str]:
        """The values of those fields that a HASH has; raises StoreError."""
        ...

    async def ping(self) -> None:
        """Raises StoreError unless the store replies, StoreRefusal if it cannot serve this gate."""
        ...

    async def close(self) -> None: ...


class RedisStore:
    """DragonflyDB, Valkey or Redis by URL."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._address = StoreAddress(url, timeout_s=timeout_s)
        self._wire: RespConnection | None = None
        self._opening = asyncio.Lock()

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        began_s = time.perf_counter()
        rest = (str(len(keys)), *keys, *args)
        try:
            try:
                reply = await self._call("EVALSHA", script.sha, *rest)
            except hiredis.ReplyError as error:
                if not str(error).startswith("NOSCRIPT"):
                    raise
                reply = await self._call("EVAL", script.text, *rest)
        except _FAILURES as error:
            metrics.store_errors.labels(script.name).inc()
            raise _translated(error, script.name) from error
        metrics.store_seconds.observe(time.perf_counter() - began_s, script.name)
        return _listed(reply)

    async def scores(self, key: str, *, since: float, limit: int) -> dict[str, float]:
        window = ("LIMIT", "0", str(limit))
        try:
            reply = await self._call(
                "ZRANGEBYSCORE", key, repr(since), "+inf", "WITHSCORES", *window
            )
        except _FAILURES as error:
            raise _translated(error, "zrangebyscore") from error
        pairs = zip(*[iter(_listed(reply))] * 2, strict=True)
        return {member.decode(): float(score) for member, score in pairs}

    async def members(self, key: str, *, after: str, limit: int) -> list[str]:
        first = f"({after}" if after else "-"
        window = ("LIMIT", "0", str(limit))
        try:
            reply = await self._call("ZRANGEBYLEX", key, first, "+", *window)
        except _FAILURES as error:
            raise _translated(error, "zrangebylex") from error
        return [member.decode() for member in _listed(reply)]

    async def count(self, key: str) -> int:
        try:
            reply = await self._call("ZCARD", key)
        except _FAILURES as error:
            raise _translated(error, "zcard") from error
        if not isinstance(reply, int):
            raise StoreError("unexpected reply from the store")
        return reply

    async def values(self, key: str, fields: Sequence[str]) -> dict[str, str]:
        try:
            reply = _listed(await self._call("HMGET", key, *fields))
        except _FAILURES as error:
            raise _translated(error, "hmget") from error
        found = zip(fields, reply, strict=True)
        return {field: value.decode() for field, value in found if value is not None}

    async def ping(self) -> None:
        try:
            await self._call("PING")
            shards = await self._shards()
        except hiredis.HiredisError as error:
            if str(error).startswith(_TEMPORARY):
                raise StoreError("the store is not ready yet") from error
            raise StoreRefusal(f"the store refuses: {error}") from error
        except _FAILURES as error:
            raise StoreError("the store does not respond") from error
        if shards > 1:
            raise StoreRefusal(f"the store is a cluster of {shards} shards")

    async def _shards(self) -> int:
        """How many primaries share the keys; more than one only in a cluster."""
        try:
            reply = await self._call("CLUSTER", "INFO")
        except hiredis.ReplyError:  # not a cluster, or the user may not ask
            return 1
        return shards_of(reply)

    async def close(self) -> None:
        if self._wire is not None:
            self._wire.abort()
        await self._address.close()

    async def _call(self, *command: str) -> Any:
        wire = None
        try:
            async with asyncio.timeout(self._timeout_s):
                wire = await self._opened()
                return await wire.call(*command)
        except TimeoutError:
            if wire is not None:  # the command may still run, and no caller waits for its reply
                wire.abort()
            raise
        except hiredis.ReplyError as error:
            if wire is not None and str(error).startswith("MOVED "):
                await self._follow(wire, str(error))
            elif wire is not None and str(error).startswith(_ELSEWHERE):
                wire.abort()
            raise

    async def _follow(self, wire: RespConnection, moved: str) -> None:
        """Send the next call to the primary that a server of a cluster names. A cluster of several
        shards is not followed: rooms may be on different ones."""
        with suppress(*_FAILURES):
            async with asyncio.timeout(self._timeout_s):
                if shards_of(await wire.call("CLUSTER", "INFO")) == 1 and wire is self._wire:
                    self._address.follow(printable(moved))
                    wire.abort()

    async def _opened(self) -> RespConnection:
        if self._wire is not None and self._wire.is_open:
            return self._wire
        async with self._opening:
            if self._wire is None or not self._wire.is_open:  # else another caller was first
                self._wire = await self._address.open()
            return self._wire


def shards_of(cluster_info: bytes) -> int:
    """How many primaries have slots, from the reply to `CLUSTER INFO`; 1 without a cluster."""
    found = re.search(rb"^cluster_size:(\d+)", cluster_info, re.MULTILINE)
    return int(found[1]) if found else 1


def _listed(reply: Any) -> list[Any]:
    if not isinstance(reply, list):
        raise StoreError("unexpected reply from the store")
    return reply


def _translated(error: Exception, operation: str) -> StoreError:
    # The server refuses the script at its first write; inside the script the error quotes this
    # text.
    words = printable(str(error))[:_MAX_ERROR_CHARACTERS]
    if any(each in words for each in _FULL):
        return StoreFull("the store is full")
    if isinstance(error, hiredis.HiredisError):
        return StoreError(f"the store refused {operation!r}: {words}")
    cause = f": {words}" if words else ""  # a timeout has none
    return StoreError(f"the store did not respond to {operation!r}{cause}")
