"""Watchdog of the workers: one without a heartbeat hangs, and is replaced.

Rules. A worker writes its heartbeat each second, from the loop that serves visitors. A worker
without a new heartbeat for `UNREADY_AFTER_S` makes the gate not ready; after `KILL_AFTER_S` it is
killed, and therefore restarted. Only time in which this process ran counts: after a pause of the
whole machine every heartbeat is old, but no worker hangs. Times are of the monotonic clock; a
heartbeat is compared with the previous one, never with a clock. Until a worker serves, the CPU
time of its process counts as well, where the system has it (/proc): a start has no heartbeat at
first, and later none while it creates the site, which takes long with many rooms on a busy machine.

    state        seconds without a new heartbeat   effect
    responding   0                                 none
    silent       UNREADY_AFTER_S                   a problem of /readyz
    hanging      KILL_AFTER_S                      SIGKILL; `children` starts it again
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from gatekeeper.admin.metric_files import read_heartbeat
from gatekeeper.process.children import WorkerProcess

UNREADY_AFTER_S = 3.0
KILL_AFTER_S = 8.0  # the next process serves about 2 s later
_CHECK_INTERVAL_S = 0.5
_MAX_PAUSE_S = 1.0  # a longer pause: this process did not run

log = structlog.get_logger()


def cpu_time(pid: int) -> int | None:
    """The CPU time of a process, in clock ticks; None if the system does not have it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def progress_of(pid: int, folder: Path, *, serving: bool) -> float | None:
    """A number that changes while the worker with `pid` does not hang; None: it has none yet."""
    heartbeat = read_heartbeat(folder, pid)
    if serving:
        return heartbeat
    ticks = cpu_time(pid)
    return heartbeat + (ticks or 0) if heartbeat or ticks is not None else None


class Silence:
    """For how long each worker has written no heartbeat."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._looked_at_s = monotonic_s()
        self._heartbeats: dict[int, float] = {}  # by process id
        self._silent_s: dict[int, float] = {}

    def update(self, heartbeats: dict[int, float]) -> dict[int, float]:
        """Add the newest heartbeats by pid; returns the seconds without a new one by pid. A process
        counts from the first call with it."""
        now_s = self._monotonic_s()
        elapsed_s = min(now_s - self._looked_at_s, _MAX_PAUSE_S)
        self._looked_at_s = now_s
        self._silent_s = {
            pid: self._silent_s.get(pid, 0.0) + elapsed_s
            if self._heartbeats.get(pid) == heartbeat
            else 0.0
            for pid, heartbeat in heartbeats.items()
        }
        self._heartbeats = heartbeats
        return self._silent_s


class WorkerWatch:
    """Checks the heartbeats of all workers. Start with `start`, stop with `close`."""

    def __init__(self, workers: Sequence[WorkerProcess], metrics_folder: Path) -> None:
        self._workers = workers
        self._folder = metrics_folder
        self._silence = Silence()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="worker watch")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                self._check()
            except Exception:
                log.exception("worker_watch_failed")
            await asyncio.sleep(_CHECK_INTERVAL_S)

    def _check(self) -> None:
        running = {w.pid: w for w in self._workers if w.is_running and w.pid is not None}
        progress = {
            pid: each
            for pid, worker in running.items()
            if (each := progress_of(pid, self._folder, serving=worker.serving)) is not None
        }
        silent_s = self._silence.update(progress)
        for pid in silent_s:
            worker = running[pid]
            worker.is_silent = silent_s[pid] >= UNREADY_AFTER_S
            if silent_s[pid] >= KILL_AFTER_S:
                log.error("worker_hangs", worker=worker.number, silent_s=round(silent_s[pid], 1))
                worker.kill()
