"""The connection to the store: addresses, broken connections, late replies."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import redis
import trustme

from gatekeeper.errors import StoreError
from gatekeeper.room.store import RedisStore, Script, StoreRefusal
from tests.patient_store import PatientStore
from tests.servers import StoreServer, eventually

ECHO = Script("echo", "return { ARGV[1] }", "d1f7dd9e5bb8ebb0ae8d1b8fcd9a4d4b14a0dd5c")


async def echo(store: RedisStore, word: str) -> str:
    [reply] = await store.run(ECHO, [], [word])
    assert isinstance(reply, bytes)
    return reply.decode()


@asynccontextmanager
async def connected(url: str, *, timeout_s: float = 5) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, timeout_s=timeout_s)
    try:
        yield store
    finally:
        await store.close()


def admin(server: StoreServer) -> redis.Redis:
    return redis.Redis.from_url(server.url)


@asynccontextmanager
async def in_front(
    server: StoreServer | Callable[[], StoreServer], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """A port in front of the store's socket (selected per connection), and the connections to
    it."""
    clients: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        behind = server() if callable(server) else server
        path = behind.url.removeprefix("unix://")
        store_reader, store_writer = await asyncio.open_unix_connection(path)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, store_writer))
                group.create_task(pump(store_reader, writer))
        finally:
            store_writer.close()
            writer.close()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
        finally:
            writer.close()

    listener = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1], clients
    finally:
        listener.close()


@pytest.mark.valkey
async def test_password_is_required_and_checked(
    private_store: StoreServer,
) -> None:
    path = private_store.url.removeprefix("unix://")
    with admin(private_store) as client:
        client.config_set("requirepass", "pass word")
        client.execute_command("ACL", "SETUSER", "gate", "on", ">of its own", "~*", "+@all")
    for login in (":pass%20word", "gate:of%20its%20own"):
        async with connected(f"unix://{login}@{path}") as store:
            assert await echo(store, "in") == "in"
    for login in ("", ":wrong@", "nobody:pass%20word@"):
        async with connected(f"unix://{login}{path}") as store:
            with pytest.raises(StoreError):
                await echo(store, "out")
            with pytest.raises(StoreRefusal):
                await store.ping()


async def test_connection_names_itself_where_it_may(private_store: StoreServer) -> None:
    path = private_store.url.removeprefix("unix://")
    with admin(private_store) as client:
        client.execute_command("ACL", "SETUSER", "quiet", "on", ">word", "~*", "+@all", "-client")
        for url, name in (
            (private_store.url, "gatekeeper"),
            (f"{private_store.url}?client_name=shop", "shop"),
            (f"unix://quiet:word@{path}", ""),
        ):
            async with connected(url) as store:
                for _ in range(2):  # also after a reconnect
                    assert await echo(store, "in") == "in"
                    [own] = [each for each in client.client_list() if each["cmd"] != "client|list"]
                    assert own["name"] == name
                    client.client_kill_filter(_id=own["id"])
                    await eventually(lambda: len(client.client_list()) == 1)
                    with suppress(StoreError):  # the end of the connection may not be noticed yet
                        await echo(store, "lost")


async def test_database_is_selected_by_number(private_store: StoreServer) -> None:
    write = Script("write", "redis.call('SET', KEYS[1], 'x'); return {}", "0" * 40)
    async with in_front(private_store) as (port, _):
        async with connected(f"redis://127.0.0.1:{port}/3") as store:
            await store.run(write, ["k"], [])
        async with connected(f"redis://127.0.0.1:{port}") as store:
            await store.run(write, ["other"], [])
    async with connected(f"{private_store.url}?db=3") as store:
        await store.run(write, ["third"], [])
    with admin(private_store) as client:
        assert client.keys() == [b"other"]
        client.select(3)
        assert sorted(client.keys()) == [b"k", b"third"]


async def test_tls_store_is_verified_by_certificate(
    private_store: StoreServer, tmp_path: Path
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca")
    stranger.cert_pem.write_to_path(tmp_path / "stranger")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with in_front(private_store, tls=context) as (port, _):
        url = f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}"
        async with connected(f"{url}/ca") as store:
            assert await echo(store, "in") == "in"
            await asyncio.gather(*(echo(store, "x" * 100_000) for _ in range(20)))
        async with connected(f"{url}/stranger") as store:
            with pytest.raises(StoreError):
                await echo(store, "out")


async def test_concurrent_calls_get_their_own_replies(store_url: str) -> None:
    async with connected(store_url) as store:
        words = [str(number) * (number % 50) for number in range(2000)]
        assert await asyncio.gather(*(echo(store, word) for word in words)) == words


async def test_cancelled_calls_leave_other_replies_intact(private_store: StoreServer) -> None:
    async with connected(private_store.url) as store:
        await echo(store, "warm")
        private_store.pause()
        calls = [asyncio.create_task(echo(store, str(number))) for number in range(20)]
        await asyncio.sleep(0)
        for task in calls[::2]:
            task.cancel()
        await asyncio.sleep(0)
        private_store.resume()
        kept = await asyncio.gather(*calls[1::2])
        assert kept == [str(number) for number in range(1, 20, 2)]


async def test_late_reply_is_discarded(private_store: StoreServer) -> None:
    store = PatientStore(private_store.url)
    await echo(store, "warm")
    private_store.pause()
    with pytest.raises(StoreError):
        await echo(store, "late")
    private_store.resume()
    assert [await echo(store, str(number)) for number in range(5)] == list("01234")
    await store.close()


async def test_broken_connection_fails_only_open_calls(
    private_store: StoreServer,
) -> None:
    async with (
        in_front(private_store) as (port, clients),
        connected(f"redis://127.0.0.1:{port}") as store,
    ):
        await echo(store, "warm")
        private_store.pause()
        calls = [asyncio.create_task(echo(store, "x")) for _ in range(3)]
        await asyncio.sleep(0)
        clients[0].transport.abort()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [StoreError] * 3
        private_store.resume()
        assert await asyncio.gather(*(echo(store, word) for word in "abc")) == ["a", "b", "c"]
        assert len(clients) == 2


async def test_flushed_scripts_are_loaded_again(private_store: StoreServer) -> None:
    async with connected(private_store.url) as store:
        assert await echo(store, "one") == "one"
        with admin(private_store) as client:
            client.script_flush()
        assert await echo(store, "two") == "two"
        private_store.restart()
        await eventually(lambda: store._wire is not None and not store._wire.is_open)
        assert await echo(store, "three") == "three"


async def test_unencodable_argument_fails_only_its_call(
    store_url: str,
) -> None:
    async with connected(store_url) as store:
        words = ["one", "half a character: \ud800", "two", "three"]
        replies = await asyncio.gather(
            *(echo(store, word) for word in words), return_exceptions=True
        )
        assert isinstance(replies.pop(1), UnicodeEncodeError)
        assert replies == ["one", "two", "three"]


async def test_error_reply_fails_only_its_call(store_url: str) -> None:
    broken = Script("broken", "return redis.error_reply('ERR ' .. ARGV[1])", "0" * 40)
    async with connected(store_url) as store:
        calls = []
        for number in range(20):
            script = broken if number % 3 == 0 else ECHO
            calls.append(store.run(script, [], [str(number)]))
        replies = await asyncio.gather(*calls, return_exceptions=True)
        for number, reply in enumerate(replies):
            if number % 3 == 0:
                assert isinstance(reply, StoreError)
                assert str(reply.__cause__).startswith(f"ERR {number}")
            else:
                assert reply == [str(number).encode()]


async def test_demoted_primary_is_resolved_again(private_store: StoreServer) -> None:
    write = Script("write", "redis.call('SET', KEYS[1], 'x'); return {}", "0" * 40)
    with StoreServer() as primary:
        servers = [primary, private_store]
        async with (
            in_front(lambda: servers[0]) as (port, _),
            connected(f"redis://127.0.0.1:{port}") as store,
        ):
            await store.run(write, ["k"], [])
            with admin(primary) as client:
                client.execute_command("REPLICAOF", "127.0.0.1", "1")
            servers.pop(0)
            with pytest.raises(StoreError):
                await store.run(write, ["k"], [])
            await store.run(write, ["k"], [])


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+OK\r\n", b""])
async def test_server_that_is_no_store_is_refused(words: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(words + words)
        writer.close()

    listener = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with connected(f"redis://127.0.0.1:{port}") as store:
        with pytest.raises(StoreError):
            await store.scores("k", since=0, limit=1)
        if words.startswith(b"HTTP"):
            with pytest.raises(StoreRefusal):
                await store.ping()
    listener.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere/store.sock"])
async def test_absent_store_is_an_error(url: str) -> None:
    async with connected(url) as store:
        with pytest.raises(StoreError):
            await store.ping()
