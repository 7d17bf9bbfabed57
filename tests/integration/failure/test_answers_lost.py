"""The store heard and its answer is lost: a newcomer has one place, or the slot that was given."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.room.operator import Operator
from tests.integration.replicas.replica_group import (
    Replica,
    ask,
    config,
    hasty_replica,
    line_up,
    running_operator,
    running_replica,
    those_in,
)
from tests.servers import StoreServer, eventually


class Way:
    """A way to the store on which answers can be lost; `url` leads along it."""

    def __init__(self, store: StoreServer) -> None:
        self.url = ""
        self._loses_answers = False
        self._path = URL(store.url).path
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, store: StoreServer) -> AsyncIterator["Way"]:
        way = cls(store)
        async with await asyncio.start_server(way._join, "127.0.0.1", 0) as server:
            way.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield way
        await asyncio.gather(*way._open)

    @asynccontextmanager
    async def losing_answers_to(self, replica: Replica) -> AsyncIterator[None]:
        """Until the end, and then until that replica has the store again."""
        self._loses_answers = True
        yield
        self._loses_answers = False
        await eventually(lambda: replica.store_up)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._path)
        for work in (self._carry(reader, back), self._carry(there, writer, answers=True)):
            self._open.add(asyncio.create_task(work))

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not (answers and self._loses_answers):
                    writer.write(data)
        writer.close()


@asynccontextmanager
async def on_the_way(
    store: StoreServer, room: RoomConfig
) -> AsyncIterator[tuple[Way, Replica, Operator]]:
    """A replica at the end of a way to the store, and an operator who is beside it."""
    async with (
        Way.to(store) as way,
        hasty_replica(room, store_url=way.url) as replica,
        running_operator(room, store_url=store.url) as operator,
    ):
        yield way, replica, operator


async def test_newcomers_have_one_place_each_and_that_of_their_ticket(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = config(room_name, rate=0, burst=1)
    async with (
        on_the_way(private_store, keys) as (way, first, operator),
        running_replica(keys, store_url=private_store.url) as second,
    ):
        people = await line_up(1, first)  # the store has the script from now on
        async with way.losing_answers_to(first):
            people += await line_up(150, first)
            assert (await operator.status()).queue_length == 151
            people += await line_up(49, second)
            people.sort(key=lambda person: person.arrival_us)
        await ask(people, second)
        assert [person.position for person in people] == [*range(1, 201)]
        await operator.allow(200)
        await eventually(lambda: second.state.released_total == 200)
        await ask(people, second)
        assert those_in(people) == [*range(200)]
        state = await operator.status()
        assert (state.queue_length, state.active, state.expected) == (0, 200, 0)


async def test_a_slot_of_which_nobody_was_told_is_that_of_the_newcomer(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = config(room_name, rate="60/min", burst=2)
    async with on_the_way(private_store, keys) as (way, replica, operator):
        [ann] = await line_up(1, replica)
        assert ann.is_in
        async with way.losing_answers_to(replica):
            [bob] = await line_up(1, replica)
            assert bob.waits
            assert (await operator.status()).active == 2
        await bob.ask(replica)
        assert bob.is_in
        state = await operator.status()
        assert (state.admitted_total, state.active, state.queue_length) == (2, 2, 0)


async def test_one_who_enters_an_open_room_unheard_holds_one_slot(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = config(room_name, rate=0, burst=1)
    async with on_the_way(private_store, keys) as (way, replica, operator):
        [ann] = await line_up(1, replica)
        await operator.set_mode(Mode.OPEN)
        await eventually(lambda: replica.live.view.decisive.phase is Phase.OPEN)
        await ann.ask(replica)
        async with way.losing_answers_to(replica):
            [bob] = await line_up(1, replica)
            assert bob.is_in
        state = await operator.status()
        assert (state.admitted_total, state.active, state.queue_length) == (2, 2, 0)
