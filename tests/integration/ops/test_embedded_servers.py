"""The embedded servers: they keep the data and end with the gate."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
import redis.asyncio as redis

from gatekeeper.config.types import RoomName
from gatekeeper.errors import StartError
from gatekeeper.policy.tokens import new_visitor_id
from gatekeeper.process import embedded_process, server_watch
from gatekeeper.process.children import EmbeddedServerProcess
from gatekeeper.process.embedded import events_address, start_events, start_store
from gatekeeper.process.embedded_process import EmbeddedServer
from tests.integration.replicas.replica_group import room_config, running_replica
from tests.ports import taken_port
from tests.servers import eventually, without_wheel

_GATE = """
import asyncio, sys
from pathlib import Path
from gatekeeper.process.embedded import start_events, start_store

async def gate(folder):
    store, events = await start_store(folder), await start_events(folder)
    print(store.pid, events.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(gate(Path(sys.argv[1])))
"""

FakeStore = Callable[[str], Path]
_BEGUN = 'echo $$ > "$SEEN/pid.new"; mv "$SEEN/pid.new" "$SEEN/pid"'


@pytest.fixture
def fake_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    """Install a shell script as redis-server; it may write to the folder that is returned."""

    def install(script: str) -> Path:
        without_wheel(monkeypatch)
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "redis-server"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("SEEN", str(folder))
        return folder

    return install


@pytest.fixture
def timeout_of_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout of a start begins when the fake store has run `_BEGUN`, and not before."""
    spawn = embedded_process._spawn

    async def spawned(command: list[str], **options: Any) -> Any:
        process = await spawn(command, **options)
        await eventually((tmp_path / "bin" / "pid").exists)
        return process

    monkeypatch.setattr(embedded_process, "_spawn", spawned)


def data_of(home: Path) -> list[Path]:
    """The data files of the store in its folder, for every kind of store."""
    ours = {"lock", "server.log", "server.log.old", "store.sock"}
    return [path for path in home.iterdir() if path.name not in ours]


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_store_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    for value in (1, 2):
        server = await start_store(tmp_path)
        async with redis.from_url(server.url) as client:
            assert await client.incr("a") == value
        await server.stop()
        assert await server.wait() == 0


async def test_servers_exit_with_a_killed_gate_and_data_survives(
    tmp_path: Path,
) -> None:
    gate = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _GATE, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert gate.stdout is not None
    async with asyncio.timeout(40):
        pids = [int(word) for word in (await gate.stdout.readline()).split()]
    async with redis.from_url(f"unix://{tmp_path}/store/store.sock") as client:
        await client.set("a", 7)
    gate.kill()
    await asyncio.wait_for(gate.wait(), 30)
    server = await start_store(tmp_path)  # at once, as a supervisor does
    async with redis.from_url(server.url) as client:
        assert await client.get("a") == b"7"
    await server.stop()
    assert len(pids) == 2
    await eventually(lambda: not any(is_alive(pid) for pid in pids))


async def test_ctrl_c_of_the_terminal_does_not_reach_servers(tmp_path: Path) -> None:
    server = await start_events(tmp_path)
    assert os.getsid(server.pid) == server.pid
    assert os.getpgid(server.pid) != os.getpgid(0)
    await server.stop()


async def test_second_gate_on_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_process, "_LOCK_TIMEOUT_S", 0.05)
    for name, start in (("store", start_store), ("events", start_events)):
        first = await start(tmp_path)
        with pytest.raises(StartError) as refused:
            await start(tmp_path)
        assert refused.value.public == (
            f"another gatekeeper already runs its embedded {name} in {tmp_path}/{name}; "
            "stop it, or set GATEKEEPER_STATE_DIR to another folder"
        )
        await first.stop()


async def test_socket_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    server = await start_store(tmp_path)
    os.kill(server.pid, signal.SIGKILL)
    assert await server.wait() == -signal.SIGKILL
    assert (tmp_path / "store" / "store.sock").exists()
    server = await start_store(tmp_path)
    async with redis.from_url(server.url) as client:
        assert await client.ping()
    await server.stop()


async def test_socket_of_a_long_folder_is_in_a_short_private_one(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    server = await start_store(folder)
    async with redis.from_url(server.url) as client:
        await client.set("a", 1)
    address = Path(server.url.removeprefix("unix://"))
    assert len(str(address)) < 100
    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    await server.stop()
    assert data_of(folder / "store")
    address.parent.rmdir()


async def test_short_folder_open_to_other_users_is_refused(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(short_folder))
    folder = tmp_path / ("long" * 30)
    server = await start_store(folder)
    await server.stop()
    Path(server.url.removeprefix("unix://")).parent.chmod(0o755)
    with pytest.raises(StartError, match="is not private to this user"):
        await start_store(folder)


async def test_state_files_are_private(tmp_path: Path) -> None:
    store, events = await start_store(tmp_path), await start_events(tmp_path)
    for folder in (tmp_path / "store", tmp_path / "events"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in ("store/store.sock", "events/nats.conf", "events/address"):
        assert (tmp_path / file).stat().st_mode & 0o077 == 0
    await store.stop()
    await events.stop()
    for path in data_of(tmp_path / "store"):
        assert path.stat().st_mode & 0o077 == 0


async def test_replicas_reconnect_to_restarted_events(tmp_path: Path) -> None:
    first = await start_events(tmp_path)
    client = await nats.connect(first.url, reconnect_time_wait=0.01)
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    second = await start_events(tmp_path)
    assert second.url == first.url
    await eventually(lambda: client.stats["reconnects"] == 1 and client.is_connected)
    await client.close()
    await second.stop()


async def test_events_change_port_when_it_is_taken(tmp_path: Path) -> None:
    first = await start_events(tmp_path)
    await first.stop()
    with taken_port(int(first.url.rpartition(":")[2])):
        second = await start_events(tmp_path)
    assert second.url.rpartition(":")[0] == first.url.rpartition(":")[0]
    assert second.url != first.url
    await second.stop()


async def test_replicas_find_events_on_another_port(
    tmp_path: Path, store_url: str, room_name: RoomName
) -> None:
    first = await start_events(tmp_path)
    url = events_address(tmp_path)
    keys = room_config(room_name, rate=0)
    async with (
        running_replica(keys, store_url=store_url, events_url=url) as one,
        running_replica(keys, store_url=store_url, events_url=url) as other,
    ):
        await eventually(lambda: one.events.connected() and other.events.connected())
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        with taken_port(int(first.url.rpartition(":")[2])):
            second = await start_events(tmp_path)
            assert second.url != first.url
            await eventually(lambda: one.events.connected() and other.events.connected())
        visitor = new_visitor_id()
        await one.room.leave([visitor])
        await eventually(lambda: visitor in other.room.view.revoked())
    await second.stop()


async def test_events_refuse_a_client_without_the_token(tmp_path: Path) -> None:
    server = await start_events(tmp_path)
    client = await nats.connect(server.url)
    await client.flush()
    await client.close()
    bare = f"nats://{server.url.partition('@')[2]}"

    async def ignore(_error: Exception) -> None: ...

    with pytest.raises(nats.errors.Error):
        await nats.connect(bare, allow_reconnect=False, error_cb=ignore)
    assert server.url.partition("@")[0].removeprefix("nats://") not in repr(server)
    await server.stop()


async def test_store_that_never_starts_is_reported_and_keeps_its_files(
    tmp_path: Path, fake_store: FakeStore
) -> None:
    """It does not start empty either, so its files are not the cause."""
    fake_store('mkdir -p data; echo "no such option" >&2; exit 1')
    data = tmp_path / "store" / "data"
    (tmp_path / "store").mkdir(mode=0o700)
    data.mkdir()
    (data / "manifest").write_text("a manifest\n")
    for _ in range(2):
        with pytest.raises(StartError) as refused:
            await start_store(tmp_path)
        assert refused.value.public == (
            "the embedded store exited at once; its log ends: no such option"
        )
        assert (data / "manifest").read_text() == "a manifest\n"
        assert not [*(tmp_path / "store").glob("damaged-*")]


@pytest.mark.parametrize(
    "address",
    ["", "\0" * 4096, 'nats://"};x@127.0.0.1:4222', "nats://a\nb@127.0.0.1:4222", "nats://@:0"],
)
async def test_damaged_address_of_events_is_replaced(tmp_path: Path, address: str) -> None:
    (tmp_path / "events").mkdir(mode=0o700)
    (tmp_path / "events" / "address").write_text(address)
    server = await start_events(tmp_path)
    client = await nats.connect(server.url)
    await client.close()
    await server.stop()


@pytest.mark.usefixtures("timeout_of_script")
async def test_server_without_response_is_killed_and_reported(
    tmp_path: Path, fake_store: FakeStore
) -> None:
    seen = fake_store(f"echo still thinking; {_BEGUN}; exec sleep 60")
    with pytest.raises(StartError) as refused:
        await start_store(tmp_path, timeout_s=2)
    assert refused.value.public == (
        "the embedded store is not ready after 2 s; its log ends: still thinking"
    )
    assert not is_alive(int((seen / "pid").read_text()))


_SLOW_READER = """
import socket, sys, time
path = sys.argv[sys.argv.index("--unixsocket") + 1]
began = time.monotonic()
with socket.socket(socket.AF_UNIX) as server:
    server.bind(path)
    server.listen()
    while True:
        asking, _ = server.accept()
        asking.recv(100)
        loading = time.monotonic() - began < 2.5
        asking.sendall(b"-LOADING the dataset in memory\\r\\n" if loading else b"+PONG\\r\\n")
        asking.close()
"""


@pytest.mark.usefixtures("timeout_of_script")
async def test_store_that_loads_its_data_may_exceed_the_timeout(
    tmp_path: Path, fake_store: FakeStore
) -> None:
    (tmp_path / "reader.py").write_text(_SLOW_READER)
    fake_store(f'{_BEGUN}; exec "{sys.executable}" "{tmp_path}/reader.py" "$@"')
    server = await start_store(tmp_path, timeout_s=2)
    await server.stop()


@pytest.mark.parametrize("start", [start_store, start_events])
async def test_server_that_hangs_is_replaced(
    start: Callable[[Path], Awaitable[EmbeddedServer]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_watch, "RESPONSE_TIMEOUT_S", 1.0)
    servers = []

    async def started() -> EmbeddedServer:
        servers.append(await start(tmp_path))
        return servers[-1]

    process = EmbeddedServerProcess(started, "server")
    await process.start()
    try:
        assert process.is_running
        os.kill(servers[0].pid, signal.SIGSTOP)
        await eventually(lambda: not process.is_running)
        await eventually(lambda: process.is_running and len(servers) > 1)
        assert await servers[0].wait() == -signal.SIGKILL
        assert servers[1].url == servers[0].url
    finally:
        await process.stop()


async def test_store_that_hangs_keeps_what_it_has_confirmed(tmp_path: Path) -> None:
    """It is killed; its log contains every confirmed write."""
    server = await start_store(tmp_path)
    async with redis.from_url(server.url) as client:
        await client.set("k", "v")
    os.kill(server.pid, signal.SIGSTOP)
    server.kill()
    await server.wait()
    server = await start_store(tmp_path)
    async with redis.from_url(server.url) as client:
        assert await client.get("k") == b"v"
    await server.stop()


@pytest.mark.parametrize("name", ["lock", "address", "nats.conf"])
async def test_file_that_cannot_be_written_is_a_start_error(tmp_path: Path, name: str) -> None:
    """As on a full disk: one line, and no server keeps running."""
    home = tmp_path / "events"
    (home / name).mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    with pytest.raises(StartError, match=r"^the embedded events cannot start: .*Is a directory"):
        await start_events(tmp_path)
    (home / name).rmdir()
    await (await start_events(tmp_path)).stop()


async def test_cancelled_start_leaves_no_process(tmp_path: Path, fake_store: FakeStore) -> None:
    seen = fake_store(f"{_BEGUN}; exec sleep 60")
    starting = asyncio.create_task(start_store(tmp_path))
    await eventually((seen / "pid").exists)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not is_alive(int((seen / "pid").read_text()))


async def test_server_environment_has_no_gatekeeper_variables(
    tmp_path: Path, fake_store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEKEEPER_TOKENS__SECRETS", '["not for children"]')
    seen = fake_store('env > "$SEEN/environment"')
    with pytest.raises(StartError):
        await start_store(tmp_path)
    environment = (seen / "environment").read_text()
    assert "SEEN=" in environment
    assert "GATEKEEPER_" not in environment


async def test_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    server = await start_store(tmp_path)
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop(timeout_s=0.1)
    assert await server.wait() == -signal.SIGKILL
    await server.stop()
