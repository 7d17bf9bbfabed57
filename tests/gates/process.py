"""`gatekeeper serve` as a process of its own; the other commands as processes or in this one.

Rules: a gate ends with the test run, even if the run is killed. A remaining gate would connect to
the servers of the next run, which have the same ports.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from unittest import mock

import pytest

from gatekeeper import cli
from gatekeeper.process.embedded_process import launched
from tests.patient_store import PATIENCE_S

_GATEKEEPER = [sys.executable, "-m", "gatekeeper"]
# Longer than the gate's own limits, 60 s for a worker and 10 s for each embedded server, so that a
# failed test shows the gate's error. A start takes 2 s of CPU time; one that fails ends the
# process.
_START_TIMEOUT_S = 100.0
_STOP_TIMEOUT_S = 60.0


class GateProcess:
    """`gatekeeper serve`, for tests that kill, stop or configure it.

    `state`: the state folder of an earlier gate, to continue with its data. `files`: the limit of
    open files of each process. It waits longer for its store than by default, unless `toml` has its
    own [store]: a busy machine must not count as an outage.
    """

    def __init__(
        self,
        toml: str,
        *arguments: str,
        state: Path | None = None,
        files: str = "",
        **environment: str,
    ) -> None:
        self._folder = TemporaryDirectory(prefix="gk-")
        self.folder = Path(self._folder.name)
        self.state = state or self.folder / "state"
        self.file = self.folder / "gatekeeper.toml"
        self.file.write_text(toml)
        self.environment = {**os.environ, "GATEKEEPER_STATE_DIR": str(self.state), **environment}
        if "[store]" not in toml:
            self.environment["GATEKEEPER_STORE__TIMEOUT"] = f"{PATIENCE_S:g}s"
        self.url = self.admin_url = ""
        limit = f"ulimit -n {files}; " if files else ""
        # `launched` makes files private, which the gate has to do itself.
        shell = ["/bin/sh", "-c", f'umask 022; {limit}exec "$@"', "sh"]
        with (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                launched([*shell, *_GATEKEEPER, "serve", "-c", str(self.file), *arguments]),
                env=self.environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._folder.cleanup()

    def ready_lines(self) -> list[str]:
        """The two lines that it prints when it serves; fewer if it ended before."""
        return list(self._lines(2))

    def _lines(self, count: int) -> Iterator[str]:
        assert self.process.stdout is not None
        for _ in range(count):
            line = self.process.stdout.readline()
            if not line:
                return
            yield line.strip()

    async def wait_until_serving(self) -> Self:
        """Wait until it serves. Sets `url` and `admin_url`."""
        lines = await asyncio.wait_for(asyncio.to_thread(self.ready_lines), _START_TIMEOUT_S)
        assert len(lines) == 2, self.errors()
        self.url = re.sub(r".* at (\S+) in front of .*", r"\1", lines[0])
        self.admin_url = lines[1].rpartition(" ")[2]
        return self

    async def stop(
        self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = _STOP_TIMEOUT_S
    ) -> int:
        """Send the signal; the exit code, negative for a signal that ended it."""
        self.process.send_signal(number)
        return await self.wait_until_exit(timeout_s=timeout_s)

    async def wait_until_exit(self, *, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """The exit code, negative for a signal that ended it."""
        return await asyncio.to_thread(self.process.wait, timeout_s)

    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def logs(self) -> list[dict[str, Any]]:
        """The lines of the log; fails when one of them is not JSON."""
        return [json.loads(line) for line in self.errors().splitlines()]

    def pids(self) -> dict[int, str]:
        """The running processes below it, with their command lines."""
        return descendants(self.process.pid)

    def workers(self) -> list[int]:
        return [
            pid for pid, command in self.pids().items() if "gatekeeper.process.worker" in command
        ]

    async def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`gatekeeper …` against this gate, as `quick_command` runs it."""
        listen = self.admin_url.removeprefix("http://")
        environment = self.environment | {"GATEKEEPER_ADMIN__LISTEN": listen}
        return await quick_command(*words, folder=self.folder, environment=environment)


async def gatekeeper(
    *words: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command as a separate process in `folder`, until it ends."""
    return await asyncio.to_thread(
        subprocess.run,
        [*_GATEKEEPER, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_START_TIMEOUT_S,
        check=False,
    )


async def quick_command(
    *words: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in this process, without the start of an interpreter. For commands that end by
    themselves and write no log."""
    return await asyncio.to_thread(run_here, *words, folder=folder, environment=environment)


def run_here(
    *words: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same for a command that runs an event loop, which requires the main thread."""
    environment = os.environ if environment is None else environment
    out, errors = io.StringIO(), io.StringIO()
    with (
        chdir(folder),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", ["gatekeeper", *words]),
        mock.patch("gatekeeper.logs.set_up_logging"),  # its effect would remain after the command
        redirect_stdout(out),
        redirect_stderr(errors),
        pytest.raises(SystemExit) as end,
    ):
        cli.main()
    code = end.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())


def descendants(pid: int) -> dict[int, str]:
    """The running processes below `pid`, with their command lines."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    alive = {int(row[0]): (int(row[1]), row[3]) for row in rows if not row[2].startswith("Z")}
    found: dict[int, str] = {}
    parents = {pid}
    while parents:
        children = {child for child, (parent, _) in alive.items() if parent in parents}
        found |= {child: alive[child][1] for child in children}
        parents = children
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip() != "" and not listed.stdout.startswith("Z")
