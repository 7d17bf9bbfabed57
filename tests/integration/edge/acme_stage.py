"""A private CA with ACME, and a gate with an edge that obtains its certificates from it.

Rules: the CA is a second Caddy. It verifies each domain over HTTP through `Internet`, which routes
the domains of the edge to its port. Unlike a public CA, it would retry a domain with another
address for minutes, so the log of that case has a unit test.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import trustme

from tests.gates import GateProcess
from tests.gates.http_visitor import TIMEOUT, OneMachine
from tests.gates.origin import Origin
from tests.ports import free_port
from tests.servers import Server

SHOP, WWW, NEW = "shop.example.com", "www.example.com", "new.example.com"
WRONG = "wrong.example.com"  # the CA refuses it


class Internet:
    """The domains for the CA: an HTTP proxy with the port of each domain's server."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Internet]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            _, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            url = urlsplit(target)
            port = self.ports.get(url.hostname or "")
            if port is not None:
                writer.write(await _get(port, url.netloc, url.path))
        writer.close()


async def _get(port: int, host: str, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


class Authority(Server):
    """The CA: `directory` is the URL of its ACME directory, `root` the file of its certificate."""

    def __init__(self, internet: Internet) -> None:
        super().__init__()
        self._internet = internet
        self.port = free_port()
        self.directory = f"https://127.0.0.1:{self.port}/acme/local/directory"
        self.root = self.home / "data/pki/authorities/local/root.crt"

    def _command(self) -> list[str]:
        acme = {
            "handler": "acme_server",
            "challenges": ["http-01"],
            "lifetime": "12h",
            "policy": {"deny": {"domains": [WRONG]}},
        }
        route = {"match": [{"host": ["127.0.0.1"]}], "handle": [acme]}
        server = {
            "listen": [f"127.0.0.1:{self.port}"],
            "automatic_https": {"disable_redirects": True},
            "tls_connection_policies": [{}],
            "routes": [route],
            "protocols": ["h1", "h2"],
        }
        policy = {"subjects": ["127.0.0.1"], "issuers": [{"module": "internal"}]}
        config = {
            "admin": {"disabled": True, "config": {"persist": False}},
            "storage": {"module": "file_system", "root": str(self.home / "data")},
            "apps": {
                "http": {"https_port": self.port, "servers": {"ca": server}},
                "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
                "tls": {"automation": {"policies": [policy]}},
            },
        }
        (self.home / "caddy.json").write_text(json.dumps(config))
        environment = [f"HTTP_PROXY={self._internet.url}", f"HOME={self.home}"]
        return ["/usr/bin/env", *environment, caddy(), "run", "--config", "caddy.json"]

    def _responds(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1"),
            ):
                return self.root.exists()
        except OSError:
            return False


def caddy() -> str:
    from gatekeeper.process.edge_server import caddy_program

    return caddy_program()


@dataclass
class Stage:
    """The CA, the origin and one gate with an edge."""

    internet: Internet
    authority: Authority
    origin: Origin
    own: trustme.CA = field(default_factory=trustme.CA)
    http_port: int = field(default_factory=free_port)
    https_port: int = field(default_factory=free_port)
    domains: list[str] = field(default_factory=lambda: [SHOP])
    more: str = ""  # keys of [edge]
    rooms: str = '[[room]]\nname = "line"\npath = "/line/"\nrate = "0"\nupdates = "stream"\n'

    def toml(self) -> str:
        return f"""
[server]
workers = 2
shutdown_timeout = "20s"
[edge]
domains = {json.dumps(self.domains)}
acme_ca = "{self.authority.directory}"
acme_ca_root = "{self.authority.root}"
bind = "127.0.0.1"
http_port = {self.http_port}
https_port = {self.https_port}
{self.more}
[origin]
url = "{self.origin.url}"
[admin]
listen = "127.0.0.1:0"
[events]
url = "off"
{self.rooms}
[[room]]
name = "open"
rate = "60000/min"
burst = 1000
"""

    def url(self, domain: str = SHOP) -> str:
        return f"https://{domain}:{self.https_port}"

    @property
    def trusting(self) -> ssl.SSLContext:
        """A TLS context that trusts the CA and the operator's own certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.root))
        self.own.configure_trust(context)
        return context

    def session(self, domain: str = SHOP, **options: Any) -> aiohttp.ClientSession:
        """A browser or app at 127.0.0.2."""
        connector = aiohttp.TCPConnector(
            ssl=self.trusting, resolver=OneMachine(), local_addr=("127.0.0.2", 0)
        )
        return aiohttp.ClientSession(
            self.url(domain), connector=connector, timeout=TIMEOUT, **options
        )

    async def serves(self, domain: str = SHOP) -> bool:
        """Whether the edge has a certificate for the domain that visitors trust."""
        return await self.serial(domain) != 0

    def session_after(
        self, context: ssl.SSLContext, before: ssl.SSLSession | None
    ) -> ssl.SSLSession | None:
        """The TLS session after a request on a new connection, which must resume the session
        `before`. Blocks."""
        with (
            socket.create_connection(("127.0.0.1", self.https_port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=SHOP, session=before) as connection,
        ):
            connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
            connection.recv(1 << 14)
            assert connection.session_reused is (before is not None)
            return connection.session

    async def serial(self, domain: str = SHOP) -> int:
        """The serial number of the certificate that is served; 0: no handshake."""
        with suppress(OSError):
            _, writer = await asyncio.open_connection(
                "127.0.0.1", self.https_port, ssl=self.trusting, server_hostname=domain
            )
            found = writer.get_extra_info("peercert")
            writer.close()
            return int(found["serialNumber"], 16)
        return 0


def edge_pid(gate: GateProcess) -> int:
    """The process id of its Caddy; 0: none runs."""
    return next((pid for pid, command in gate.pids().items() if " run --config" in command), 0)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def running_authority() -> AsyncIterator[tuple[Internet, Authority]]:
    internet = Internet()
    async with internet.running():
        authority = Authority(internet)
        try:
            await asyncio.to_thread(authority.start)
            yield internet, authority
        finally:
            authority.close()


def write_pair(folder: Path, certificate: trustme.LeafCert) -> tuple[Path, Path]:
    """The chain and the key of a certificate as files."""
    chain, key = folder / "own.crt", folder / "own.key"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    return chain, key
