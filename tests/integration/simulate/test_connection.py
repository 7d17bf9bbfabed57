"""The crowd's connections over real sockets, against servers with every kind of response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gatekeeper.simulate.connection import ConnectionPool, GateAddress, RawResponse

pytestmark = pytest.mark.simulated_time

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET, POST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class AwaitedRequest:
    """A request with an awaitable response."""

    request: bytes = GET
    encoded_at: list[int] = field(default_factory=list)
    response: asyncio.Future[RawResponse | str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def encode(self) -> bytes:
        self.encoded_at.append(1)
        return self.request

    def complete(self, response: RawResponse | str) -> None:
        self.response.set_result(response)


@asynccontextmanager
async def running_pool(
    serve: Serve, *, limit: int = 2, timeout_s: float = 5
) -> AsyncIterator[tuple[ConnectionPool, list[int]]]:
    """A pool of connections to a server, and the numbers of the connections it accepted."""
    accepted: list[int] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(len(accepted))
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = ConnectionPool(
        GateAddress.of(f"http://127.0.0.1:{port}"), limit=limit, timeout_s=timeout_s
    )
    try:
        yield pool, accepted
    finally:
        await pool.close()
        server.close()


def responding(*pieces: bytes, then_close: bool = False) -> Serve:
    """Responds to every request with these bytes, each part sent separately."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if then_close:
                return

    return serve


async def reply_to(pool: ConnectionPool, request: bytes = GET) -> RawResponse | str:
    awaited = AwaitedRequest(request)
    pool.send(awaited)
    async with asyncio.timeout(30):
        return await awaited.response


@pytest.mark.parametrize(
    ("serve", "body"),
    [
        (responding(OK), b"hi"),
        (responding(*(OK[at : at + 1] for at in range(len(OK)))), b"hi"),
        (responding(b"HTTP/1.1 100 Continue\r\n\r\n" + OK), b"hi"),
        (responding(b"HTTP/1.1 204 No Content\r\n\r\n"), b""),
        (
            responding(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n",
                b"1\r\ni\r\n0\r\n\r\n",
            ),
            b"hi",
        ),
        (responding(b"HTTP/1.1 200 OK\r\n\r\nh", b"i", then_close=True), b"hi"),
    ],
    ids=["length", "byte by byte", "interim", "empty", "chunked", "until close"],
)
async def test_response_is_read_to_its_end(serve: Serve, body: bytes) -> None:
    async with running_pool(serve) as (pool, _):
        for _ in range(2):
            response = await reply_to(pool)
            assert isinstance(response, RawResponse)
            assert response.body == body


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (responding(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", then_close=True), "lost"),
        (responding(then_close=True), "lost"),
        (responding(b"hello\r\n\r\n"), "not HTTP"),
        (responding(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhi"), "not HTTP"),
        (responding(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000), "not HTTP"),
        (responding(b"HTTP/1.1 200 OK\r\n"), "timed out"),
    ],
    ids=["cut", "closed", "not HTTP", "bad length", "endless head", "timeout"],
)
async def test_invalid_response_is_failure_with_reason(serve: Serve, reason: str) -> None:
    async with running_pool(serve, timeout_s=0.5 if reason == "timed out" else 30) as (pool, _):
        response = await reply_to(pool)
        assert isinstance(response, str)
        assert reason in response


async def test_connection_refused_fails_every_request() -> None:
    pool = ConnectionPool(GateAddress.of("http://127.0.0.1:1"), limit=1, timeout_s=5)
    replies = await asyncio.gather(*(reply_to(pool) for _ in range(3)))
    await pool.close()

    assert replies == ["connection refused"] * 3


async def test_many_requests_share_few_connections() -> None:
    async with running_pool(responding(OK), limit=2) as (pool, accepted):
        replies = await asyncio.gather(*(reply_to(pool) for _ in range(50)))

    assert all(isinstance(response, RawResponse) for response in replies)
    assert len(accepted) == 2


async def test_oversized_body_is_cut_and_connection_closed() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 300_000
    async with running_pool(responding(endless), limit=1) as (pool, accepted):
        first, second = await reply_to(pool), await reply_to(pool)

    assert isinstance(first, RawResponse)
    assert isinstance(second, RawResponse)
    assert len(accepted) == 2


async def test_bytes_after_response_are_discarded() -> None:
    async with running_pool(responding(OK + OK.replace(b"hi", b"no")), limit=1) as (pool, accepted):
        replies = [await reply_to(pool) for _ in range(2)]

    assert [each.body for each in replies if isinstance(each, RawResponse)] == [b"hi", b"hi"]
    assert len(accepted) == 2


@pytest.mark.parametrize(("request_", "retried"), [(GET, True), (POST, False)], ids=["GET", "POST"])
async def test_closed_connection_retries_get_only(request_: bytes, retried: bool) -> None:
    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")  # the connection is closed after the second request

    async with running_pool(one_each, limit=1) as (pool, accepted):
        await reply_to(pool)
        awaited = AwaitedRequest(request_)
        pool.send(awaited)
        response = await awaited.response

    assert isinstance(response, RawResponse) == retried
    assert len(awaited.encoded_at) == 1
    assert len(accepted) == (2 if retried else 1)
