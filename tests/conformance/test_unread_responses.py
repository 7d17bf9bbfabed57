"""A client that reads nothing of the gate's own responses is reset after a limited time."""

import asyncio
import socket
from contextlib import suppress

import pytest

from gatekeeper.process import worker
from gatekeeper.proxy import own_response
from gatekeeper.proxy.fastpath import client_connection, deadlines
from tests.conformance.gate_pair import Stage, StageOpener
from tests.conformance.request_cases import STATUS
from tests.conformance.tls_stage import Tls
from tests.integration.proxy.forwarding import OK, responding, until

LIMIT_S = 0.5
PAGE = b"GET / HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\nCookie: a=b\r\n\r\n"
PUT = PAGE.replace(b"GET / ", b"PUT /.gatekeeper/x ")
NO_ADMISSION = '[admission]\nrate = "0"\n'


def limit_writes(monkeypatch: pytest.MonkeyPatch, limit_s: float) -> None:
    for module in (worker, own_response, client_connection, deadlines):
        monkeypatch.setattr(module, "WRITE_TIMEOUT_S", limit_s)


@pytest.fixture(autouse=True)
def brief_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_writes(monkeypatch, LIMIT_S)


def connect(stage: Stage) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", stage.worker.port))
    client.setblocking(False)
    return client


@pytest.mark.parametrize("request_", [PAGE, PUT])
@pytest.mark.parametrize("then", ["waits", "half-closes"])
async def test_client_that_reads_no_own_response_is_reset(
    request_: bytes, then: str, open_stage: StageOpener
) -> None:
    """It pipelines requests until the gate reads no more of them."""
    async with open_stage(
        responding(OK),
        toml=NO_ADMISSION,
        origin_toml='read_timeout = "500ms"',
    ) as stage:
        client = connect(stage)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LIMIT_S):
                await loop.sock_sendall(client, request_ * 4000)
        except (TimeoutError, ConnectionError):
            pass
        if then == "half-closes":
            with suppress(OSError):  # it was reset already
                client.shutdown(socket.SHUT_WR)
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)
        client.close()
        assert stage.origin.requests == []


@pytest.mark.parametrize("request_", [PAGE, PUT])
async def test_client_that_reads_no_own_response_over_tls_is_reset(
    request_: bytes, tls: Tls, open_stage: StageOpener
) -> None:
    async with open_stage(
        responding(OK),
        toml=tls.toml + NO_ADMISSION,
        origin_toml='read_timeout = "500ms"',
        tls=tls.client,
    ) as stage:
        wire = await stage.connect()
        wire.send(STATUS)
        assert (await wire.message()).status == 200
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.send(request_ * 8000)
        await until(lambda: stage.fast_path_connections + stage.aiohttp_connections == 0)
        assert stage.origin.requests == []


@pytest.mark.parametrize("request_", [PAGE, PUT])
async def test_slow_reader_of_own_responses_is_kept(
    request_: bytes, open_stage: StageOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads ten times per limit, for twice the limit."""
    limit_s = 3 * LIMIT_S
    limit_writes(monkeypatch, limit_s)
    async with open_stage(responding(OK), toml=NO_ADMISSION) as stage:
        client = connect(stage)
        loop = asyncio.get_running_loop()
        count = 60
        await loop.sock_sendall(client, request_ * count)
        began_s, received, unread = loop.time(), 0, b""
        async with asyncio.timeout(30):
            while received < count:
                piece = await loop.sock_recv(client, 20_000)
                assert piece
                *heads, unread = (unread + piece).split(b"HTTP/1.1 ")
                received += len(heads)
                if loop.time() - began_s < 2 * limit_s:
                    await asyncio.sleep(limit_s / 10)
        client.close()
