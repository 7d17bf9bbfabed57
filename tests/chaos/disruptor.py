"""Applies the scheduled disruptions to a cluster, and records when they were in effect."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.allowances import AppliedDisruption, Hold
from tests.chaos.cluster import Cluster
from tests.chaos.disruption_times import GRANT, TRACKS, Disruption, DisruptionKind

_RETRY_S = 0.2

Log = Callable[[str], None]
Clock = Callable[[], float]


@dataclass(slots=True)
class Disruptor:
    """The disruptions of one run; instants are seconds of `now_s`."""

    cluster: Cluster
    now_s: Clock = time.monotonic
    applied: list[AppliedDisruption] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _locks: defaultdict[tuple[DisruptionKind, ...], asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    async def run(self, disruptions: list[Disruption], *, log: Log) -> None:
        """Apply each disruption at its time, until all are over."""
        async with asyncio.TaskGroup() as group:
            for disruption in disruptions:
                await asyncio.sleep(max(disruption.at_s - self.now_s(), 0))
                log(f"{self.now_s():6.1f} s  {disruption.kind}, {disruption.duration_s:.1f} s")
                group.create_task(self._apply_in_turn(disruption))

    async def _apply_in_turn(self, disruption: Disruption) -> None:
        """One at a time on each track: on a slow machine the previous one may end late."""
        track = next(track for track in TRACKS if disruption.kind in track)
        async with self._locks[track]:
            began_s = self.now_s()
            try:
                await self._apply(disruption)
            finally:
                self.applied.append((disruption.kind, began_s, self.now_s()))

    async def _apply(self, disruption: Disruption) -> None:
        store, events = self.cluster.store, self.cluster.events
        match disruption.kind:
            case DisruptionKind.STORE_FLUSHED:
                await asyncio.to_thread(store.flush)
            case DisruptionKind.STORE_PAUSED | DisruptionKind.EVENTS_PAUSED as kind:
                server = store if kind is DisruptionKind.STORE_PAUSED else events
                server.pause()
                try:
                    await asyncio.sleep(disruption.duration_s)
                finally:
                    server.resume()
            case DisruptionKind.STORE_KILLED | DisruptionKind.STORE_EMPTIED as kind:
                await asyncio.to_thread(store.kill)
                await asyncio.sleep(disruption.duration_s)
                is_empty = kind is DisruptionKind.STORE_EMPTIED
                await asyncio.to_thread(store.restart, empty=is_empty)
            case DisruptionKind.EVENTS_KILLED:
                await asyncio.to_thread(events.kill)
                await asyncio.sleep(disruption.duration_s)
                await asyncio.to_thread(events.start)
            case DisruptionKind.WORKER_KILLED | DisruptionKind.WORKER_PAUSED:
                await self._disrupt_worker(disruption)
            case DisruptionKind.GATE_KILLED:
                await self._kill_gate(disruption)
            case DisruptionKind.GRANTED:
                await self.cluster.post(f"/admin/allow?n={GRANT}")
            case DisruptionKind.HELD:
                await self._hold(disruption.duration_s)
                while not await self.cluster.post("/admin/mode?mode=auto"):  # noqa: ASYNC110
                    await asyncio.sleep(_RETRY_S)

    async def _hold(self, duration_s: float) -> None:
        """Hold the queue and check that it stays held and releases no visitor."""
        if not await self.cluster.post("/admin/mode?mode=hold"):
            return
        began_s, before = self.now_s(), await self.cluster.room()
        await asyncio.sleep(duration_s)
        after = await self.cluster.room()
        if before is None or after is None:
            return
        if after["mode"] != "hold":
            self.problems.append(f"mode is {after['mode']!r} after it was set to 'hold'")
        released = int(after["released_total"]) - int(before["released_total"])
        self.holds.append(Hold(began_s, self.now_s(), released))

    async def _disrupt_worker(self, disruption: Disruption) -> None:
        workers = sorted(pid for gate in self.cluster.gates for pid in gate.workers())
        pid = workers[int(disruption.pick * len(workers))]
        if disruption.kind is DisruptionKind.WORKER_KILLED:
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(disruption.duration_s)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _kill_gate(self, disruption: Disruption) -> None:
        """Kill supervisor, workers and servers of a gate other than the first; start it again."""
        index = 1 + int(disruption.pick * (len(self.cluster.gates) - 1))
        gate = self.cluster.gates[index]
        for pid in (gate.process.pid, *gate.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await gate.wait_until_exit()
        await asyncio.sleep(disruption.duration_s)
        await self.cluster.restart(index)

    def all_problems(self) -> list[str]:
        """Problems of the holds, and exceptions in the logs of the gates."""
        broken = [hold.problem for hold in self.holds if hold.is_broken(self.applied)]
        return self.problems + broken + self.cluster.logged_exceptions()
