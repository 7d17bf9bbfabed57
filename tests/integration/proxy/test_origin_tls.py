"""An origin over TLS: its certificate is verified against its name."""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from gatekeeper.config.schema import OriginConfig
from gatekeeper.errors import OriginUnreachable, StartError
from gatekeeper.proxy import Forwarder
from tests.integration.proxy.forwarding import (
    OK,
    Origin,
    Script,
    Wire,
    get,
    responding,
    running_gate,
    running_origin,
)


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_ca(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_origin_with_trusted_certificate_is_reached(
    authority: trustme.CA, tls_ca: str
) -> None:
    names: list[str | None] = []
    context = server_context(authority, "localhost")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with running_origin(responding(OK), tls=context) as origin:
        url = f"https://localhost:{origin.port}"
        async with running_gate(url, tls_ca=tls_ca) as gate:
            wire = await gate.connect()
            for _ in range(3):
                wire.send(get())
                assert (await wire.message()).body == b"ok"
            wire.close()
    assert names == ["localhost"]
    assert origin.connections == 1
    assert origin.requests[0].one("Host") == b"shop.example"


async def test_origin_at_address_is_verified_by_address(authority: trustme.CA, tls_ca: str) -> None:
    context = server_context(authority, "127.0.0.1")
    async with (
        running_origin(responding(OK), tls=context) as origin,
        running_gate(origin.url, tls_ca=tls_ca) as gate,
    ):
        assert (await gate.ask(get())).body == b"ok"


@pytest.mark.parametrize("trusted", [True, False])
async def test_origin_with_wrong_certificate_is_unreachable(
    authority: trustme.CA, tls_ca: str, *, trusted: bool
) -> None:
    name = "elsewhere.example" if trusted else "127.0.0.1"
    async with (
        running_origin(responding(OK), tls=server_context(authority, name)) as origin,
        running_gate(origin.url, tls_ca=tls_ca if trusted else "") as gate,
    ):
        assert (await gate.ask(get())).status == 502
    assert isinstance(gate.errors[0], OriginUnreachable)
    assert origin.requests == []


async def test_origin_without_tls_is_unreachable() -> None:
    def script_of(_: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await wire.some()
            wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        return script

    async with (
        running_origin(script_of) as origin,
        running_gate(origin.url.replace("http:", "https:")) as gate,
    ):
        assert (await gate.ask(get())).status == 502
    assert isinstance(gate.errors[0], OriginUnreachable)


async def test_large_body_is_forwarded_over_tls(authority: trustme.CA, tls_ca: str) -> None:
    body = bytes(range(256)) * 40_000
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    context = server_context(authority, "127.0.0.1")
    async with (
        running_origin(responding(response), tls=context) as origin,
        running_gate(origin.url, tls_ca=tls_ca) as gate,
    ):
        assert (await gate.ask(get())).body == body


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_close_delimited_tls_response_needs_closure_alert(
    authority: trustme.CA, tls_ca: str, *, version: str, is_announced: bool
) -> None:
    """Anyone on the path can close TCP; only the origin can send the TLS closure alert (RFC 9112
    section 9.8)."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(b"HTTP/1.1 200 OK\r\n\r\nall")
            await read.wait()
            if not is_announced:
                with socket.socket(fileno=os.dup(wire.fileno())) as below_tls:
                    below_tls.shutdown(socket.SHUT_WR)
                await wire.gone()

        return script

    read = asyncio.Event()
    context = server_context(authority, "127.0.0.1")
    async with (
        running_origin(script_of, tls=context) as origin,
        running_gate(origin.url, tls_ca=tls_ca) as gate,
    ):
        wire = await gate.connect()
        wire.send(get("/", "Connection: close", version=version))
        await wire.head()
        await wire.exactly(len(b"all" if version == "1.0" else b"3\r\nall\r\n"))
        read.set()
        if is_announced:
            assert await wire.rest() == (b"" if version == "1.0" else b"0\r\n\r\n")
        else:
            with pytest.raises(ConnectionError):
                await wire.rest()
        wire.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_unreadable_certificates_are_start_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    origin = OriginConfig.model_validate({"url": "https://shop.example"})
    with pytest.raises(StartError, match=r"ca\.pem"):
        Forwarder(origin.model_copy(update={"tls_ca": str(path)}))
