"""The processes that a gate starts, each with its successors.

Rules. A worker that dies is started again, with a growing pause; an embedded server likewise, at
the same address and on the data it left. `end` ends the process and its successors.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from gatekeeper.errors import StartError
from gatekeeper.process.embedded import EmbeddedServer
from gatekeeper.process.worker import WorkerPlan

_WORKER_START_TIMEOUT_S = 20.0
_WORKER_END_MARGIN_S = 5.0
_RESTART_PAUSE_S = (0.1, 0.5, 1, 2, 5)  # after the first, second … death in a row
_HEALTHY_AFTER_S = 30.0

log = structlog.get_logger()


class WorkerProcess:
    """A worker and its successors."""

    _numbers = iter(range(1, sys.maxsize))

    def __init__(self, plan: WorkerPlan, metrics_folder: Path) -> None:
        self.number = next(self._numbers)
        self.serving = False
        self.replica = ""
        self._plan = plan
        self._metrics_folder = metrics_folder
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start and wait until it serves. Raises StartError."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep(), name=f"worker {self.number}")

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
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends workers in order
            )
        except OSError as error:  # no memory, too many processes: perhaps not for ever
            raise StartError(f"worker {self.number} cannot start: {error.strerror}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        plan = pickle.dumps(self._plan)
        process.stdin.write(len(plan).to_bytes(8, "big") + plan)
        try:
            async with asyncio.timeout(_WORKER_START_TIMEOUT_S):
                said = json.loads(await process.stdout.readline() or b"{}")
        except (TimeoutError, ValueError) as error:
            process.kill()
            raise StartError(f"worker {self.number} did not start in time") from error
        if "serving" not in said:
            await process.wait()
            raise StartError(said.get("failed", f"worker {self.number} ended while starting"))
        self.replica = said["serving"]
        self.serving = True

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while self._process is not None:
            began_s = loop.time()
            code = await self._process.wait()
            self.serving = False
            mark_process_dead(self._process.pid, str(self._metrics_folder))  # type: ignore[no-untyped-call]
            log.error("worker_died", worker=self.number, code=code)
            deaths = 1 if loop.time() - began_s > _HEALTHY_AFTER_S else deaths + 1
            await asyncio.sleep(_RESTART_PAUSE_S[min(deaths, len(_RESTART_PAUSE_S)) - 1])
            try:
                await self._spawn()
            except StartError as error:
                log.error("worker_not_started", worker=self.number, error=error.public)  # noqa: TRY400

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def end(self) -> None:
        """Ask it to finish; kill it when it takes longer than it may."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        limit_s = self._plan.config.server.shutdown_timeout + _WORKER_END_MARGIN_S
        try:
            await asyncio.wait_for(self._process.wait(), limit_s)
        except TimeoutError:
            log.error("worker_killed", worker=self.number)  # noqa: TRY400
            self._process.kill()
            await self._process.wait()


class KeptServer:
    """An embedded server and its successors at the same address."""

    def __init__(self, start: Callable[[], Awaitable[EmbeddedServer]], name: str) -> None:
        self._start = start
        self._name = name
        self._server: EmbeddedServer | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> str:
        self._server = await self._start()
        self._watch = asyncio.create_task(self._keep(), name=f"keep {self._name}")
        return self._server.url

    async def _keep(self) -> None:
        while self._server is not None:
            code = await self._server.wait()
            log.error("embedded_server_died", server=self._name, code=code)
            await asyncio.sleep(_RESTART_PAUSE_S[0])
            try:
                self._server = await self._start()
            except (StartError, OSError) as error:
                log.error("embedded_server_not_started", error=str(error))  # noqa: TRY400
                await asyncio.sleep(_RESTART_PAUSE_S[-1])

    async def end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()
