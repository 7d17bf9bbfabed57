"""Replicas without HTTP, for tests of many visitors, many replicas or wrong clocks.

Rules: a replica here has all parts except the listener: store, events, pacer and admission. A
visitor stores the last token that it received, and sends each request to the replica that the test
selects.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import QueuePosition, WaitWithoutPlace
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId
from gatekeeper.room.event_bus import Events, NoEvents
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from gatekeeper.room.openings import Openings
from gatekeeper.room.operator import Operator
from gatekeeper.room.queue import Queue
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.state import RoomState
from gatekeeper.room.store import Reply, Script
from gatekeeper.room.view import ReplicaView
from gatekeeper.web.admission import Admission
from gatekeeper.web.outcome import Admit, Wait
from tests.builders import SECRET
from tests.patient_store import PatientStore


class CallCounter:
    """Counts the calls of one room to the store from now on, and how many were open at once.

    Other rooms with the same store object count too.
    """

    def __init__(self, room: RoomReplica, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = self.open = self.most_open = 0
        store = room.queue._store
        self._run = store.run
        monkeypatch.setattr(store, "run", self._counted)

    async def _counted(self, script: Script, keys: Sequence[str], args: Sequence[str]) -> Reply:
        self.calls += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._run(script, keys, args)
        finally:
            self.open -= 1


@dataclass(frozen=True, slots=True)
class Replica:
    """One running replica of one room."""

    room: RoomReplica
    admission: Admission
    events: Events

    @property
    def state(self) -> RoomState:
        assert self.room.view.state is not None
        return self.room.view.state

    @property
    def store_state(self) -> RoomState:
        """The newest state, from the store itself; `state` may be from another replica."""
        assert self.room.view.store_state is not None
        return self.room.view.store_state

    @property
    def store_up(self) -> bool:
        return self.room.view.store_up


async def pass_clock_error(*replicas: Replica) -> None:
    """Wait for longer than the difference of their clocks, so that a later arrival is later on each
    of them.

    A clock's error is up to the duration of a call, which is long on a busy machine.
    """
    clocks_s = [each.room.view.now_s() for each in replicas]
    await asyncio.sleep(max(clocks_s) - min(clocks_s) + 0.005)


def calls_in_flight(replica: Replica) -> int:
    """The calls of a replica to the store for visitors."""
    queue = replica.room.queue
    batches = (queue._arrivals, queue._polls, queue._touches)
    return len(replica.room._background) + sum(len(each._tasks) for each in batches)


def room_config(room: RoomName, **keys: object) -> RoomConfig:
    """A room with these keys of its configuration and defaults for the others."""
    return RoomConfig.model_validate({"name": room} | keys)


@asynccontextmanager
async def running_replica(
    room: RoomConfig,
    *,
    store_url: str,
    events_url: str = "off",
    clock_error_s: float = 0.0,
    secrets_: Sequence[bytes] = (SECRET,),
    openings: Callable[[Queue], Openings] = Openings,
) -> AsyncIterator[Replica]:
    """A replica that joined the room.

    `clock_error_s`: the error of both clocks of its machine.
    """
    name = secrets.token_hex(4)
    store = PatientStore(store_url)
    events: Events = NoEvents()
    if events_url != "off":
        events = NatsEvents(events_url, replica=name, signer=EventSigner(secrets_))
    view = ReplicaView(
        monotonic_s=_shifted(time.monotonic, by_s=-clock_error_s),
        wall_s=_shifted(time.time, by_s=clock_error_s),
    )
    room_replica = RoomReplica(
        store, events, Rules.of(room), replica=name, view=view, openings=openings
    )
    try:
        await room_replica.start()
        yield Replica(room_replica, Admission(room_replica, room), events)
    finally:
        await room_replica.close()
        await events.close()
        await store.close()


@asynccontextmanager
async def running_operator(
    room: RoomConfig, *, store_url: str, events_url: str = "off"
) -> AsyncIterator[Operator]:
    store = PatientStore(store_url)
    events: Events = NoEvents()
    if events_url != "off":
        events = NatsEvents(events_url, replica="operator", signer=EventSigner([SECRET]))
        events.connect()
    operator = Operator(store, events, room)
    try:
        yield operator
    finally:
        await operator.close()
        await events.close()
        await store.close()


@dataclass(frozen=True)
class ReplicatedRoom:
    """A room on one store. Its replicas and operators end with the test, if the test does not end
    them."""

    config: RoomConfig
    store_url: str
    events_url: str
    _stack: AsyncExitStack

    @property
    def name(self) -> RoomName:
        return self.config.name

    async def replica(self, **options: Any) -> Replica:
        """One more replica; `options` are those of `running_replica`."""
        return await self._stack.enter_async_context(self.running_replica(**options))

    async def replicas(self, count: int) -> list[Replica]:
        return [await self.replica() for _ in range(count)]

    async def operator(self, **options: Any) -> Operator:
        return await self._stack.enter_async_context(self.running_operator(**options))

    def running_replica(self, **options: Any) -> AbstractAsyncContextManager[Replica]:
        return running_replica(self.config, **self._servers | options)

    def running_operator(self, **options: Any) -> AbstractAsyncContextManager[Operator]:
        return running_operator(self.config, **self._servers | options)

    @property
    def _servers(self) -> dict[str, Any]:
        return {"store_url": self.store_url, "events_url": self.events_url}


RoomStarter = Callable[..., ReplicatedRoom]


@dataclass(slots=True)
class RoomVisitor:
    """A visitor without HTTP: its token, and the position in the last response."""

    token: Token | None = None
    position: int | None = None

    @property
    def is_admitted(self) -> bool:
        return isinstance(self.token, Pass)

    @property
    def is_waiting(self) -> bool:
        return isinstance(self.token, Ticket)

    @property
    def visitor(self) -> VisitorId:
        assert self.token is not None
        return self.token.visitor

    @property
    def arrival_us(self) -> int:
        assert self.token is not None
        return self.token.arrival_us

    async def request(self, replica: Replica) -> None:
        """One request for a page, with the last token."""
        outcome = await replica.admission.admit(self.token)
        self.position = None
        match outcome:
            case Admit(pass_=pass_):
                self.token = pass_
            case Wait(ticket=ticket, position=placed):
                self.token = ticket
                self.position = placed.ahead + 1 if isinstance(placed, QueuePosition) else None
            case WaitWithoutPlace():
                assert self.token is None
            case _:
                raise AssertionError(outcome)


async def request_all(visitors: Iterable[RoomVisitor], *replicas: Replica) -> None:
    """One request of each visitor, to the replicas in turn."""
    await asyncio.gather(
        *(visitor.request(replicas[at % len(replicas)]) for at, visitor in enumerate(visitors))
    )


async def request_released(visitors: Iterable[RoomVisitor], *replicas: Replica) -> None:
    """One more request of each visitor while others are released. Fails if that breaks the order.

    Requests to two replicas reach the store one after the other, and a release may fall between
    them: in one round a visitor is admitted and an earlier one is not yet. In the round after a
    release each visitor up to its watermark is admitted, and no visitor beyond the newest one.
    """
    visitors = [*visitors]
    released_us = max(each.state.watermark_us for each in replicas)
    await request_all(visitors, *replicas)
    newest_us = max(each.state.watermark_us for each in replicas)
    for visitor in visitors:
        assert visitor.is_admitted or visitor.arrival_us > released_us
        assert visitor.is_waiting or visitor.arrival_us <= newest_us


async def line_up(count: int, *replicas: Replica) -> list[RoomVisitor]:
    """New visitors who have returned their tickets, in the order in which they arrived."""
    visitors = [RoomVisitor() for _ in range(count)]
    for _ in range(2):
        await request_all(visitors, *replicas)
    return sorted(visitors, key=lambda visitor: visitor.arrival_us)


def admitted_indexes(visitors: Sequence[RoomVisitor]) -> list[int]:
    """The indexes of the admitted visitors."""
    return [at for at, visitor in enumerate(visitors) if visitor.is_admitted]


def _shifted(clock: Callable[[], float], *, by_s: float) -> Callable[[], float]:
    return lambda: clock() + by_s
