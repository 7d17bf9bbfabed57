"""TLS on the public listener, and its certificate reloaded while it serves."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.settings import settings
from tests.servers import eventually


def write_pair(folder: Path, authority: trustme.CA, name: str) -> None:
    leaf = authority.issue_cert(name, "127.0.0.1")
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))


def server_keys(folder: Path) -> str:
    return f'tls_cert = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"'


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def served_names(url: str, context: ssl.SSLContext) -> set[str]:
    """The names in the certificate of a new connection."""
    port = int(url.rpartition(":")[2])
    async with asyncio.timeout(40):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        certificate = writer.get_extra_info("peercert")
        writer.close()
    return {value for kind, value in certificate["subjectAltName"] if kind == "DNS"}


async def cookie_is_secure_and_bound_to_the_host(
    gate: GateProcess, origin: Origin, context: ssl.SSLContext
) -> None:
    assert gate.url.startswith("https://127.0.0.1:")
    async with Visitor(gate.url, tls=context) as visitor:
        response = await visitor.request("GET", "/a")
        assert response.status == 200
        [cookie] = response.headers.getall("Set-Cookie")
        assert cookie.startswith("__Host-gatekeeper=")
        assert "; Secure" in cookie
        assert origin.requests[0].headers["X-Forwarded-Proto"] == "https"


@asynccontextmanager
async def serving(toml: str) -> AsyncIterator[GateProcess]:
    with GateProcess(toml) as gate:
        yield await gate.wait_until_serving()


async def test_tls_binds_cookies_and_sighup_loads_or_refuses_certificates(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    context = trusting(authority)
    write_pair(tmp_path, authority, "one.test")
    keys = server_keys(tmp_path) + "\nworkers = 2"
    async with (
        Origin.running() as origin,
        serving(settings(origin.url, server=keys)) as gate,
    ):
        await cookie_is_secure_and_bound_to_the_host(gate, origin, context)
        assert await served_names(gate.url, context) == {"one.test"}

        write_pair(tmp_path, authority, "two.test")
        assert await served_names(gate.url, context) == {"one.test"}
        gate.process.send_signal(signal.SIGHUP)
        await eventually(lambda: gate.errors().count('"reloaded"') == 1)
        for _ in range(4):
            assert await served_names(gate.url, context) == {"two.test"}

        key = (tmp_path / "key.pem").read_bytes()
        write_pair(tmp_path, authority, "three.test")
        (tmp_path / "key.pem").write_bytes(key)  # of the second certificate
        gate.process.send_signal(signal.SIGHUP)
        await eventually(lambda: gate.errors().count('"reload_refused"') == 1)
        assert "server.tls_cert: cannot use" in gate.errors()
        for _ in range(4):
            assert await served_names(gate.url, context) == {"two.test"}
        assert await gate.stop() == 0
