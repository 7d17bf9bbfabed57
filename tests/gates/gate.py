"""One replica in this process, and how the fixture starts several of them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Pass, Ticket, Token
from gatekeeper.process.commands import WorkerPlan
from gatekeeper.process.worker import Worker
from gatekeeper.room.queue import Queue
from gatekeeper.room.replica import RoomReplica
from tests.builders import (
    SECRET,
    SESSION_ABSOLUTE_S,
    SESSION_IDLE_S,
    make_pass,
    make_ticket,
    parse_config,
    read_token,
    room_toml,
)
from tests.gates.http_visitor import Visitor
from tests.gates.origin import Origin

DEFAULT_ROOM = RoomName("default")


@dataclass
class Gate:
    """One running replica."""

    worker: Worker
    url: str
    room_name: RoomName = DEFAULT_ROOM
    _origin: Origin | None = None
    _visitors: list[Visitor] = field(default_factory=list)

    @property
    def origin(self) -> Origin:
        assert self._origin is not None, "this gate has an origin of the test's own"
        return self._origin

    @property
    def cookie_name(self) -> str:
        """The cookie of the test's own room."""
        return f"gatekeeper-{self.room_name}"

    @property
    def queue(self) -> Queue:
        """The queue of the test's own room."""
        return self.room().queue

    def room(self, name: str = "") -> RoomReplica:
        """A room of this gate, by default the test's own."""
        return self.worker.rooms[RoomName(name or self.room_name)]

    def visitor(self, *others: Gate, tls: ssl.SSLContext | None = None) -> Visitor:
        """A new visitor, who may use this replica (`at=0`) and `others`. Closed with the gate."""
        visitor = Visitor(self, *others, tls=tls)
        self._visitors.append(visitor)
        return visitor

    async def allow(self, count: int, *, room: str = "") -> None:
        """Grant admissions as an operator, and release visitors for them."""
        queue = self.room(room).queue
        await queue.allow(count)
        await queue.advance()

    def now_s(self) -> float:
        """The store's clock as this replica knows it."""
        return next(iter(self.worker.rooms.values())).view.now_s()

    def pass_time(self, seconds: float) -> None:
        """Advance this replica's clock, which ignores the store's clock from now on. The store's
        clock does not change."""
        view = self.room().view
        view._set_clock = lambda *_, **__: None  # type: ignore[method-assign]
        view._offset_s += seconds

    def token(self, raw: str, *, secret: bytes = SECRET) -> Token | None:
        """The token in `raw`, as a gate with `secret` reads it for the test's own room."""
        return read_token(raw, room=self.room_name, now_s=self.now_s(), secret=secret)

    def issue_pass(
        self,
        *,
        room: RoomName | None = None,
        ago_s: float = 0,
        expires_in_s: float = SESSION_IDLE_S,
        ends_in_s: float = SESSION_ABSOLUTE_S,
        confirmed: bool = True,
    ) -> Pass:
        """A pass of a new visitor, as issued `ago_s` seconds ago."""
        return make_pass(
            room or self.room_name,
            now_s=self.now_s(),
            ago_s=ago_s,
            expires_in_s=expires_in_s,
            ends_in_s=ends_in_s,
            confirmed=confirmed,
        )

    def issue_ticket(self) -> Ticket:
        """A ticket of a visitor who arrives now."""
        return make_ticket(self.room_name, now_s=self.now_s())

    async def close_visitors(self) -> None:
        for visitor in self._visitors:
            await visitor.session.close()


@asynccontextmanager
async def running_gate(
    toml: str,
    *,
    store_url: str,
    events_url: str = "off",
    origin_url: str,
    secrets: tuple[bytes, ...] = (SECRET,),
) -> AsyncIterator[Gate]:
    """A replica in this process, on its own port. `toml` needs no [origin] or [tokens]."""
    with TemporaryDirectory() as folder:
        text = f'[origin]\nurl = "{origin_url}"\n{toml}'
        config = parse_config(text, folder=Path(folder))
        worker = Worker(WorkerPlan(config, store_url, events_url, secrets, "127.0.0.1", 0))
        await worker.start()
        scheme = "https" if config.server.tls else "http"
        gate = Gate(worker, f"{scheme}://127.0.0.1:{worker.port}")
        try:
            yield gate
        finally:
            await gate.close_visitors()
            await worker.close()


class GateStarter:
    """Starts gates of one test: they share the origin, the store and the test's own room.

    `gate = await start_gate(rate="0")` has `gate.origin` and `gate.visitor()`. A second call starts
    another replica. All of them end after the test, the last one first.
    """

    def __init__(
        self, stack: AsyncExitStack, *, room_name: RoomName, store_url: str, events_url: str
    ) -> None:
        self._stack = stack
        self._room_name = room_name
        self._store_url = store_url
        self._events_url = events_url
        self._origin: Origin | None = None

    async def __call__(
        self,
        toml: str = "",
        *,
        rooms: str | None = None,
        events_url: str | None = None,
        origin_url: str | None = None,
        secrets: tuple[bytes, ...] = (SECRET,),
        **room_keys: str | int | list[str],
    ) -> Gate:
        """A running gate with the test's own room.

        `toml` is the configuration before the rooms, beginning with more keys of [origin].
        `room_keys` are keys of the test's own room. `rooms` replaces that room. `origin_url` is
        another origin instead of `gate.origin`.
        """
        origin = await self._running_origin() if origin_url is None else None
        gate = await self._stack.enter_async_context(
            running_gate(
                toml + (room_toml(self._room_name, **room_keys) if rooms is None else rooms),
                store_url=self._store_url,
                events_url=self._events_url if events_url is None else events_url,
                origin_url=origin_url or (origin.url if origin else ""),
                secrets=secrets,
            )
        )
        gate.room_name = self._room_name
        gate._origin = origin
        return gate

    async def _running_origin(self) -> Origin:
        if self._origin is None:
            self._origin = await self._stack.enter_async_context(Origin.running())
        return self._origin
