"""A whole gate between a raw client and a scripted origin, on either of its two paths.

Rules: one admitted visitor whose pass is never due for renewal, so that every request may take the
fast path; `fast_path=False` runs the same gate without it. Every byte on the wire is sent by the
test or checked by it. Every wait has a timeout.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Keyring, Pass, Tokens, VisitorId
from gatekeeper.process.commands import WorkerPlan
from gatekeeper.process.worker import Worker
from tests.builders import SECRET, parse_config
from tests.integration.proxy.forwarding import PATIENCE_S, Origin, Script, Wire, running_origin

ROOM = RoomName("conformance")  # no other tests use it
VISITOR = VisitorId("AAAAAAAAAAAAAAAAAAAAAA")
_DAY_S = 86_400.0  # `make fuzz` takes hours
_QUIET_S = 5.0  # how long expected bytes may take on a busy machine


def cookie_of(*, visitor: VisitorId = VISITOR, life_s: float = _DAY_S) -> str:
    """A cookie with a fresh pass of `visitor`."""
    now_s = time.time()
    pass_ = Pass(
        room=ROOM,
        visitor=visitor,
        arrival_us=int(now_s * 1e6),
        issued_at_s=now_s + _DAY_S,  # never due for renewal
        expires_at_s=now_s + life_s,
        ends_at_s=now_s + life_s,
    )
    return f"gatekeeper-{ROOM}={Tokens(Keyring([SECRET]), ROOM).mint(pass_)}"


COOKIE = b"Cookie: " + cookie_of().encode()


def visitor_request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A request of the admitted visitor, over HTTP/1.1 unless the line has a version."""
    if b" HTTP/" not in line:
        line += b" HTTP/1.1"
    return b"\r\n".join([line, b"Host: shop.example", COOKIE, *fields, b"", body])


def seen(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """The same request as the origin receives it."""
    introduction = (
        b"X-Forwarded-Host: shop.example",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Gatekeeper-Visitor: " + VISITOR.encode(),
        b"X-Gatekeeper-Room: " + ROOM.encode(),
    )
    lines = [line + b" HTTP/1.1", b"Host: shop.example", *fields, *introduction, b"", body]
    return b"\r\n".join(lines)


@dataclass
class Stage:
    """A running gate and its origin."""

    worker: Worker
    origin: Origin
    tls: ssl.SSLContext | None = None
    wires: list[Wire] = field(default_factory=list)

    async def connect(self) -> Wire:
        async with asyncio.timeout(PATIENCE_S):
            wire = Wire(
                *await asyncio.open_connection(
                    "127.0.0.1",
                    self.worker.port,
                    ssl=self.tls,
                    server_hostname="localhost" if self.tls else None,
                )
            )
        self.wires.append(wire)
        return wire

    @property
    def fast_path_connections(self) -> int:
        """The number of client connections on the fast path."""
        assert self.worker._fast_path is not None
        return len(self.worker._fast_path.connections)

    @property
    def aiohttp_connections(self) -> int:
        """The number of client connections that aiohttp serves."""
        assert self.worker._server is not None
        return len(self.worker._server.connections)


@asynccontextmanager
async def running_stage(
    script_of: Callable[[Origin], Script],
    *,
    store_url: str,
    fast_path: bool,
    toml: str = "",
    origin_toml: str = "",
    room: str = "",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Stage]:
    """`room`: more keys of the room. `tls` is the client's context for the `[server] tls_cert` that
    `toml` sets."""
    async with (
        running_origin(script_of) as origin,
        running_worker(
            origin.url,
            store_url=store_url,
            fast_path=fast_path,
            toml=toml,
            origin_toml=origin_toml,
            room=room,
        ) as worker,
    ):
        stage = Stage(worker, origin, tls)
        try:
            yield stage
        finally:
            for wire in stage.wires:
                wire.abort()


# The fixture `open_stage`: `running_stage` with the store and the path of the test.
StageOpener = Callable[..., AbstractAsyncContextManager[Stage]]


@asynccontextmanager
async def running_worker(
    origin_url: str,
    *,
    store_url: str,
    fast_path: bool,
    toml: str = "",
    origin_toml: str = "",
    room: str = "",
) -> AsyncIterator[Worker]:
    with TemporaryDirectory() as folder:
        text = f'[origin]\nurl = "{origin_url}"\n{origin_toml}\n{toml}\n'
        text += f'[[room]]\nname = "{ROOM}"\n{room}\n'
        config = parse_config(text, folder=Path(folder))
        plan = WorkerPlan(config, store_url, "off", (SECRET,), "127.0.0.1", 0)
        worker = Worker(plan, fast_path=fast_path)
        await worker.start()
        try:
            yield worker
        finally:
            async with asyncio.timeout(PATIENCE_S):
                await worker.close()


async def received(wire: Wire, size: int) -> bytes:
    """The next `size` bytes, or as many as arrive."""
    data = b""
    try:
        while len(data) < size:
            async with asyncio.timeout(_QUIET_S):
                piece = await wire.reader.read(size - len(data))
            if not piece:
                break
            data += piece
    except (TimeoutError, ConnectionError):
        pass
    return data


async def send_in_pieces(wire: Wire, data: bytes, cuts: tuple[int, ...] = ()) -> None:
    """Send with a turn of the loop after each cut, so that the pieces mostly arrive separately."""
    for piece in pieces(data, cuts):
        wire.send(piece)
        await wire.flush()
        await asyncio.sleep(0)


def pieces(data: bytes, cuts: tuple[int, ...]) -> Iterator[bytes]:
    """`data` cut at these offsets; those beyond its end do nothing."""
    start = 0
    for cut in (*sorted(cuts), len(data)):
        if start < cut <= len(data):
            yield data[start:cut]
            start = cut
