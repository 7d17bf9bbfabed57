"""Plain HTTP on a TLS port gets a response that says so; damaged TLS gets none."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.gate_pair import running_stage
from tests.conformance.request_cases import OK, STATUS
from tests.conformance.tls_stage import certificate
from tests.integration.proxy.forwarding import answering


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"xx"]
)
async def test_plain_http_on_a_tls_port_gets_a_400_that_says_so(
    method: bytes, store_url: str, tmp_path: Path
) -> None:
    toml, context = certificate(tmp_path)
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=True, toml=toml
    ) as stage:
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
        stage.tls = context
        wire = await stage.connect()
        wire.send(STATUS)
        assert (await wire.message()).status == 200
        assert stage.origin.requests == []


@pytest.mark.parametrize("damaged", [5, 9, 60])
async def test_damaged_handshake_gets_no_plain_response(
    damaged: int, store_url: str, tmp_path: Path
) -> None:
    """What began as TLS ends as TLS: no plain text is sent into it."""
    toml, context = certificate(tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = bytearray(outgoing.read())
    hello[damaged] ^= 0xFF
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=True, toml=toml
    ) as stage:
        wire = await stage.connect()
        wire.send(bytes(hello))
        wire.writer.write_eof()
        received_ = b""
        with suppress(ConnectionError):
            received_ = await wire.rest()
        assert b"HTTP/1.1" not in received_


async def test_second_flight_that_is_plain_http_gets_no_plain_response(
    store_url: str, tmp_path: Path
) -> None:
    toml, context = certificate(tmp_path)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    async with running_stage(
        answering(OK), store_url=store_url, fast_path=True, toml=toml
    ) as stage:
        wire = await stage.connect()
        wire.send(outgoing.read())
        assert (await wire.some())[0] == 0x16  # the server's part of the handshake
        wire.send(STATUS)
        wire.writer.write_eof()
        received_ = b""
        with suppress(ConnectionError):
            received_ = await wire.rest()
        assert b"HTTP/1.1" not in received_
