"""DragonflyDB's rules for Lua scripts, where they differ from Redis, on a store in memory.

Rules: as strict as DragonflyDB 1.40 on every point where a script that passes on Redis could fail
there, and stricter where its flags decide (undeclared keys are refused even of the same tag). An
unknown command or option is an error, never ignored. It does not replace DragonflyDB: with its URL,
the contract suite runs on the real one. The emulation finds the same mistakes on a machine without
it.

    Lua 5.4      integers and floats differ: `6/2` is 3.0, `%d` of a fraction raises
    scores       floats, where 1.40 passes whole ones as integers and Redis strings; a float in a
                 reply stays one; a nil does not end a reply
    keys         declared in KEYS, all of one hash tag
    TIME         whole milliseconds, as integers, and still during a script
    ZADD GT, LT  without effect once the set is past 128 members
    globals      none made, none read that do not exist; no cjson, cmsgpack, bit or struct here
    failure      what was written before an error stays written
    maxmemory    (`is_full`) what could grow the data fails at any command of a script, what removes
                 works; with `room_for` from that command of each script on
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

from lupa import lua54

from tests.contract.command_arguments import (
    Reply,
    ScriptError,
    bound,
    integer,
    limited,
    members_of,
    range_options,
    score_of,
)
from tests.contract.lua_sandbox import SANDBOX
from tests.contract.sorted_set import ZSet

Hash: TypeAlias = dict[str, str]

START_US = 1_700_000_000_000_000  # of the clock

_WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
_GT_LT_MEMBERS = 128  # a larger set has another encoding
_PLAIN = frozenset({str, int, float})  # the same in a reply as in Lua
_OF_KEYS = frozenset({"DEL", "EXISTS"})
_GROWING = frozenset({"ZADD", "HSET", "HSETNX", "HINCRBY"})


_NO_MEMBERS = ZSet()


class DragonflyRules:
    """A store that takes one script at a time; `clock_us` changes only when the test sets it."""

    def __init__(self, *, clock_us: int = START_US) -> None:
        self.clock_us = clock_us
        self.is_full = False
        self.room_for: int | None = None  # commands of one script that may grow the data
        self._grown = 0
        self.data: dict[str, ZSet | Hash] = {}
        self.expires_us: dict[str, int] = {}
        self._lua = lua54.LuaRuntime(register_eval=False, unpack_returned_tuples=True)
        self._compile = self._lua.eval("function(code, ...) return assert(load(code))(...) end")
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._now_us = clock_us
        self._declared: frozenset[str] = frozenset()

    def eval(self, script: str, keys: list[str], args: list[str]) -> Reply:
        """Run `script`; raises ScriptError, and keeps what the script wrote before that."""
        if len({_hash_tag(key) for key in keys}) > 1:
            raise ScriptError("CROSSSLOT Keys in request don't hash to the same slot")
        self._now_us, self._declared, self._grown = self.clock_us, frozenset(keys), 0
        for key in [key for key, at_us in self.expires_us.items() if at_us <= self._now_us]:
            self._remove(key)
        tables = self._lua.table_from(keys), self._lua.table_from(args)
        try:
            if script not in self._compiled:
                self._compiled[script] = self._compile(SANDBOX, self._redis_call, script)
            result = self._compiled[script](*tables)
        except lua54.LuaError as error:
            raise ScriptError(f"ERR Error running script: {error}") from error
        return _reply(result)

    def _redis_call(self, *parts: object) -> object:
        """One `redis.pcall`: errors are returned as a table, as in Lua."""
        try:
            if not parts:
                raise ScriptError("ERR Please specify at least one argument for redis.call()")
            name, *args = [part if type(part) is str else _argument(part) for part in parts]
            value = self._command(name.upper(), args)
            return self._lua_value(value) if value is None or type(value) is list else value
        except ScriptError as error:
            return self._lua.table_from({"err": str(error)})

    def _command(self, name: str, args: list[str]) -> Reply:
        entry = _COMMANDS.get(name)
        if entry is None:
            raise ScriptError(f"ERR unknown command '{name}'")
        run, fewest, most = entry
        if not fewest <= len(args) <= most:
            raise ScriptError(f"ERR wrong number of arguments for '{name.lower()}' command")
        if name in _GROWING:
            if self.is_full or self._grown == self.room_for:
                raise ScriptError("ERR Out of memory")
            self._grown += 1
        for key in args if name in _OF_KEYS else args[:1]:
            if key not in self._declared:
                raise ScriptError(f"ERR script tried accessing undeclared key, key: {key}")
        return run(self, *args)

    def _lua_value(self, value: Reply) -> object:
        if isinstance(value, list):  # a nil inside an array is false, so that it keeps its position
            return self._lua.table_from(
                [each if type(each) is str else self._lua_value(each) for each in value]
            )
        return False if value is None else value

    def _remove(self, key: str) -> bool:
        self.expires_us.pop(key, None)
        return self.data.pop(key, None) is not None

    def _zset(self, key: str) -> ZSet:
        """The value of `key`, or a new empty one that is kept only by `_store`."""
        return self._read_zset(key) if key in self.data else ZSet()

    def _read_zset(self, key: str) -> ZSet:
        """The value of `key`, or an empty one, that the caller does not change."""
        value = self.data.get(key, _NO_MEMBERS)
        if not isinstance(value, ZSet):
            raise ScriptError(_WRONG_TYPE)
        return value

    def _hash(self, key: str) -> Hash:
        """The value of `key`, or a new empty one that is kept only by `_store`."""
        value = self.data.get(key, {})
        if isinstance(value, ZSet):
            raise ScriptError(_WRONG_TYPE)
        return value

    def _store(self, key: str, value: ZSet | Hash) -> None:
        if value:
            self.data[key] = value
        else:
            self._remove(key)

    # Keys and time

    def time(self) -> Reply:
        now_ms = self._now_us // 1000
        return [now_ms // 1000, now_ms % 1000 * 1000]

    def delete(self, *keys: str) -> Reply:
        return sum(self._remove(key) for key in keys)

    def exists(self, *keys: str) -> Reply:
        return sum(key in self.data for key in keys)

    def pexpire(self, key: str, milliseconds: str) -> Reply:
        if key not in self.data:
            return 0
        self.expires_us[key] = self._now_us + integer(milliseconds) * 1000
        return 1

    def pttl(self, key: str) -> Reply:
        if key not in self.data:
            return -2
        at_us = self.expires_us.get(key)
        return -1 if at_us is None else (at_us - self._now_us) // 1000

    def persist(self, key: str) -> Reply:
        return int(self.expires_us.pop(key, None) is not None)

    # Hashes

    def hget(self, key: str, field: str) -> Reply:
        return self._hash(key).get(field)

    def hmget(self, key: str, *fields: str) -> Reply:
        value = self._hash(key)
        return [value.get(field) for field in fields]

    def hgetall(self, key: str) -> Reply:
        return [part for pair in self._hash(key).items() for part in pair]

    def hset(self, key: str, *pairs: str) -> Reply:
        if len(pairs) % 2:
            raise ScriptError("ERR wrong number of arguments for 'hset' command")
        value = self._hash(key)
        before = len(value)
        value.update(zip(pairs[::2], pairs[1::2], strict=True))
        self._store(key, value)
        return len(value) - before

    def hsetnx(self, key: str, field: str, text: str) -> Reply:
        return 0 if field in self._hash(key) else self.hset(key, field, text)

    def hdel(self, key: str, *fields: str) -> Reply:
        value = self._hash(key)
        removed = sum(value.pop(field, None) is not None for field in fields)
        self._store(key, value)
        return removed

    def hlen(self, key: str) -> Reply:
        return len(self._hash(key))

    def hincrby(self, key: str, field: str, by: str) -> Reply:
        value = self._hash(key)
        total = integer(value.get(field, "0"), what="hash value is not an integer") + integer(by)
        value[field] = str(total)
        self._store(key, value)
        return total

    def hexists(self, key: str, field: str) -> Reply:
        return int(field in self._hash(key))

    # Sorted sets

    def zadd(self, key: str, *args: str) -> Reply:
        rest = list(args)
        flags: set[str] = set()
        while rest and rest[0].upper() in {"NX", "XX", "GT", "LT", "CH"}:
            flags.add(rest.pop(0).upper())
        if (
            not rest
            or len(rest) % 2
            or {"NX", "XX"} <= flags
            or len(flags & {"NX", "GT", "LT"}) > 1
        ):
            raise ScriptError("ERR syntax error")
        pairs = [(score_of(s), m) for s, m in zip(rest[::2], rest[1::2], strict=True)]
        value = self._zset(key)
        added = changed = 0
        for score, member in pairs:
            old = value.get(member)
            compares = len(value) <= _GT_LT_MEMBERS
            if old is None and "XX" in flags:
                continue
            if old is not None and (
                "NX" in flags
                or (compares and "GT" in flags and score <= old)
                or (compares and "LT" in flags and score >= old)
            ):
                continue
            value[member] = score
            added += old is None
            changed += old != score
        self._store(key, value)
        return changed if "CH" in flags else added

    def zrem(self, key: str, *members: str) -> Reply:
        value = self._zset(key)
        removed = sum(value.drop(member) for member in members)
        self._store(key, value)
        return removed

    def zscore(self, key: str, member: str) -> Reply:
        return self._read_zset(key).get(member)

    def zmscore(self, key: str, *members: str) -> Reply:
        return [*map(self._read_zset(key).get, members)]

    def zcard(self, key: str) -> Reply:
        return len(self._read_zset(key))

    def zrank(self, key: str, member: str) -> Reply:
        value = self._read_zset(key)
        return value.rank(member) if member in value else None

    def zcount(self, key: str, low: str, high: str) -> Reply:
        first, last = self._ranks(key, low, high)
        return max(last - first, 0)

    def zrange(self, key: str, first: str, last: str, *options: str) -> Reply:
        flags, limit = range_options(options, {"BYSCORE", "REV", "WITHSCORES"})
        if "BYSCORE" not in flags:
            if limit is not None:
                raise ScriptError("ERR syntax error, LIMIT is only supported with BYSCORE")
            pairs = self._by_rank(key, first, last, reverse="REV" in flags)
        elif "REV" in flags:
            pairs = self._by_score(key, last, first)[::-1]
        else:
            pairs = self._by_score(key, first, last)
        return members_of(limited(pairs, limit), with_scores="WITHSCORES" in flags)

    def zrangebyscore(self, key: str, low: str, high: str, *options: str) -> Reply:
        flags, limit = range_options(options, {"WITHSCORES"})
        pairs = limited(self._by_score(key, low, high), limit)
        return members_of(pairs, with_scores="WITHSCORES" in flags)

    def zpopmin(self, key: str, count: str = "1") -> Reply:
        if (wanted := integer(count)) < 0:
            raise ScriptError("ERR value is out of range, must be positive")
        pairs = self._zset(key).in_order(0, wanted)
        self._drop(key, pairs)
        return members_of(pairs, with_scores=True)

    def zremrangebyscore(self, key: str, low: str, high: str) -> Reply:
        return self._drop(key, self._by_score(key, low, high))

    def zremrangebyrank(self, key: str, first: str, last: str) -> Reply:
        return self._drop(key, self._by_rank(key, first, last))

    def _by_score(self, key: str, low: str, high: str) -> list[tuple[str, float]]:
        return self._read_zset(key).in_order(*self._ranks(key, low, high))

    def _ranks(self, key: str, low: str, high: str) -> tuple[int, int]:
        """The first rank within two scores, and the first one after them."""
        (least, least_out), (most, most_out) = bound(low), bound(high)
        return self._read_zset(key).ranks(least, most, least_out=least_out, most_out=most_out)

    def _by_rank(
        self, key: str, first: str, last: str, *, reverse: bool = False
    ) -> list[tuple[str, float]]:
        value = self._zset(key)
        start, stop, size = integer(first), integer(last), len(value)
        start = max(start + size, 0) if start < 0 else start
        stop = stop + size if stop < 0 else min(stop, size - 1)
        if start > stop:
            return []
        if reverse:
            return value.in_order(size - 1 - stop, size - start)[::-1]
        return value.in_order(start, stop + 1)

    def _drop(self, key: str, pairs: Iterable[tuple[str, float]]) -> int:
        return sum(self.zrem(key, member) == 1 for member, _ in list(pairs))


_NO_LIMIT = 1_000_000
# Each with its fewest and most arguments, not counting its name.
_COMMANDS: dict[str, tuple[Callable[..., Reply], int, int]] = {
    "TIME": (DragonflyRules.time, 0, 0),
    "DEL": (DragonflyRules.delete, 1, _NO_LIMIT),
    "EXISTS": (DragonflyRules.exists, 1, _NO_LIMIT),
    "PEXPIRE": (DragonflyRules.pexpire, 2, 2),
    "PTTL": (DragonflyRules.pttl, 1, 1),
    "PERSIST": (DragonflyRules.persist, 1, 1),
    "HGET": (DragonflyRules.hget, 2, 2),
    "HMGET": (DragonflyRules.hmget, 2, _NO_LIMIT),
    "HGETALL": (DragonflyRules.hgetall, 1, 1),
    "HSET": (DragonflyRules.hset, 3, _NO_LIMIT),
    "HSETNX": (DragonflyRules.hsetnx, 3, 3),
    "HDEL": (DragonflyRules.hdel, 2, _NO_LIMIT),
    "HLEN": (DragonflyRules.hlen, 1, 1),
    "HINCRBY": (DragonflyRules.hincrby, 3, 3),
    "HEXISTS": (DragonflyRules.hexists, 2, 2),
    "ZADD": (DragonflyRules.zadd, 3, _NO_LIMIT),
    "ZREM": (DragonflyRules.zrem, 2, _NO_LIMIT),
    "ZSCORE": (DragonflyRules.zscore, 2, 2),
    "ZMSCORE": (DragonflyRules.zmscore, 2, _NO_LIMIT),
    "ZCARD": (DragonflyRules.zcard, 1, 1),
    "ZRANK": (DragonflyRules.zrank, 2, 2),
    "ZCOUNT": (DragonflyRules.zcount, 3, 3),
    "ZRANGE": (DragonflyRules.zrange, 3, 9),
    "ZRANGEBYSCORE": (DragonflyRules.zrangebyscore, 3, 7),
    "ZPOPMIN": (DragonflyRules.zpopmin, 1, 2),
    "ZREMRANGEBYSCORE": (DragonflyRules.zremrangebyscore, 3, 3),
    "ZREMRANGEBYRANK": (DragonflyRules.zremrangebyrank, 3, 3),
}


@lru_cache(maxsize=1000)
def _hash_tag(key: str) -> str:
    match = re.search(r"\{([^}]+)\}", key)
    return match[1] if match else key


def _argument(value: object) -> str:
    """A Lua value as an argument of a command. Booleans and nil are errors."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScriptError("ERR Lua redis() command arguments must be strings or integers")
    return str(value) if isinstance(value, int) else f"{value:.17g}"


def _reply(value: Any) -> Reply:
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if type(value) in _PLAIN:
        return value  # type: ignore[no-any-return]
    if lua54.lua_type(value) != "table":
        return None
    if isinstance(error := value["err"], str):
        raise ScriptError(error)
    if isinstance(status := value["ok"], str):
        return status
    parts = [value[index] for index in range(1, len(value) + 1)]
    return [part if type(part) in _PLAIN else _reply(part) for part in parts]
