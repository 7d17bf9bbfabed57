"""A gate reduced to the proxy, between a scripted origin and a raw client.

Rules: every byte on the wire is sent or checked by the test; every wait ends after `PATIENCE_S`.
"""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from aiohttp import web

from gatekeeper.config.schema import OriginConfig
from gatekeeper.errors import BadRequest, GatekeeperError, OriginTimeout
from gatekeeper.proxy import (
    SERVER_OPTIONS,
    ForwardContext,
    Forwarder,
    OnHead,
    ProxiedResponse,
    check_request,
    client_of,
)
from gatekeeper.proxy.aiohttp_server import ConnectionHandler

PATIENCE_S = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1 << 20


@dataclass
class Message:
    """A request or a response; `body` is decoded, `raw_body` has the chunks."""

    head: bytes
    body: bytes = b""
    raw_body: bytes = b""

    @property
    def first_line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def all(self, name: str) -> list[bytes]:
        pattern = rb"(?mi)^" + re.escape(name.encode()) + rb":[ \t]*([^\r]*)\r$"
        return re.findall(pattern, self.head)

    def one(self, name: str) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None


class Wire:
    """One side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        if not self.writer.is_closing():  # uvloop raises on a closed transport
            self.writer.write(data)

    async def flush(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.drain()

    async def head(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return Message(await self.reader.readuntil(b"\r\n\r\n"))

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def some(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read(1 << 16)

    async def rest(self) -> bytes:
        """All bytes until the other side closes; `ConnectionError` if it resets the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    async def gone(self) -> None:
        """Wait until the other side closed or reset the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass

    async def message(self, *, bodiless: bool = False) -> Message:
        """A request or response with framing; without it, the body is all until the close."""
        message = await self.head()
        is_response = message.head.startswith(b"HTTP/")
        if bodiless or (is_response and message.status in {204, 304}):
            return message
        if message.one("Transfer-Encoding") == b"chunked":
            await self._chunks(message)
        elif (length := message.one("Content-Length")) is not None:
            message.body = message.raw_body = await self.exactly(int(length))
        elif is_response:
            message.body = message.raw_body = await self.rest()
        return message

    async def _chunks(self, message: Message) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = await self.reader.readuntil(b"\r\n")
                message.raw_body += line
                size = int(line.split(b";")[0], 16)
                if size == 0:
                    break
                data = await self.reader.readexactly(size + 2)
                message.raw_body += data
                message.body += data[:-2]
            while line != b"\r\n":
                line = await self.reader.readuntil(b"\r\n")
                message.raw_body += line

    def fileno(self) -> int:
        return int(self.writer.get_extra_info("socket").fileno())

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Disconnect by a reset, which cannot be taken for a half-close."""
        linger = struct.pack("ii", 1, 0)
        socket_ = self.writer.get_extra_info("socket")
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Script = Callable[[Wire], Awaitable[None]]


@dataclass
class Origin:
    """A server that runs `script` on each connection and records the requests."""

    script: Script
    scheme: str = "http"
    port: int = 0
    connections: int = 0
    requests: list[Message] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def request(self, wire: Wire) -> Message:
        request = await wire.message()
        self.requests.append(request)
        return request


def responding(*responses: bytes) -> Callable[[Origin], Script]:
    """A script that responds to each request of a connection, and repeats the last response."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            turn = 0
            while True:
                await origin.request(wire)
                wire.send(responses[min(turn, len(responses) - 1)])
                turn += 1

        return script

    return script_of


def responding_once(response: bytes, *, stays: bool = False) -> Callable[[Origin], Script]:
    """A script that responds to one request with these bytes and closes the connection; with
    `stays` not before the gate closes it."""

    def script_of(origin: Origin) -> Script:
        async def script(wire: Wire) -> None:
            await origin.request(wire)
            wire.send(response)
            if stays:
                await wire.gone()

        return script

    return script_of


def closing_on_the_second_request(origin: Origin) -> Script:
    """A script for an idle timeout of the origin that expires as the next request is sent."""

    async def script(wire: Wire) -> None:
        is_first = origin.connections == 1
        await origin.request(wire)
        wire.send(OK)
        await wire.head()
        if not is_first:
            wire.send(OK)

    return script


@asynccontextmanager
async def running_origin(
    script_of: Callable[[Origin], Script], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Origin]:
    origin = Origin(script=_unset, scheme="https" if tls else "http")
    origin.script = script_of(origin)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        origin.connections += 1
        wire = Wire(reader, writer)
        origin.wires.append(wire)
        try:
            await origin.script(wire)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the gate closed, or the test ended
        except Exception as failure:  # noqa: BLE001 reported when the origin stops
            origin.failures.append(failure)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not origin.failures, origin.failures


async def _unset(_: Wire) -> None:
    raise AssertionError("the origin has no script")


@dataclass
class Gate:
    """The proxy behind aiohttp's server, wired as in the real gate."""

    forwarder: Forwarder
    port: int = 0
    trusted: tuple[str, ...] = ()
    on_head: OnHead | None = None
    session_end: asyncio.Future[None] | None = None
    relayed: list[ProxiedResponse] = field(default_factory=list)
    errors: list[GatekeeperError] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> Any:
        try:
            check_request(request)
            trusted = [ip_network(network) for network in self.trusted]
            context = ForwardContext(
                room="default",
                visitor="AAAAAAAAAAAAAAAAAAAAAA",
                client=client_of(request, trusted=trusted, tls=False),
                strip_cookies=frozenset({"gatekeeper", "gatekeeper-checkout"}),
            )
            relayed = await self.forwarder.forward(
                request, context, session_end=self.session_end, on_head=self.on_head
            )
        except GatekeeperError as error:
            self.errors.append(error)
            return self._refusal(error)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.relayed.append(relayed)
        return relayed

    @staticmethod
    def _refusal(error: GatekeeperError) -> web.Response:
        if isinstance(error, BadRequest):
            status = error.status
        else:
            status = 504 if isinstance(error, OriginTimeout) else 502
        response = web.Response(status=status, text=error.public)
        response.force_close()
        return response

    async def connect(self) -> Wire:
        async with asyncio.timeout(PATIENCE_S):
            return Wire(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, request: bytes, *, bodiless: bool = False) -> Message:
        """Send one request on a new connection."""
        wire = await self.connect()
        try:
            wire.send(request)
            return await wire.message(bodiless=bodiless)
        finally:
            wire.close()


@asynccontextmanager
async def running_gate(
    origin_url: str, *, max_idle: int = 256, **origin: Any
) -> AsyncIterator[Gate]:
    config = OriginConfig.model_validate({"url": origin_url, **origin})
    gate = Gate(Forwarder(config, max_idle=max_idle))
    loop = asyncio.get_running_loop()
    server = web.Server(gate.handle, **SERVER_OPTIONS)
    listener = await loop.create_server(
        lambda: ConnectionHandler(server, lingering_time=0.2), "127.0.0.1", 0
    )
    gate.port = listener.sockets[0].getsockname()[1]
    try:
        yield gate
    finally:
        listener.close()
        await server.shutdown(timeout=0.1)
        await gate.forwarder.close()


@asynccontextmanager
async def proxying(
    script_of: Callable[[Origin], Script], *, max_idle: int = 256, **config: Any
) -> AsyncIterator[tuple[Origin, Gate]]:
    """An origin that runs the script, and a gate before it."""
    async with (
        running_origin(script_of) as origin,
        running_gate(origin.url, max_idle=max_idle, **config) as gate,
    ):
        yield origin, gate


async def until(condition: Callable[[], bool]) -> None:
    """Wait for an effect on the other side of a socket, for which there is no event."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@dataclass
class CountedSender:
    """Sends `size` bytes in parts of a MiB, as fast as the other side reads; `sent` counts them."""

    size: int
    sent: int = 0

    async def send(self, wire: Wire) -> None:
        while self.sent < self.size:
            wire.send(b"x" * MIB)
            await wire.writer.drain()
            self.sent += MIB


async def stuck_at(progress: Callable[[], int]) -> int:
    """The value at which a counter stops: unchanged for a quarter of a second."""
    loop = asyncio.get_running_loop()
    value, since_s = progress(), loop.time()
    async with asyncio.timeout(PATIENCE_S):
        while loop.time() - since_s < 0.25:
            await asyncio.sleep(0.01)
            if progress() != value:
                value, since_s = progress(), loop.time()
    return value


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: shop.example", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, *fields: str, method: str = "POST", path: str = "/") -> bytes:
    """A request with a body of known length."""
    return get(path, f"Content-Length: {len(body)}", *fields, method=method) + body
