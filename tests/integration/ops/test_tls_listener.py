"""TLS on the public listener, and reloads of its certificate while it serves."""

import asyncio
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trustme

from tests.gates import GateProcess, Origin, Visitor
from tests.integration.ops.process_settings import settings
from tests.servers import eventually


def write_pair(
    folder: Path,
    authority: trustme.CA,
    name: str,
    *,
    key_type: trustme.KeyType = trustme.KeyType.ECDSA,
) -> None:
    leaf = authority.issue_cert(name, "127.0.0.1", key_type=key_type)
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
        response = await visitor.enter("/a")
        [cookie] = response.headers.getall("Set-Cookie")
        assert cookie.startswith("__Host-gatekeeper=")
        assert "; Secure" in cookie
        assert origin.requests[0].headers["X-Forwarded-Proto"] == "https"


def is_reloaded(gate: GateProcess, count: int) -> bool:
    return gate.errors().count('"reloaded"') == count


async def s_client(gate: GateProcess, *flags: str, commands: bytes) -> bytes:
    """The output of `openssl s_client` until the connection ends."""
    client = await asyncio.to_thread(  # a pipe of the event loop fails if it ends unread
        subprocess.run,
        ("openssl", "s_client", "-connect", gate.url.removeprefix("https://"), *flags),
        input=commands,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,  # openssl fails if the handshake is refused
        timeout=60,
    )
    return client.stdout


async def renegotiation_is_refused(gate: GateProcess) -> None:
    output = await s_client(gate, "-tls1_2", commands=b"R\n")
    assert b"RENEGOTIATING" in output
    assert b"no renegotiation" in output


async def finite_field_groups_are_refused(gate: GateProcess) -> None:
    """Also if the client offers X25519 in addition."""
    for groups, accepted in (
        ("X25519", True),
        ("P-256:ffdhe2048", True),
        ("ffdhe2048", False),
        ("ffdhe8192:X25519", False),
    ):
        output = await s_client(gate, "-tls1_3", "-groups", groups, commands=b"Q\n")
        assert (b"New, TLSv1.3" in output) is accepted, groups


@asynccontextmanager
async def serving(toml: str) -> AsyncIterator[GateProcess]:
    with GateProcess(toml) as gate:
        yield await gate.wait_until_serving()


@asynccontextmanager
async def under_load(visitor: Visitor) -> AsyncIterator[list[int]]:
    """Requests of an admitted visitor without pause, on one open connection and on new ones. The
    list has the status of each."""
    statuses: list[int] = []
    is_over = asyncio.Event()

    async def send(connection: str) -> None:
        while not is_over.is_set():
            response = await visitor.request("GET", "/a", headers={"Connection": connection})
            statuses.append(response.status)

    async with asyncio.TaskGroup() as tasks:
        for connection in ("keep-alive", "close"):
            tasks.create_task(send(connection), name=f"load on {connection}")
        await eventually(lambda: len(statuses) >= 4)
        yield statuses
        before = len(statuses)
        await eventually(lambda: len(statuses) >= before + 4)
        is_over.set()


async def test_reloaded_certificates_lose_no_request(tmp_path: Path) -> None:
    """Ten reloads; some of them change the type of the key."""
    authority = trustme.CA()
    context = trusting(authority)
    write_pair(tmp_path, authority, "one.test")
    async with (
        Origin.running() as origin,
        serving(settings(origin.url, server=server_keys(tmp_path) + "\nworkers = 2")) as gate,
        Visitor(gate.url, tls=context) as visitor,
    ):
        await visitor.enter("/a")
        async with under_load(visitor) as statuses:
            for number in range(1, 11):
                key_type = (trustme.KeyType.ECDSA, trustme.KeyType.RSA)[number // 4 % 2]
                name = f"{number}.test"
                write_pair(tmp_path, authority, name, key_type=key_type)
                gate.process.send_signal(signal.SIGHUP)
                await eventually(partial(is_reloaded, gate, number))
                assert await served_names(gate.url, context) == {name}
        assert set(statuses) == {200}
        assert len(origin.requests) == 1 + len(statuses), "each one once"


async def test_tls_secures_cookies_and_sighup_reloads_certificates(
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
        await renegotiation_is_refused(gate)
        await finite_field_groups_are_refused(gate)
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
