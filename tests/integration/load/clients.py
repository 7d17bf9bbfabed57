"""Clients that check that each response carries the nonce of its request.

The origin responds to `/nonce/count` with `nonce nonce nonce …`, chunked if `count` is odd. It can
become unreachable and recover. The clients use keep-alive connections and count their responses.
Rules: a complete response with another nonce is a fault. While the origin is unreachable, the gate
may only respond 502 or 504, or abort a connection.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from tests.ports import free_port

_PATIENCE_S = 20.0
_SIZES = (0, 1, 2, 3, 20, 21, 500, 4001)  # times 17 bytes
_AWAY_S = 0.2


class _OriginConnection(asyncio.Protocol):
    def __init__(self, connections: set[asyncio.Transport]) -> None:
        self._connections = connections
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            self._transport.write(_response(head.split(b" ", 2)[1]))


def body_of(path: bytes) -> bytes:
    _, nonce, count = path.split(b"/")
    return (nonce + b" ") * int(count)


def _response(path: bytes) -> bytes:
    body = body_of(path)
    if int(path.rpartition(b"/")[2]) % 2 == 0:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    middle = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in (body[:middle], body[middle:]) if c)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class NonceOrigin:
    """The origin; `restart` breaks every connection and listens again at the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["NonceOrigin"]:
        origin = cls()
        await origin._listen()
        try:
            yield origin
        finally:
            origin._cut_off()

    async def restart(self) -> None:
        self._cut_off()
        await asyncio.sleep(_AWAY_S)  # the origin is unreachable for a while
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _OriginConnection(self.connections), "127.0.0.1", self.port, backlog=1024
        )

    def _cut_off(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in list(self.connections):
            transport.abort()


@dataclass
class Tally:
    """The results of a crowd."""

    right: int = 0
    refused: int = 0  # 502 or 504: the origin was unreachable
    cut: int = 0  # a connection broke
    faults: list[str] = field(default_factory=list)


async def client(port: int, *, cookie: str, tally: Tally, until: asyncio.Event) -> None:
    """Send requests on one connection until `until` is set; reconnect when it breaks."""
    while not until.is_set():
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError) as error:
            tally.faults.append(f"cannot connect: {error!r}")
            return
        try:
            while not until.is_set():
                async with asyncio.timeout(_PATIENCE_S):
                    await _ask(reader, writer, cookie=cookie, tally=tally)
        except (ConnectionError, asyncio.IncompleteReadError):
            tally.cut += 1
        except TimeoutError:
            tally.faults.append("no response in time")
        finally:
            writer.transport.abort()


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cookie: str, tally: Tally
) -> None:
    path = f"/{secrets.token_hex(8)}/{random.choice(_SIZES)}".encode()
    writer.write(
        b"GET %b HTTP/1.1\r\nHost: shop.example\r\nCookie: %b\r\n\r\n" % (path, cookie.encode())
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    body = await _body(reader, head)
    if status in {502, 504}:
        tally.refused += 1
    elif status == 200 and body == body_of(path):
        tally.right += 1
    else:
        tally.faults.append(f"{path!r} got {status} with {body[:60]!r}")


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"content-length: " in head:
        return await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
