"""Reload: reads the whole configuration again, and applies it to all workers or to none (two-phase
commit).

Rules. The supervisor checks everything that serving needs before a worker prepares it. A problem
changes nothing and is reported to the operator: in the log, and in the API's response. Reloads
run one after another, and none waits longer than `_LOAD_TIMEOUT_S` for files: a network file system
may hang. A worker that starts meanwhile, or is restarted later, serves the newest configuration
that was put in force. A worker that does not respond is restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Thread

import structlog

from gatekeeper.admin.auth import Credential
from gatekeeper.config.restart import restart_problems
from gatekeeper.config.schema import Config
from gatekeeper.errors import ConfigError, GatekeeperError
from gatekeeper.pages.renderer import Pages
from gatekeeper.process.children import WorkerProcess
from gatekeeper.process.commands import Abort, Commit, Prepare, WorkerPlan
from gatekeeper.process.edge import Edge

_LOAD_TIMEOUT_S = 30.0
_STILL_READING = (
    "an earlier reload is still reading its files; expected the end of that reload, or a restart"
)
_PREPARE_TIMEOUT_S = 20.0
_COMMIT_TIMEOUT_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """A configuration whose files are all usable, with their contents."""

    config: Config
    pages: Pages
    secrets: tuple[bytes, ...]
    credentials: Sequence[Credential]


class Reloader:
    """Reloads the configuration of one gate; `load` reads and checks all of its files.

    `on_reload` is called when the workers have committed, for the supervisor's own listener.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        workers: Sequence[WorkerProcess],
        *,
        load: Callable[[], CheckedFiles],
        on_reload: Callable[[CheckedFiles], None],
        edge: Edge | None = None,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
    ) -> None:
        self._plan = plan
        self._workers = workers
        self._load = load
        self._on_reload = on_reload
        self._edge = edge
        self._load_timeout_s = load_timeout_s
        self._reading: Future[CheckedFiles] | None = None
        self._lock = asyncio.Lock()

    async def reload(self) -> Config:
        """The configuration that is in force now. Raises ConfigError with every problem."""
        async with self._lock:
            try:
                config = await self._reload()
            except ConfigError as error:
                log.error("reload_refused", problems=error.problems)  # noqa: TRY400
                raise
            except GatekeeperError as error:
                log.error("reload_refused", problems=[error.public])  # noqa: TRY400
                raise ConfigError([error.public], source="reload") from error
            except Exception as error:
                log.exception("reload_failed")
                problem = "internal error; the log of the gate has the details"
                raise ConfigError([problem], source="reload") from error
        log.info("reloaded", rooms=len(config.rooms), rules=len(config.rules))
        return config

    async def _reload(self) -> Config:
        files = await self._loaded_files()
        if problems := restart_problems(self._plan.config, files.config):
            raise ConfigError(problems, source="reload")
        plan = replace(self._plan, config=files.config, secrets=files.secrets)
        serving = [worker for worker in self._workers if worker.serving]
        problems = await self._prepare(serving, plan)
        if not problems and self._edge is not None:
            problem = await self._edge.configure(files.config)
            problems = [problem] if problem else []
        if problems:
            await asyncio.gather(*(worker.order(Abort()) for worker in serving))
            raise ConfigError(problems, source="reload")
        # From here on the reload cannot be undone.
        self._plan = plan
        for worker in self._workers:
            worker.plan = plan  # a starting worker switches before it serves
        await asyncio.gather(*(self._commit(worker) for worker in serving))
        self._on_reload(files)
        return files.config

    async def _loaded_files(self) -> CheckedFiles:
        if self._reading is not None and not self._reading.done():
            raise ConfigError([_STILL_READING], source="reload")
        self._reading = reading = Future[CheckedFiles]()
        reading.set_running_or_notify_cancel()  # the timeout below does not end the thread

        def read() -> None:
            try:
                reading.set_result(self._load())
            except Exception as error:  # noqa: BLE001  raised where it is awaited
                reading.set_exception(error)

        # The gate exits without waiting for it.
        Thread(target=read, name="reload", daemon=True).start()
        try:
            async with asyncio.timeout(self._load_timeout_s):
                return await asyncio.wrap_future(reading)
        except TimeoutError:
            problem = f"not read and checked within {self._load_timeout_s:g} s"
            expected = "expected files that can be read at once"
            raise ConfigError([f"{problem}; {expected}"], source="reload") from None

    async def _prepare(self, workers: Sequence[WorkerProcess], plan: WorkerPlan) -> list[str]:
        """Every worker's problems. A worker that exited has none: its successor uses the new
        plan."""
        problems: set[str] = set()
        reports = await asyncio.gather(
            *(worker.order(Prepare(plan), timeout_s=_PREPARE_TIMEOUT_S) for worker in workers)
        )
        for report in reports:
            if report is not None:
                problems.update(report.get("failed", ()))
        return sorted(problems)

    async def _commit(self, worker: WorkerProcess) -> None:
        report = await worker.order(Commit(), timeout_s=_COMMIT_TIMEOUT_S)
        if report is not None and "done" not in report:
            log.error("worker_not_reloaded", worker=worker.number)
            worker.kill()
