"""Load while the origin restarts: each response belongs to its request, and no connection is
left."""

import asyncio

import pytest

from tests.conformance.gate_pair import cookie_of, running_worker
from tests.integration.load.clients import NonceOrigin, Tally, client
from tests.integration.proxy.forwarding import until

_CLIENTS = 200
_LEG_S = 1.0


@pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "aiohttp"])
async def test_responses_match_requests_while_origin_restarts(
    fast_path: bool, store_url: str
) -> None:
    tally, stop = Tally(), asyncio.Event()
    async with (
        NonceOrigin.running() as origin,
        running_worker(
            f"http://127.0.0.1:{origin.port}", store_url=store_url, fast_path=fast_path
        ) as worker,
    ):
        assert worker._fast_path is not None
        assert worker._server is not None
        plain_server, server = worker._fast_path, worker._server
        before = asyncio.all_tasks()
        crowd = [
            asyncio.create_task(client(worker.port, cookie=cookie_of(), tally=tally, until=stop))
            for _ in range(_CLIENTS)
        ]
        for _ in range(2):
            await asyncio.sleep(_LEG_S)  # the load runs
            await origin.restart()
        await asyncio.sleep(_LEG_S)
        await until(lambda: tally.right > _CLIENTS * 5)  # a busy machine needs longer
        stop.set()
        await asyncio.gather(*crowd)
        await until(lambda: not plain_server.connections and not server.connections)
        await until(lambda: asyncio.all_tasks() <= before)
        # Connections that are still open to the origin are idle in the pool, at most as many as
        # allowed.
        await until(lambda: len(origin.connections) == len(plain_server.pool._idle))
        assert len(plain_server.pool._idle) <= 256
    assert tally.faults == []
    assert tally.right > _CLIENTS * 5
    assert tally.refused + tally.cut > 0


async def test_origin_connections_do_not_exceed_open_requests(store_url: str) -> None:
    async with (
        NonceOrigin.running() as origin,
        running_worker(
            f"http://127.0.0.1:{origin.port}", store_url=store_url, fast_path=True
        ) as worker,
    ):
        tally, stop = Tally(), asyncio.Event()
        for _ in range(100):
            stop.clear()
            crowd = asyncio.create_task(
                client(worker.port, cookie=cookie_of(), tally=tally, until=stop)
            )
            seen = tally.right
            await until(lambda seen=seen: tally.right > seen)  # type: ignore[misc]
            stop.set()
            await crowd
        assert tally.faults == []
        assert len(origin.connections) == 1
