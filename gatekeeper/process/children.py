"""The child processes of the supervisor, restarted when they exit.

Rules. A worker that exits is restarted with back-off and the newest plan; one that started with an
older plan switches to the newest before it counts as serving. An embedded server is started again
at the same address, on its own data. `stop` ends the process and its restarts.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from gatekeeper.admin.metric_files import merge_ended
from gatekeeper.errors import StartError
from gatekeeper.process.commands import Command, Commit, Prepare, WorkerPlan, encode_frame
from gatekeeper.process.embedded_process import EmbeddedServer
from gatekeeper.process.server_watch import ServerWatch
from gatekeeper.room.pass_figures import pass_file

# A start takes a second of CPU time. `workers = "auto"` starts one for each core, and 64 of them
# take half a minute in a container that may use two of the cores: twice that means that the start
# hangs.
_WORKER_START_TIMEOUT_S = 60.0
_WORKER_STOP_MARGIN_S = 5.0
_ORDER_TIMEOUT_S = 5.0
_RESTART_PAUSE_S = (0.1, 0.5, 1, 2, 5)  # after the first, second … exit in a row
_HEALTHY_AFTER_S = 30.0

log = structlog.get_logger()


def restart_pause_s(exits: int) -> float:
    """Seconds before a restart; `exits` counts the exits in a row, from 1."""
    return _RESTART_PAUSE_S[min(exits, len(_RESTART_PAUSE_S)) - 1]


class WorkerProcess:
    """One worker process, restarted when it exits."""

    _numbers = iter(range(1, sys.maxsize))

    def __init__(
        self, plan: WorkerPlan, metrics_folder: Path, *, edge_socket: Path | None = None
    ) -> None:
        """`edge_socket`: where this worker accepts the connections of the edge."""
        self.number = next(self._numbers)
        self._edge_socket = edge_socket
        self.serving = False
        self.is_silent = False  # by its heartbeat, set by `liveness`
        self.replica = ""
        self.plan = plan  # of the next start
        self._order_lock = asyncio.Lock()
        self._metrics_folder = metrics_folder
        self._process: asyncio.subprocess.Process | None = None
        self._restarts: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The current process, serving or not."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether the current process has not exited; it may be starting."""
        return self._process is not None and self._process.returncode is None

    @property
    def problem(self) -> str | None:
        """Why this worker prevents the gate from being ready; None: it does not."""
        if not self.serving:
            return f"worker {self.number} is not serving"
        return f"worker {self.number} does not respond" if self.is_silent else None

    async def start(self) -> None:
        """Start the worker and wait until it serves. Raises StartError."""
        await self._spawn()
        self._restarts = asyncio.create_task(self._restart(), name=f"worker {self.number}")

    async def _spawn(self) -> None:
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "gatekeeper.process.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics_folder)},
                start_new_session=True,  # Ctrl-C is handled by the supervisor, which stops workers
            )
        except OSError as error:  # no memory or too many processes; both may pass
            raise StartError(f"worker {self.number}: cannot start: {error.strerror}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        plan = self.plan
        own = replace(plan, edge_socket=str(self._edge_socket)) if self._edge_socket else plan
        process.stdin.write(encode_frame(own))
        try:
            async with asyncio.timeout(_WORKER_START_TIMEOUT_S):
                report = json.loads(await process.stdout.readline() or b"{}")
        except (TimeoutError, ValueError) as error:
            process.kill()
            raise StartError(
                f"worker {self.number}: not serving within {_WORKER_START_TIMEOUT_S:g} s"
            ) from error
        if "serving" not in report:
            await process.wait()
            raise StartError(report.get("failed", f"worker {self.number}: exited while starting"))
        while plan is not self.plan:  # reloaded while this worker started
            plan = self.plan
            await self._follow(plan)
        self.replica = report["serving"]
        self.is_silent = False
        self.serving = True

    async def _follow(self, plan: WorkerPlan) -> None:
        """Let the worker switch to another plan. Raises StartError."""
        for command in (Prepare(plan), Commit()):
            report = await self.order(command, timeout_s=_WORKER_START_TIMEOUT_S)
            if report is None or "done" not in report:
                self.kill()
                raise StartError(f"worker {self.number}: cannot apply the newest configuration")

    async def order(
        self, command: Command, *, timeout_s: float = _ORDER_TIMEOUT_S
    ) -> dict[str, Any] | None:
        """Send a command and return the worker's report; None when the worker has exited. A worker
        that does not respond is killed, and therefore restarted."""
        process = self._process
        if process is None or process.returncode is not None:
            return None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with self._order_lock, asyncio.timeout(timeout_s):
                process.stdin.write(encode_frame(command))
                await process.stdin.drain()
                report = json.loads(await process.stdout.readline())
        except TimeoutError:
            log.error("worker_silent", worker=self.number)  # noqa: TRY400
            self.kill()
            return None
        except (OSError, ValueError):  # it has ended
            return None
        return report if isinstance(report, dict) else None

    def kill(self) -> None:
        """Kill the process; it is restarted."""
        self.signal(signal.SIGKILL)

    async def _restart(self) -> None:
        loop = asyncio.get_running_loop()
        exits = 0
        while self._process is not None:
            started_s = loop.time()
            code = await self._process.wait()
            self.serving = False
            merge_ended(self._metrics_folder, self._process.pid)
            pass_file(self._metrics_folder, self._process.pid).unlink(missing_ok=True)
            log.error("worker_exited", worker=self.number, code=code)
            exits = 1 if loop.time() - started_s > _HEALTHY_AFTER_S else exits + 1
            await asyncio.sleep(restart_pause_s(exits))
            try:
                await self._spawn()
            except StartError as error:
                log.error("worker_not_started", worker=self.number, error=error.public)  # noqa: TRY400

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has exited."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after `shutdown_timeout` and a margin."""
        if self._restarts is not None:
            self._restarts.cancel()
            await asyncio.gather(self._restarts, return_exceptions=True)
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        limit_s = self.plan.config.server.shutdown_timeout + _WORKER_STOP_MARGIN_S
        try:
            await asyncio.wait_for(self._process.wait(), limit_s)
        except TimeoutError:
            log.error("worker_killed", worker=self.number)  # noqa: TRY400
            self._process.kill()
            await self._process.wait()


class EmbeddedServerProcess:
    """One embedded server, restarted at the same address when it exits or hangs."""

    def __init__(self, start: Callable[[], Awaitable[EmbeddedServer]], name: str) -> None:
        self._start = start
        self._name = name
        self._watch: ServerWatch | None = None
        self._server: EmbeddedServer | None = None
        self._restarts: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it responded to the last probes."""
        return self._watch is not None and not self._watch.is_silent

    async def start(self) -> str:
        """Start the server; its URL. Raises StartError."""
        self._server = await self._start()
        self._watch = ServerWatch(self._server, self._name)
        self._restarts = asyncio.create_task(self._restart(), name=f"restart {self._name}")
        return self._server.url

    async def _restart(self) -> None:
        while self._server is not None:
            code = await self._watched(self._server)
            log.error("embedded_server_exited", server=self._name, code=code)
            await asyncio.sleep(restart_pause_s(1))
            try:
                self._server = await self._start()
            except (StartError, OSError) as error:
                log.error("embedded_server_not_started", server=self._name, error=str(error))  # noqa: TRY400
                await asyncio.sleep(_RESTART_PAUSE_S[-1])

    async def _watched(self, server: EmbeddedServer) -> int:
        """Wait until a running server exits, and return its exit code."""
        self._watch = ServerWatch(server, self._name)
        watching = asyncio.create_task(self._watch.run(), name=f"watch {self._name}")
        try:
            return await server.wait()
        finally:
            self._watch = None
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def stop(self, *, timeout_s: float = 5) -> None:
        """Send SIGTERM, and SIGKILL after `timeout_s`."""
        if self._restarts is not None:
            self._restarts.cancel()
            await asyncio.gather(self._restarts, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(timeout_s=timeout_s)
