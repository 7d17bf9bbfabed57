"""The crowd's connections over real sockets, against servers that answer in every way there is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gatekeeper.simulate.connection import Address, Channels, Reply

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET, POST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Asked:
    """A question whose reply can be awaited."""

    request: bytes = GET
    put_at: list[int] = field(default_factory=list)
    reply: asyncio.Future[Reply | str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def put(self) -> bytes:
        self.put_at.append(1)
        return self.request

    def answered(self, reply: Reply | str) -> None:
        self.reply.set_result(reply)


@asynccontextmanager
async def channels(
    serve: Serve, *, most: int = 2, timeout_s: float = 5
) -> AsyncIterator[tuple[Channels, list[int]]]:
    """Channels to a server, and the number of each connection that it took."""
    taken: list[int] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(len(taken))
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    opened = Channels(Address.of(f"http://127.0.0.1:{port}"), most=most, timeout_s=timeout_s)
    try:
        yield opened, taken
    finally:
        await opened.close()
        server.close()


def answering(*pieces: bytes, then_close: bool = False) -> Serve:
    """Answers every request with these bytes, each sent by itself."""

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


async def reply_to(opened: Channels, request: bytes = GET) -> Reply | str:
    asked = Asked(request)
    opened.ask(asked)
    async with asyncio.timeout(10):
        return await asked.reply


@pytest.mark.parametrize(
    ("serve", "body"),
    [
        (answering(OK), b"hi"),
        (answering(*(OK[at : at + 1] for at in range(len(OK)))), b"hi"),
        (answering(b"HTTP/1.1 100 Continue\r\n\r\n" + OK), b"hi"),
        (answering(b"HTTP/1.1 204 No Content\r\n\r\n"), b""),
        (
            answering(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n",
                b"1\r\ni\r\n0\r\n\r\n",
            ),
            b"hi",
        ),
        (answering(b"HTTP/1.1 200 OK\r\n\r\nh", b"i", then_close=True), b"hi"),
    ],
    ids=["length", "byte by byte", "interim", "nothing", "chunks", "until the end"],
)
async def test_an_answer_is_read_to_its_end(serve: Serve, body: bytes) -> None:
    async with channels(serve) as (opened, _):
        for _ in range(2):
            reply = await reply_to(opened)
            assert isinstance(reply, Reply)
            assert reply.body == body


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", then_close=True), "lost"),
        (answering(then_close=True), "lost"),
        (answering(b"hello\r\n\r\n"), "not HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhi"), "not HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000), "not HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\n"), "timed out"),
    ],
    ids=["cut", "closed", "no HTTP", "no length", "endless head", "silence"],
)
async def test_what_is_no_answer_is_a_failure_in_words(serve: Serve, why: str) -> None:
    async with channels(serve, timeout_s=0.5) as (opened, _):
        reply = await reply_to(opened)
        assert isinstance(reply, str)
        assert why in reply


async def test_nobody_listening_is_a_failure_of_each() -> None:
    opened = Channels(Address.of("http://127.0.0.1:1"), most=1, timeout_s=5)
    replies = await asyncio.gather(*(reply_to(opened) for _ in range(3)))
    await opened.close()

    assert replies == ["connection refused"] * 3


async def test_many_questions_share_few_connections() -> None:
    async with channels(answering(OK), most=2) as (opened, taken):
        replies = await asyncio.gather(*(reply_to(opened) for _ in range(50)))

    assert all(isinstance(reply, Reply) for reply in replies)
    assert len(taken) == 2


async def test_a_body_without_end_is_cut_and_its_connection_given_up() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 300_000
    async with channels(answering(endless), most=1) as (opened, taken):
        first, second = await reply_to(opened), await reply_to(opened)

    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert len(taken) == 2


async def test_what_follows_an_answer_unasked_is_nobodys() -> None:
    async with channels(answering(OK + OK.replace(b"hi", b"no")), most=1) as (opened, taken):
        replies = [await reply_to(opened) for _ in range(2)]

    assert [each.body for each in replies if isinstance(each, Reply)] == [b"hi", b"hi"]
    assert len(taken) == 2


@pytest.mark.parametrize(("request_", "again"), [(GET, True), (POST, False)], ids=["GET", "POST"])
async def test_only_a_get_is_sent_again_when_the_connection_had_just_been_closed(
    request_: bytes, again: bool
) -> None:
    async def one_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")  # the second is met with the end

    async with channels(one_each, most=1) as (opened, taken):
        await reply_to(opened)
        asked = Asked(request_)
        opened.ask(asked)
        reply = await asked.reply

    assert isinstance(reply, Reply) == again
    assert len(asked.put_at) == 1
    assert len(taken) == (2 if again else 1)
