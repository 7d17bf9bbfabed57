"""The stores on which a room is tested: a real server, and DragonflyDB's rules in memory.

Rules: a ground holds one room and names its keys in short (`queue`, `state`), so that one test
covers all stores. Its time passes only when the test advances it, and no test sleeps: the clock is
the ground's own. On a server the scripts receive it as one more argument and read that in place of
`TIME`, so a pause of the machine passes no time and is no outage of the room.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import Any, Protocol, TypeAlias

from redis.asyncio import Redis

from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.decision import LineFull, QueuePosition, SlotGrant, Standing
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import RedisStore, Reply, Script, Store, StoreFull, room_keys
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest
from tests.contract.command_arguments import ScriptError
from tests.contract.dragonfly_rules import START_US, DragonflyRules, Hash
from tests.contract.sorted_set import ZSet

Contents: TypeAlias = dict[str, dict[str, str | float]]

_READ_CLOCK = "call('TIME')"
_READ_ARGUMENT = "(function(us) return { us:sub(1, -7), us:sub(-6) } end)(table.remove(ARGV))"
_HASHES = ("deadlines", "state", "sessions", "lanes", "holders")


class Ground(Protocol):
    """Where one room is kept."""

    room: RoomName

    def connect(self) -> Store:
        """A connection of its own, as a replica has it."""
        ...

    async def read(self) -> Contents:
        """Everything the store holds of the room, to compare or to write back."""
        ...

    async def write(self, contents: Contents) -> None:
        """Replace everything by `contents`; `{}`: the store loses everything."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Advance the clock; a negative number sets it back."""
        ...

    async def attend(self, *, ago_s: float = 0) -> None:
        """Record only that a pacer last called `ago_s` ago."""
        ...


class EmulatedStore:
    """The store in memory as a client of a room. Requires flat replies of strings and whole
    numbers, since the clients of the two stores receive floats differently."""

    def __init__(self, rules: DragonflyRules) -> None:
        self._rules = rules

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        try:
            reply = self._rules.eval(script.text, list(keys), list(args))
        except ScriptError as error:
            if "Out of memory" in str(error):
                raise StoreFull("the store is full") from error
            raise StoreError(f"the store did not respond to {script.name!r}") from error
        assert isinstance(reply, list)
        assert all(type(part) in {str, int} for part in reply), reply
        return [part if isinstance(part, int) else str(part).encode() for part in reply]

    async def scores(self, key: str, *, since: float, limit: int) -> dict[str, float]:
        scores = self._rules.data.get(key, {}).items()
        found = [(member, float(score)) for member, score in scores if float(score) >= since]
        return dict(sorted(found, key=itemgetter(1))[:limit])

    async def members(self, key: str, *, after: str, limit: int) -> list[str]:
        return sorted(each for each in self._rules.data.get(key, {}) if each > after)[:limit]

    async def count(self, key: str) -> int:
        return len(self._rules.data.get(key, {}))

    async def values(self, key: str, fields: Sequence[str]) -> dict[str, str]:
        stored = self._rules.data.get(key, {})
        return {field: str(stored[field]) for field in fields if field in stored}

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


def _stored(value: dict[str, str | float]) -> ZSet | Hash:
    """A value as read: the scores of a ZSET, or the texts of a HASH."""
    scores = {member: score for member, score in value.items() if not isinstance(score, str)}
    return ZSet(scores) if scores else {field: str(text) for field, text in value.items()}


class EmulatedGround:
    def __init__(self, room: RoomName) -> None:
        self.room = room
        self.rules = DragonflyRules()
        self._keys = {_short(key): key for key in room_keys(room)}

    def connect(self) -> Store:
        return EmulatedStore(self.rules)

    async def read(self) -> Contents:
        return {_short(key): {**value} for key, value in self.rules.data.items()}

    async def write(self, contents: Contents) -> None:
        self.rules.data = {self._keys[name]: _stored(value) for name, value in contents.items()}

    async def pass_time(self, seconds: float) -> None:
        passed_us = round(seconds * 1_000_000)
        self.rules.clock_us += passed_us
        state = self.rules.data.get(self._keys["state"])
        if state and seconds > 0:  # a pacer called all the time
            state["attended_at"] = str(int(state["attended_at"]) + passed_us)  # type: ignore[assignment]

    async def attend(self, *, ago_s: float = 0) -> None:
        at_us = self.rules.clock_us - round(ago_s * 1_000_000)
        self.rules.data[self._keys["state"]]["attended_at"] = str(at_us)  # type: ignore[assignment]


class ServerStore(RedisStore):
    """The store on a server as a room sees it, at the time that the test says."""

    def __init__(self, url: str, *, clock_us: Callable[[], int]) -> None:
        super().__init__(url, timeout_s=10)
        self._clock_us = clock_us

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        return await super().run(_on_clock(script), keys, [*args, str(self._clock_us())])


@cache
def _on_clock(script: Script) -> Script:
    assert script.text.count(_READ_CLOCK) == 1
    text = script.text.replace(_READ_CLOCK, _READ_ARGUMENT)
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return replace(script, text=text, sha=sha)


class ServerGround:
    """A room on a real DragonflyDB, Valkey or Redis; close it when done."""

    def __init__(self, url: str, room: RoomName) -> None:
        self.room = room
        self.clock_us = START_US
        self._url = url
        self._client = Redis.from_url(url, socket_timeout=10, decode_responses=True)
        self._keys = {_short(key): key for key in room_keys(room)}
        self._stores: list[RedisStore] = []

    def connect(self) -> Store:
        store = ServerStore(self._url, clock_us=lambda: self.clock_us)
        self._stores.append(store)
        return store

    async def read(self) -> Contents:
        async with self._client.pipeline(transaction=False) as calls:
            for name, key in self._keys.items():
                if name in _HASHES:
                    calls.hgetall(key)
                else:
                    calls.zrange(key, 0, -1, withscores=True)
            values = await calls.execute()
        return {name: dict(value) for name, value in zip(self._keys, values, strict=True) if value}

    async def write(self, contents: Contents) -> None:
        async with self._client.pipeline(transaction=False) as calls:
            calls.delete(*self._keys.values())
            for name, value in contents.items():
                mapping: Any = value
                if mapping and name in _HASHES:
                    calls.hset(self._keys[name], mapping=mapping)
                elif mapping:
                    calls.zadd(self._keys[name], mapping)
            await calls.execute()

    async def pass_time(self, seconds: float) -> None:
        passed_us = round(seconds * 1_000_000)
        self.clock_us += passed_us
        has_state = await self._client.exists(self._keys["state"])
        if has_state and seconds > 0:  # a pacer called all the time
            await self._client.hincrby(self._keys["state"], "attended_at", passed_us)

    async def attend(self, *, ago_s: float = 0) -> None:
        at_us = self.clock_us - round(ago_s * 1_000_000)
        await self._client.hset(self._keys["state"], "attended_at", str(at_us))

    async def close(self) -> None:
        await self._client.delete(*self._keys.values())
        await self._client.aclose()
        for store in self._stores:
            await store.close()


class Replica:
    """One replica's queue, and the newest state it received."""

    def __init__(self, ground: Ground, rules: Rules, *, name: str) -> None:
        self.store = ground.connect()
        self.newest: RoomState | None = None
        self.queue = Queue(
            self.store,
            rules,
            replica=name,
            on_state=self._receive,
            newest_known=lambda: self.newest,
        )

    async def allow(self, count: int) -> RoomState:
        return await self.queue.allow(count)

    async def released(self) -> int:
        """The number of visitors that one call of the pacer releases."""
        _, released = await self.queue.advance()
        return released

    async def read_state(self) -> RoomState:
        return await self.queue.read_state()

    async def set_mode(self, mode: Mode) -> RoomState:
        return await self.queue.set_mode(mode)

    def _receive(self, state: RoomState) -> None:
        if state.newer_than(self.newest):
            self.newest = state


Responses: TypeAlias = dict[str, SlotGrant | QueuePosition]
Open: TypeAlias = Callable[..., Awaitable[Replica]]  # a replica joins; keywords are a room's keys


async def arrive(replica: Replica, names: Sequence[str]) -> Responses:
    """All visitors arrive in one turn of the event loop, and so in one call up to the batch's
    limit."""
    replies = await arrive_at_limit(replica, names)
    return {name: each for name, each in replies.items() if not isinstance(each, LineFull)}


async def arrive_at_limit(
    replica: Replica, names: Sequence[str]
) -> dict[str, SlotGrant | QueuePosition | LineFull]:
    """Like `arrive`, for a line that may be full."""
    requests = [ArrivalRequest(VisitorId(name)) for name in names]
    replies = await asyncio.gather(*map(replica.queue.arrive, requests))
    return dict(zip(names, replies, strict=True))


async def line_up(replica: Replica, names: Sequence[str]) -> dict[str, SlotGrant | QueuePosition]:
    """Visitors arrive in this order, and visitors who have to wait return their tickets at once."""
    replies = await arrive(replica, names)
    waiting = {n: each for n, each in replies.items() if isinstance(each, QueuePosition)}
    for name, standing in (await poll(replica, waiting)).items():
        assert isinstance(standing, SlotGrant | QueuePosition)
        replies[name] = standing
    return replies


async def poll(
    replica: Replica, replies: Mapping[str, SlotGrant | QueuePosition]
) -> dict[str, Standing]:
    """Each visitor polls with the ticket of this reply."""
    requests = [
        replace(
            poll_request(name, each.turn_us),
            returned_at=each.returned_at if isinstance(each, QueuePosition) else None,
        )
        for name, each in replies.items()
    ]
    standings = await asyncio.gather(*map(replica.queue.poll, requests))
    return dict(zip(replies, standings, strict=True))


async def stay(replica: Replica, replies: Mapping[str, SlotGrant | QueuePosition]) -> None:
    """The visitors are connected: their heartbeats keep the places and claim nothing."""
    for name, each in replies.items():
        await replica.queue.poll(replace(poll_request(name, each.turn_us), connected=True))


async def confirm(replica: Replica, names: Sequence[str]) -> None:
    """The visitors use their passes again."""
    until_us = (await replica.read_state()).now_us + 3_600_000_000
    for name in names:
        assert await replica.queue.touch(VisitorId(name), until_us=until_us, ends_us=until_us)


def crowd(count: int, *, prefix: str = "v") -> list[str]:
    return [f"{prefix}{number:04}" for number in range(count)]


def admitted_names(
    replies: dict[str, SlotGrant | QueuePosition] | dict[str, Standing],
) -> list[str]:
    return [name for name, reply in replies.items() if isinstance(reply, SlotGrant)]


def poll_request(name: str, turn_us: int, *, has_pass: bool = False) -> PollRequest:
    return PollRequest(VisitorId(name), turn_us, has_pass)


def _short(key: str) -> str:
    return key.rpartition(":")[2]


async def enter(replica: Replica, name: str) -> int:
    """Arrive, wait, be released, claim: the turn of a visitor admitted by a ticket."""
    reply = (await line_up(replica, [name]))[name]
    assert isinstance(reply, QueuePosition)
    await replica.allow(1)
    assert await replica.released() == 1
    grant = await replica.queue.poll(poll_request(name, reply.turn_us))
    assert isinstance(grant, SlotGrant)
    assert (grant.turn_us, grant.confirmed) == (reply.turn_us, True)
    return reply.turn_us
