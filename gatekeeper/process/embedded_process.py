"""Starts an embedded server: private, one per folder, and ended with its parent.

The lock is an open file that the *server* inherits, so it is held as long as the server runs, even
after the gate was killed. Linux sends the parent-death signal when the *thread* that started the
server ends: start servers on the main thread, or on a thread that outlives them.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gatekeeper.errors import StartError
from gatekeeper.process.state_folder import private_folder

# Given the server's process id: its URL once it is ready, None or an OSError before. Raises
# `NotReadyError` while it loads its data, which may take any time.
Probe = Callable[[int], Awaitable[str | None]]

_PROBE_INTERVAL_S = 0.02
_LOCK_TIMEOUT_S = 2.0  # the server of a killed gate still writes its data
_MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 104 bytes on macOS and 108 on Linux, NUL included
_PR_SET_PDEATHSIG = 1
_LOG_ENDS = "; its log ends: "
_MAX_LINE_BYTES = 1 << 20  # of a server's output

# Runs between fork and exec, in a fresh interpreter: preexec_fn is not safe in a threaded program.
_LAUNCHER = f"""
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent died before the server started")
os.umask(0o077)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.execv(sys.argv[3], sys.argv[3:])
"""


class LivenessProbe(Protocol):
    """A liveness probe of a running server, given its process id. Raises like a `Probe`."""

    async def __call__(self, pid: int, /) -> object: ...

    def close(self) -> None:
        """Close what it keeps open."""
        ...


class NotReadyError(Exception):
    """The server responds, and is not ready yet."""


class ExitedError(StartError):
    """The server exited before it was ready; `code` is negative for a signal."""

    def __init__(self, name: str, home: Path, *, code: int) -> None:
        super().__init__(f"the embedded {name} exited at once{_log_end(home)}")
        self.code = code
        self.log_end = _log_end(home).removeprefix(_LOG_ENDS)


@dataclass(slots=True)
class EmbeddedServer:
    """A running embedded server. `url` may contain a password and has no repr; `output` are the
    lines that it writes, if requested at the start."""

    name: str
    url: str = field(repr=False)
    pid: int
    _process: asyncio.subprocess.Process = field(repr=False)
    _liveness_probe: LivenessProbe = field(repr=False)

    async def probe(self) -> None:
        """Probe the server: any reaction counts, also a refusal or a closed connection. Has no
        timeout."""
        try:
            await self._liveness_probe(self.pid)
        except TimeoutError:  # an OSError too
            raise
        except (OSError, EOFError, ValueError, NotReadyError):
            return

    def close_probe(self) -> None:
        """Close the connection that `probe` keeps open."""
        self._liveness_probe.close()

    def kill(self) -> None:
        """Kill it, with the processes that it started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    @property
    def output(self) -> asyncio.StreamReader | None:
        return self._process.stdout

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


@dataclass(frozen=True, slots=True)
class _RepeatedProbe:
    """Uses the start-up probe as liveness probe: each opens its own connection."""

    probe: Probe

    async def __call__(self, pid: int, /) -> object:
        return await self.probe(pid)

    def close(self) -> None:
        """Nothing is open."""


def launched(command: list[str], *, orphaned: signal.Signals = signal.SIGTERM) -> list[str]:
    """`command`, wrapped so that it ends with this process, by the signal `orphaned`, and creates
    private files."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER]
    return [*launcher, str(os.getpid()), str(int(orphaned)), *command]


async def start_embedded(
    name: str,
    *,
    home: Path,
    prepare: Callable[[], list[str]],
    probe: Probe,
    timeout_s: float,
    environ: Mapping[str, str],
    with_output: bool = False,
    liveness_probe: LivenessProbe | None = None,
    orphaned: signal.Signals = signal.SIGTERM,
) -> EmbeddedServer:
    """Start the command that `prepare` returns, in the folder `home`, and wait until it is ready.

    The liveness probe of the running server is `probe` by default; `orphaned` is the signal that it
    gets when this process was killed. `environ` is added to its environment. Its output is in
    `home`/server.log; `with_output`: its standard output is a pipe, which the caller has to read.
    Raises StartError."""
    lock = await _lock(home, name=name)
    try:
        process = await _spawn(
            launched(prepare(), orphaned=orphaned),
            home=home,
            lock=lock,
            environ=environ,
            with_output=with_output,
        )
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
        raise ExitedError(name, home, code=process.returncode or 0)
    return EmbeddedServer(
        name=name,
        url=url,
        pid=process.pid,
        _process=process,
        _liveness_probe=liveness_probe or _RepeatedProbe(probe),
    )


@asynccontextmanager
async def locked(home: Path, *, name: str) -> AsyncIterator[None]:
    """A context in which no server can start in the folder `home`. Raises StartError if one
    runs."""
    lock = await _lock(home, name=name)
    try:
        yield
    finally:
        os.close(lock)


async def _spawn(
    command: list[str], *, home: Path, lock: int, environ: Mapping[str, str], with_output: bool
) -> asyncio.subprocess.Process:
    log = home / "server.log"
    if log.exists():
        log.replace(home / "server.log.old")  # keeps the end of the previous run
    log.touch(mode=0o600)
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=home,
            env={k: v for k, v in os.environ.items() if not k.startswith("GATEKEEPER_")}
            | dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if with_output else output,
            stderr=output,
            pass_fds=(lock,),
            start_new_session=True,  # so that Ctrl-C on the terminal only reaches the gate
            limit=_MAX_LINE_BYTES,
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
        except (OSError, ValueError):  # not listening yet, or the ports file is incomplete
            pass
        except NotReadyError:
            limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
        await asyncio.sleep(_PROBE_INTERVAL_S)
    return None


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its children that rewrite its data
    await process.wait()  # SIGKILL cannot be ignored


async def _lock(home: Path, *, name: str) -> int:
    try:
        file = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the embedded {name} cannot start: {error}") from error
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


def socket_path(home: Path, name: str) -> Path:
    """A socket in `home`, or in a temporary folder when that path is too long."""
    address = home / name
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
    address = short / name
    if len(os.fsencode(address)) > _MAX_SOCKET_PATH_BYTES:
        raise StartError(f"{address} is too long for a socket; set TMPDIR to a shorter path")
    return address


def search_path() -> list[str]:
    """The folders of PATH."""
    return os.environ.get("PATH", os.defpath).split(os.pathsep)


def wheel_path() -> list[str]:
    """The folders in which wheels of this environment put their programs."""
    return [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]


def write_private(path: Path, text: str) -> None:
    """Write a file that other users cannot read."""
    path.touch(mode=0o600)
    path.write_text(text)


def _log_end(home: Path) -> str:
    """The end of the server's log, to append to a one-line message."""
    try:
        lines = (home / "server.log").read_text(errors="replace").split("\n")
    except OSError:
        return ""
    end = " | ".join([line.strip() for line in lines if line.strip()][-3:])
    return _LOG_ENDS + end[-500:] if end else ""
