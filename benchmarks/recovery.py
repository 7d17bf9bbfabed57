"""A store that is killed and starts again empty, with 40,000 visitors in line.

    make bench-recovery                               below five minutes
    python -m benchmarks.recovery --visitors 4000     a small run, writes nothing

The crowd of one process waits before two replicas at 500 a minute. Some visitors of this process,
along the whole line, poll at their reported interval and record the positions that they receive.
The store is killed while the line moves, its files are deleted, and it starts again after the
outage. Measured: the time from the restart to the first release, and the error of the positions
reported from then on. The true position is that of before the loss, less the releases since.

Writes the section `bench-recovery` of `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import redis.asyncio
import uvloop

from benchmarks.readme_section import conclude, table
from benchmarks.rig import Rig, running_rig
from gatekeeper.config.schema import DEFAULT_ROOM, RoomConfig
from gatekeeper.policy.rules import Rules
from gatekeeper.process.embedded import start_store
from gatekeeper.room.outstanding_polls import remembered_s
from gatekeeper.room.store import room_keys
from tests.gates import Visitor

VISITORS, WITNESSES, REPLICAS = 40_000, 40, 2
RATE_PER_MINUTE = 500
ARRIVALS_PER_S = 1_000
MAX_FIRST_RELEASE_S = 3.0
MAX_ERROR = 0.10
_MIN_TRUE_POSITION = 50  # for lower positions a tenth is less than one release
_OUTAGE_S, _MOVES_FOR_S, _WATCHED_S, _TIMEOUT_S = 4.0, 8.0, 70.0, 400.0
_TICK_S = 0.02
_STATE_KEY = room_keys(DEFAULT_ROOM)[6]


@dataclass
class Witness:
    """A visitor that records its positions: (time, position)."""

    visitor: Visitor
    shown: list[tuple[float, int]] = field(default_factory=list)

    async def wait(self) -> None:
        """Poll at the reported interval, until it is admitted."""
        loop = asyncio.get_running_loop()
        at = 0
        while True:
            status = await self.visitor.status(at=at)
            if status["state"] != "waiting":
                return
            if status["position"] is not None:
                self.shown.append((loop.time(), status["position"]))
            at = (at + 1) % REPLICAS
            await asyncio.sleep(status["refresh_seconds"])


@dataclass(frozen=True)
class Recovery:
    first_release_s: float
    errors: Sequence[float]  # relative, of the positions after the restart


async def measure(visitors: int) -> Recovery:
    admission = f'rate = "{RATE_PER_MINUTE}/min"\n'
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(running_rig(REPLICAS, admission=admission))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await rig.admin("POST", "/admin/mode?mode=hold")
        options = {"visitors": visitors, "arrivals": ARRIVALS_PER_S, "duration": _TIMEOUT_S}
        words = [word for name, value in options.items() for word in (f"--{name}", f"{value}")]
        crowd = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gatekeeper.cli", "simulate", *rig.urls, *words),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        stack.callback(_kill, crowd)
        witnesses = await _witnesses(rig, visitors, stack)
        async with asyncio.TaskGroup() as group:
            polls = [group.create_task(each.wait()) for each in witnesses]
            # A younger store does not know all replicas, and waits for the whole line.
            await asyncio.sleep(_remembered_s() - (loop.time() - began_s))
            result = await _lose_store(rig, witnesses, stack)
            for poll in polls:
                poll.cancel()
        return result


async def _witnesses(rig: Rig, visitors: int, stack: AsyncExitStack) -> list[Witness]:
    """In line at equal distances, once all visitors of the crowd have arrived."""
    found: list[Witness] = []
    while (arrived := (await rig.room())["arrived_total"]) < visitors:
        while len(found) < WITNESSES and arrived >= len(found) * visitors / WITNESSES:
            visitor = await stack.enter_async_context(Visitor(*rig.urls))
            await visitor.join()
            found.append(Witness(visitor))
        await asyncio.sleep(0.1)
    return found


async def _lose_store(rig: Rig, witnesses: Sequence[Witness], stack: AsyncExitStack) -> Recovery:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        releases = group.create_task(_releases(rig.store_url, until_s=loop.time() + _WATCHED_S))
        await rig.admin("POST", "/admin/mode?mode=auto")
        await asyncio.sleep(_MOVES_FOR_S)
        lost_s = loop.time()
        os.kill(rig.store_pid, signal.SIGKILL)
        await asyncio.sleep(_OUTAGE_S)
        shutil.rmtree(rig.folder / "store" / "appendonlydir")
        store = await start_store(rig.folder)
        returned_s = loop.time()
        stack.push_async_callback(store.stop)
    released = releases.result()
    # A replica writes back its state, which may contain one release more than the last reading.
    back = next(count for at_s, count in released if at_s > returned_s)
    first_s = next(at_s for at_s, count in released if at_s > returned_s and count > back)
    errors = []
    for witness in witnesses:
        seen_s, place = max(each for each in witness.shown if each[0] < lost_s)
        for at_s, shown in witness.shown:
            true = place - (_count_at(released, at_s) - _count_at(released, seen_s))
            if at_s > returned_s and true >= _MIN_TRUE_POSITION:
                errors.append(abs(shown - true) / true)
    return Recovery(first_s - returned_s, errors)


async def _releases(url: str, *, until_s: float) -> list[tuple[float, int]]:
    """(time, total of releases), at each change and at each recovery of the store."""
    loop = asyncio.get_running_loop()
    found: list[tuple[float, int]] = []
    known: int | None = None
    async with redis.asyncio.Redis.from_url(url) as client:
        while loop.time() < until_s:
            try:
                raw = await client.hget(_STATE_KEY, "released")
            except redis.RedisError:
                raw = None
            if raw is None:
                known = None
            elif int(raw) != known:
                known = int(raw)
                found.append((loop.time(), known))
            await asyncio.sleep(_TICK_S)
    return found


def _count_at(released: Sequence[tuple[float, int]], at_s: float) -> int:
    return max((count for seen_s, count in released if seen_s <= at_s), default=0)


def _remembered_s() -> float:
    return remembered_s(Rules.of(RoomConfig())) + 5


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--visitors", type=int, default=VISITORS)
    visitors: int = parser.parse_args().visitors
    result = uvloop.run(asyncio.wait_for(measure(visitors), _TIMEOUT_S))
    errors = sorted(result.errors)
    p95 = errors[round(len(errors) * 0.95) - 1]
    rows = [
        ["first release after the return", f"{result.first_release_s:.2f} s"],
        ["error of a position, median", f"{statistics.median(errors):.1%}"],
        ["error of a position, p95", f"{p95:.1%}"],
        ["positions shown", f"{len(errors):,}"],
    ]
    problems = []
    if result.first_release_s > MAX_FIRST_RELEASE_S:
        problems.append(f"the first release took {result.first_release_s:.2f} s")
    if p95 > MAX_ERROR:
        problems.append(f"positions were off by {p95:.1%}")
    head = [f"{visitors:,} in line, two replicas, {_OUTAGE_S:g} s without the store", "measured"]
    note = "Written by `make bench-recovery`: the store is killed and comes back empty."
    is_whole = visitors == VISITORS
    conclude("bench-recovery", f"{note}\n\n{table(head, rows)}", problems, is_whole=is_whole)


if __name__ == "__main__":
    main()
