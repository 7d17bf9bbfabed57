"""Reuse of origin connections: only in a clean state, and every response belongs to its request."""

import asyncio

import pytest

from gatekeeper.errors import OriginProtocolError
from gatekeeper.proxy import pool
from tests.integration.proxy.forwarding import (
    OK,
    PATIENCE_S,
    Gate,
    Origin,
    Script,
    Wire,
    closing_on_the_second_request,
    get,
    post,
    proxying,
    responding,
    until,
)


async def asked_in_turn(gate: Gate, *requests: bytes) -> list[int]:
    """The statuses of consecutive requests, each on a new client connection."""
    return [(await gate.ask(request)).status for request in requests]


async def test_requests_of_one_client_reuse_one_connection() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        wire = await gate.connect()
        for turn in range(100):
            wire.send(get(f"/{turn}"))
            assert (await wire.message()).body == b"ok"
        wire.close()
    assert len(origin.requests) == 100
    assert origin.connections == 1


async def test_consecutive_clients_reuse_one_connection() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        assert await asked_in_turn(gate, *[get()] * 100) == [200] * 100
    assert origin.connections == 1


async def test_concurrent_clients_receive_their_own_responses() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            while True:
                request = await origin.request(wire)
                path = request.first_line.split(b" ")[1]
                body = path * 3000
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                wire.send(body[:10])
                await asyncio.sleep(0)
                wire.send(body[10:])

        return script

    async def client(gate: Gate, number: int) -> None:
        wire = await gate.connect()
        for turn in range(20):
            path = f"/{number}-{turn}-"
            wire.send(get(path))
            assert (await wire.message()).body == path.encode() * 3000
        wire.close()

    async with proxying(script_of) as (origin, gate):
        await asyncio.gather(*(client(gate, number) for number in range(20)))
    assert len(origin.requests) == 400
    assert origin.connections <= 40


async def test_pool_keeps_at_most_max_idle_connections() -> None:
    together = asyncio.Barrier(5)

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            await together.wait()
            wire.send(OK)
            await wire.gone()

        return script

    async with proxying(script_of, max_idle=2) as (origin, gate):
        await asyncio.gather(*(gate.ask(get()) for _ in range(5)))
        await until(lambda: sum(wire.reader.at_eof() for wire in origin.wires) >= 3)
        assert sum(wire.reader.at_eof() for wire in origin.wires) == 3


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_connection_announced_to_close_is_not_reused(response: bytes) -> None:
    async with proxying(responding(response)) as (origin, gate):
        assert await asked_in_turn(gate, get(), get()) == [200, 200]
    assert origin.connections == 2


async def test_origin_close_keeps_client_connection() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with proxying(responding(closing)) as (origin, gate):
        wire = await gate.connect()
        for _ in range(3):
            wire.send(get())
            response = await wire.message()
            assert response.one("Connection") is None
        wire.close()
    assert origin.connections == 3


SURPLUS = {
    "after a length": OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "after chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\nevil",
    "after no body": b"HTTP/1.1 204 No Content\r\n\r\nevil",
}


@pytest.mark.parametrize("what", SURPLUS)
async def test_bytes_after_response_reach_no_client(what: str) -> None:
    async with proxying(responding(SURPLUS[what], OK)) as (origin, gate):
        wire = await gate.connect()
        for _ in range(3):
            wire.send(get())
            response = await wire.message()
            assert b"evil" not in response.head + response.raw_body
        wire.send(get("/", "Connection: close"))
        assert b"evil" not in await wire.rest()
        wire.close()
    assert origin.connections == 4


async def test_body_after_head_response_reaches_no_client() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        wire = await gate.connect()
        wire.send(get(method="HEAD"))
        await wire.message(bodiless=True)
        wire.send(get("/", "Connection: close"))
        assert (await wire.rest()).startswith(b"HTTP/1.1 200 OK\r\n")
        wire.close()
    assert origin.connections == 2


async def test_unsolicited_response_closes_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_IDLE_S", 600.0)  # its idle timeout does not close it

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(OK)
            if origin.connections == 1:
                await is_received.wait()
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await wire.gone()
            dropped.set()

        return script

    is_received, dropped = asyncio.Event(), asyncio.Event()
    async with proxying(script_of) as (origin, gate):
        wire = await gate.connect()
        wire.send(get())
        assert (await wire.message()).body == b"ok"
        is_received.set()
        async with asyncio.timeout(PATIENCE_S):
            await dropped.wait()
        wire.send(get())
        assert (await wire.message()).body == b"ok"
        wire.close()
    assert origin.connections == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
async def test_idempotent_request_on_stale_connection_is_repeated(
    method: str,
) -> None:
    async with proxying(closing_on_the_second_request) as (origin, gate):
        wire = await gate.connect()
        wire.send(get())
        await wire.message()
        wire.send(get(method=method))
        assert (await wire.message(bodiless=method == "HEAD")).status == 200
        wire.close()
    assert origin.connections == 2


@pytest.mark.parametrize(
    "request_",
    [get(method="POST"), get(method="PATCH"), post(b"x"), post(b"x", method="PUT")],
    ids=["POST", "PATCH", "POST with a body", "PUT with a body"],
)
async def test_other_request_is_not_repeated(request_: bytes) -> None:
    async with proxying(closing_on_the_second_request) as (origin, gate):
        assert await asked_in_turn(gate, get(), request_) == [200, 502]
    assert isinstance(gate.errors[0], OriginProtocolError)
    assert origin.connections == 1


async def test_closed_new_connection_is_not_retried() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)

        return script

    async with proxying(script_of) as (origin, gate):
        assert await asked_in_turn(gate, get()) == [502]
    assert origin.connections == 1


async def test_request_with_begun_response_is_not_repeated() -> None:
    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(OK)
            await origin.request(wire)
            wire.send(b"H")

        return script

    async with proxying(script_of) as (origin, gate):
        assert await asked_in_turn(gate, get(), get()) == [200, 502]
    assert origin.connections == 1


async def test_idle_origin_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_IDLE_S", 0.05)
    async with proxying(responding(OK)) as (origin, gate):
        assert await asked_in_turn(gate, get()) == [200]
        await until(lambda: origin.wires[0].reader.at_eof())


async def test_closing_forwarder_closes_idle_connections() -> None:
    async with proxying(responding(OK)) as (origin, gate):
        assert await asked_in_turn(gate, get()) == [200]
        await gate.forwarder.close()
        await until(lambda: origin.wires[0].reader.at_eof())
