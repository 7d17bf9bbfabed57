"""Plain HTTP on a TLS port gets a response that explains the error; damaged TLS gets none."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.conformance.gate_pair import Stage, running_stage
from tests.conformance.request_cases import OK, STATUS
from tests.conformance.tls_stage import Tls
from tests.integration.proxy.forwarding import Wire, responding


@pytest.fixture
async def stage(tls: Tls, store_url: str) -> AsyncIterator[Stage]:
    """A gate with TLS, and clients without it."""
    async with running_stage(
        responding(OK), store_url=store_url, fast_path=True, toml=tls.toml
    ) as stage:
        yield stage


def client_hello(tls: Tls) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def assert_no_plain_response(wire: Wire) -> None:
    """Until the gate closes the connection."""
    wire.writer.write_eof()
    received_ = b""
    with suppress(ConnectionError):
        received_ = await wire.rest()
    assert b"HTTP/1.1" not in received_


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"xx"]
)
async def test_plain_http_on_a_tls_port_gets_a_400_that_says_so(
    method: bytes, tls: Tls, stage: Stage
) -> None:
    request = method + b" / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    for cut in (len(request), 3):
        wire = await stage.connect()
        wire.send(request[:cut])
        await asyncio.sleep(0.02)
        wire.send(request[cut:])
        response = await wire.message(bodiless=method == b"HEAD")
        assert response.first_line == b"HTTP/1.1 400 Bad Request"
        assert response.one("Connection") == b"close"
        assert (b"HTTPS" in response.body) is (method != b"HEAD")
        assert await wire.rest() == b"", "it closes by itself, and HEAD has no body"
        wire.close()
    stage.tls = tls.client
    wire = await stage.connect()
    wire.send(STATUS)
    assert (await wire.message()).status == 200
    assert stage.origin.requests == []


@pytest.mark.parametrize("damaged", [5, 9, 60])
async def test_damaged_handshake_gets_no_plain_response(
    damaged: int, tls: Tls, stage: Stage
) -> None:
    """A connection that began as TLS receives no plain text."""
    hello = bytearray(client_hello(tls))
    hello[damaged] ^= 0xFF
    wire = await stage.connect()
    wire.send(bytes(hello))
    await assert_no_plain_response(wire)


async def test_second_flight_that_is_plain_http_gets_no_plain_response(
    tls: Tls, stage: Stage
) -> None:
    wire = await stage.connect()
    wire.send(client_hello(tls))
    assert (await wire.some())[0] == 0x16  # the server's part of the handshake
    wire.send(STATUS)
    await assert_no_plain_response(wire)
