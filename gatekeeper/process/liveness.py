"""Workers that hang: seen by their heartbeat, and replaced.

Rules. A worker writes its heartbeat each second, from the loop that serves visitors. One whose
heartbeat stood still for `UNREADY_AFTER_S` keeps the gate from being ready; after `KILL_AFTER_S` it
is killed, and so started again. Only time in which this process looked counts: after a pause of the
whole machine every heartbeat is old, and no worker hangs. Times are of the monotonic clock here; a
heartbeat is compared with the one before it, never with a clock.

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
_LOOK_INTERVAL_S = 0.5
_MAX_PAUSE_S = 1.0  # more: this process did not run

log = structlog.get_logger()


class Silence:
    """For how long each worker wrote no heartbeat."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._looked_at_s = monotonic_s()
        self._heartbeats: dict[int, float] = {}  # by process id
        self._silent_s: dict[int, float] = {}

    def look(self, heartbeats: dict[int, float]) -> dict[int, float]:
        """Take the newest heartbeats; the seconds without a new one. A process is new to the first
        look at it."""
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
    """Looks at the heartbeats of all workers. Start with `start`, stop with `close`."""

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
                self._look()
            except Exception:
                log.exception("worker_watch_failed")
            await asyncio.sleep(_LOOK_INTERVAL_S)

    def _look(self) -> None:
        serving = {w.pid: w for w in self._workers if w.serving and w.pid is not None}
        heartbeats = {pid: read_heartbeat(self._folder, pid) for pid in serving}
        silent_s = self._silence.look(heartbeats)
        for pid, worker in serving.items():
            worker.is_silent = silent_s[pid] >= UNREADY_AFTER_S
            if silent_s[pid] >= KILL_AFTER_S:
                log.error("worker_hangs", worker=worker.number, silent_s=round(silent_s[pid], 1))
                worker.kill()
