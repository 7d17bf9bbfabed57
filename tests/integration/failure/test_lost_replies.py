"""A store's reply is lost: the newcomer has one place, or the slot that was granted."""

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
    admitted_indexes,
    calls_in_flight,
    line_up,
    request_all,
    room_config,
    running_operator,
    running_replica,
)
from tests.servers import StoreServer, eventually, unresponsive_stores


class LossyLink:
    """A proxy before the store that can drop its replies; `url` is its address."""

    def __init__(self, store: StoreServer) -> None:
        self.url = ""
        self._loses_replies = False
        self._path = URL(store.url).path
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, store: StoreServer) -> AsyncIterator["LossyLink"]:
        link = cls(store)
        async with await asyncio.start_server(link._join, "127.0.0.1", 0) as server:
            link.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield link
        await asyncio.gather(*link._open)

    @asynccontextmanager
    async def losing_replies_to(self, replica: Replica) -> AsyncIterator[None]:
        """Drop the replies inside the block, then wait until that replica has recovered.

        No call is open at the beginning, since it could time out before the next one is sent.
        """
        await eventually(lambda: calls_in_flight(replica) == 0)
        self._loses_replies = True
        unresponsive_stores.add(self.url)
        yield
        self._loses_replies = False
        unresponsive_stores.discard(self.url)
        await eventually(lambda: replica.store_up)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, wait_until_recovered = await asyncio.open_unix_connection(self._path)
        for work in (
            self._carry(reader, wait_until_recovered),
            self._carry(there, writer, replies=True),
        ):
            self._open.add(asyncio.create_task(work))

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not (replies and self._loses_replies):
                    writer.write(data)
        writer.close()


@asynccontextmanager
async def over_lossy_link(
    store: StoreServer, room: RoomConfig
) -> AsyncIterator[tuple[LossyLink, Replica, Operator]]:
    """A replica behind the link, and an operator with a direct connection."""
    async with (
        LossyLink.to(store) as link,
        running_replica(room, store_url=link.url) as replica,
        running_operator(room, store_url=store.url) as operator,
    ):
        yield link, replica, operator


async def test_lost_arrival_reply_leaves_one_place_per_ticket(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = room_config(room_name, rate=0, burst=1)
    async with (
        over_lossy_link(private_store, keys) as (link, first, operator),
        running_replica(keys, store_url=private_store.url) as second,
    ):
        visitors = await line_up(1, first)  # the store has the script from now on
        async with link.losing_replies_to(first):
            visitors += await line_up(150, first)
            visitors += await line_up(49, second)
            visitors.sort(key=lambda visitor: visitor.arrival_us)
        assert (await operator.status()).queue_length == 200  # also those of the lost replies
        await request_all(visitors, second)
        assert [visitor.position for visitor in visitors] == [*range(1, 201)]
        await operator.allow(200)
        await eventually(lambda: second.state.released_total == 200)
        await request_all(visitors, second)
        assert admitted_indexes(visitors) == [*range(200)]
        state = await operator.status()
        assert (state.queue_length, state.active, state.expected) == (0, 200, 0)


async def test_lost_grant_reply_leaves_slot_to_newcomer(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = room_config(room_name, rate="60/min", burst=4)
    async with over_lossy_link(private_store, keys) as (link, replica, operator):
        [ann] = await line_up(1, replica)
        assert ann.is_admitted
        async with link.losing_replies_to(replica):
            [bob] = await line_up(1, replica)
            assert bob.is_waiting
            assert (await operator.status()).active == 2
        await bob.request(replica)
        assert bob.is_admitted
        state = await operator.status()
        assert (state.admitted_total, state.active, state.queue_length) == (2, 2, 0)


async def test_lost_reply_in_open_room_leaves_one_slot(
    private_store: StoreServer, room_name: RoomName
) -> None:
    keys = room_config(room_name, rate=0, burst=1)
    async with over_lossy_link(private_store, keys) as (link, replica, operator):
        [ann] = await line_up(1, replica)
        await operator.set_mode(Mode.OPEN)
        await eventually(lambda: replica.room.view.decisive.phase is Phase.OPEN)
        await ann.request(replica)
        async with link.losing_replies_to(replica):
            [bob] = await line_up(1, replica)
            assert bob.is_admitted
        state = await operator.status()
        assert (state.admitted_total, state.active, state.queue_length) == (2, 2, 0)
