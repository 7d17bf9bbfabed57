"""A replica that shuts down finishes its open requests."""

import asyncio

import pytest

from tests.gates import Gate
from tests.servers import eventually

# Less than `shutdown_timeout`, the 30 s after which a gate waits for no request.
SOON_S = 20


@pytest.fixture
async def slow(gate: Gate) -> asyncio.Task[tuple[int, str]]:
    """An open request of an admitted visitor, to which the origin does not respond yet."""
    visitor = gate.visitor()
    await visitor.get()
    await visitor.get()
    slow = asyncio.create_task(visitor.get("/slow"))
    await eventually(lambda: len(gate.origin.requests) == 3)
    return slow


async def test_shutdown_finishes_open_requests(
    gate: Gate, slow: asyncio.Task[tuple[int, str]]
) -> None:
    closing = asyncio.create_task(gate.worker.close())
    done, _ = await asyncio.wait({closing}, timeout=0.1)
    assert not done
    gate.origin.go.set()
    assert (await slow)[0] == 200
    await asyncio.wait_for(closing, SOON_S)


async def test_shutdown_with_failed_origin_sends_502(
    gate: Gate, slow: asyncio.Task[tuple[int, str]]
) -> None:
    closing = asyncio.create_task(gate.worker.close())
    await gate.origin.stop()
    status, text = await slow
    assert status == 502
    assert "Your place is kept" in text
    await asyncio.wait_for(closing, SOON_S)
    assert gate.worker._server is not None
    assert gate.worker._server.connections == []


async def test_shutdown_is_not_delayed_by_idle_connections(gate: Gate) -> None:
    visitor = gate.visitor()
    waiting = gate.visitor()
    await visitor.get()
    await visitor.get()
    await waiting.request("POST", "/.gatekeeper/enqueue")
    await asyncio.wait_for(gate.worker.close(), SOON_S)
