"""A burst of idle connections beyond the limit of open files."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings
from tests.integration.ops.test_tls_listener import server_keys, trusting, write_pair
from tests.servers import eventually

_FILES = 300
_BURST = 500
_BYPASS = '[[rule]]\nname = "open"\naction = "bypass"\npath = ["/slow", "/free"]\n'


def burst(url: str, stack: ExitStack, *, begun: bytes = b"") -> None:
    for _ in range(_BURST):
        idle = stack.enter_context(socket.socket())
        idle.setblocking(False)
        idle.connect_ex(address_of(url))
        with suppress(OSError):
            idle.send(begun)


def address_of(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rpartition(":")[2])


async def serves_newcomer(url: str, tls: ssl.SSLContext | None, *, path: str = "/") -> bool:
    async with Visitor(url, tls=tls) as newcomer:
        return (await newcomer.request("GET", path)).status == 200


async def succeeds(attempt: Awaitable[bool]) -> bool:
    """Whether it does now; another may if this one stays without a response."""
    try:
        async with asyncio.timeout(5):
            return await attempt
    except (TimeoutError, aiohttp.ClientError, ConnectionError):
        return False


@pytest.mark.parametrize("tls", [False, True])
async def test_newcomer_is_served_after_a_burst_beyond_the_limit(
    tmp_path: Path, *, tls: bool
) -> None:
    """A request that began before it gets its response."""
    server, context = "", None
    if tls:
        authority = trustme.CA()
        write_pair(tmp_path, authority, "one.test")
        server, context = server_keys(tmp_path), trusting(authority)
    async with Origin.running() as origin:
        toml = settings(origin.url, server=f"workers = 1\n{server}", more=_BYPASS)
        with GateProcess(toml, files=str(_FILES)) as gate, ExitStack() as stack:
            await gate.wait_until_serving()
            async with Visitor(gate.url, tls=context) as visitor:
                slow = asyncio.create_task(visitor.request("GET", "/slow"))
                await eventually(lambda: origin.requests)
                burst(gate.url, stack)
                await eventually(lambda: succeeds(serves_newcomer(gate.url, context)))
                # After a pause of the machine the room admits no visitor for a while.
                assert await serves_newcomer(gate.url, context, path="/free")
                origin.go.set()
                assert (await slow).status == 200


async def test_burst_among_clients_that_close_leaves_them_served(tmp_path: Path) -> None:
    """After many clients that close, the gate accepts connections without the event loop."""
    request = b"GET /slow HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"

    async def is_served() -> bool:
        reader, writer = await asyncio.open_connection(*address_of(gate.url))
        writer.write(request)
        try:
            return (await reader.read()).startswith(b"HTTP/1.1 200 ")
        finally:
            writer.close()

    async with Origin.running() as origin:
        origin.go.set()
        toml = settings(origin.url, server="workers = 1", more=_BYPASS)
        with GateProcess(toml, files=str(_FILES)) as gate, ExitStack() as stack:
            await gate.wait_until_serving()
            assert [await is_served() for _ in range(200)] == [True] * 200
            burst(gate.url, stack, begun=b"GET /slow HT")
            await eventually(lambda: succeeds(is_served()))
            assert [await is_served() for _ in range(50)] == [True] * 50
