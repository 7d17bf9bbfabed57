"""One chaos run: real gates on a real store and NATS, a crowd that judges, and what goes wrong.

Rules. Ten minutes of a sale in `seconds`: the deadlines of the room are as much shorter. The gates'
own clocks are minutes apart. The crowd is the one of `gatekeeper simulate` and knows nothing of the
trouble. All is seeded but the machine: the same seed brings the same trouble at the same instants,
and the same people. Every process here was started here and ends here.

What may be exceeded. A gate that starts while the store is empty, and is the first to speak to it,
cannot know what was given out the moment before: one burst for each such loss. And a replica that
can ask neither the store nor the others cannot know who left just now, whose ticket counts once
more. Nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.observer import (
    FORGED_PASSES,
    FORGED_STANDS,
    MOST_VIOLATIONS,
    SPENT_COUNTS,
    Progress,
)
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.verdict import NO_LIE_COUNTS, PROMPT, Verdict
from tests.builders import SECRET
from tests.chaos.faults import MOVED_WHILE_HELD, Fault, environment
from tests.chaos.schedule import (
    DEAFENING,
    GRANT,
    LOSSES,
    STORE_AWAY,
    TRACKS,
    Trouble,
    What,
    schedule,
)
from tests.gates import GateProcess
from tests.servers import EventsServer, StoreServer

SALE_S = 600.0
RATE_PER_S, BURST = 20, 10
MOST_INSIDE = (240, 60)  # of even seeds, so that the rate is what holds people back, and of odd
_CROWD_SHARE = 0.55  # of those who could be let in: the rest of the time goes by in trouble
_AT_ONCE = 0.6  # far more than fall due in a moment: a rate that is not held shows at once
_CLOCK_ERRORS_S = (7 * 60.0, -9 * 60.0, 0.0)  # of each gate's machine
_SAY_S = 5.0
_BACK_WITHIN_S = 1.5  # a time-out and a beat, and a worker started again
_DELAYING = {*STORE_AWAY, What.WORKER_PAUSED}  # what a replica knows from reaching the store
_BELIEVED = {FORGED_PASSES, FORGED_STANDS, SPENT_COUNTS}
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nin\n"

Say = Callable[[str], None]
Brought = tuple[What, float, float]  # from when to when


@dataclass(frozen=True, slots=True)
class Result:
    """`problems` are what the gates' own logs admit, and who still waited at the end."""

    verdict: Verdict
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.problems


@dataclass(frozen=True, slots=True)
class Hold:
    """How much further the gate's count of releases stood at the end of a hold.

    After a loss each replica writes back what it knows, and the count with it: those who came out
    of the line before it, and no release. A paused worker does so when it goes on. So what the
    count says is judged only where no loss could still be made good; that the hold itself survives
    a loss, always.
    """

    began_s: float
    ended_s: float
    released: int

    @property
    def told(self) -> str:
        return f"{self.released} were {MOVED_WHILE_HELD}"

    def is_broken(self, brought: Sequence[Brought]) -> bool:
        return self.released > 0 and not any(
            began_s <= self.ended_s and self.began_s <= until_s
            for began_s, until_s in written_back(brought)
        )


def written_back(brought: Sequence[Brought]) -> Iterator[tuple[float, float]]:
    """From each loss until every replica has called a store that answers."""
    delays = sorted((began_s, ended_s) for what, began_s, ended_s in brought if what in _DELAYING)
    for what, began_s, ended_s in brought:
        if what not in LOSSES:
            continue
        until_s = ended_s + _BACK_WITHIN_S
        for delayed_s, over_s in delays:
            if delayed_s <= until_s and over_s >= began_s:
                until_s = max(until_s, over_s + _BACK_WITHIN_S)
        yield began_s, until_s


async def run(
    seed: int, *, seconds: float, gates: int, workers: int, say: Say, fault: Fault | None = None
) -> Result:
    """`workers` of each gate. Raises GatekeeperError when no gate answers at the start."""
    async with AsyncExitStack() as stack:
        machines = [
            stack.enter_context(environment(fault, clock_error_s=_CLOCK_ERRORS_S[at % 3]))
            for at in range(gates)
        ]
        stage = await stack.enter_async_context(
            _stage(machines, workers=workers, seconds=seconds, most_inside=MOST_INSIDE[seed % 2])
        )
        troubles = schedule(seed, seconds=seconds, gates=gates)
        plan = _plan(stage, troubles, seed=seed, seconds=seconds)
        began_s = time.monotonic()
        clock = lambda: time.monotonic() - began_s  # noqa: E731
        making = asyncio.create_task(stage.make(troubles, now_s=clock, say=say))
        try:
            verdict = await run_crowd(plan, on_progress=_Teller(say))
            verdict = forgiving(in_trouble(verdict), deaf=stage.deaf())
        finally:
            making.cancel()
            [failed] = await asyncio.gather(making, return_exceptions=True)
        problems = stage.confessions()
        if isinstance(failed, Exception):
            problems.append(f"the trouble itself failed: {failed!r}")
        if waiting := verdict.figures["still_waiting"]:
            problems.append(f"{waiting} still waited at the end")
        return Result(verdict, tuple(problems))


def in_trouble(verdict: Verdict) -> Verdict:
    """Not held to two seconds near the front: a store that is away lets nobody in meanwhile."""
    promises = tuple(
        replace(each, held=None, detail=f"in trouble, {each.detail}")
        if each.name == PROMPT
        else each
        for each in verdict.promises
    )
    return replace(verdict, promises=promises)


def forgiving(verdict: Verdict, *, deaf: list[tuple[float, float]]) -> Verdict:
    """Without the spent tickets that counted while some replica could not know of it."""
    forgiven = [
        each
        for each in verdict.violations
        if each.what == SPENT_COUNTS and any(s <= each.at_s <= e for s, e in deaf)
    ]
    kept = tuple(each for each in verdict.violations if each not in forgiven)
    if len(verdict.violations) >= MOST_VIOLATIONS or any(each.what in _BELIEVED for each in kept):
        return verdict
    promises = tuple(
        replace(each, held=True, detail=f"{len(forgiven)} forgiven, for a replica that was cut off")
        if forgiven and each.name == NO_LIE_COUNTS
        else each
        for each in verdict.promises
    )
    return replace(verdict, promises=promises, violations=kept)


def _plan(stage: _Stage, troubles: list[Trouble], *, seed: int, seconds: float) -> CrowdPlan:
    visitors = max(round(RATE_PER_S * seconds * _CROWD_SHARE), 20)
    granted = GRANT * sum(trouble.what is What.GRANTED for trouble in troubles)
    losses = sum(trouble.what in LOSSES for trouble in troubles)
    return CrowdPlan(
        urls=tuple(gate.url for gate in stage.gates),
        visitors=visitors,
        at_once=round(visitors * _AT_ONCE),
        arrivals_per_s=visitors * (1 - _AT_ONCE) / (seconds * 0.45),
        shares=Shares(leavers=0.05, returners=0.05, ghosts=0.05, refreshers=0.02, jumpers=0.1),
        seed=seed,
        duration_s=seconds * 1.5 + 30,  # a busy machine takes long to start a gate again
        rate_per_minute=RATE_PER_S * 60,
        burst=BURST,
        granted=granted + BURST * losses,
        visit_requests=3,
        visit_s=2.0,
        stayers=0.0,
        away_s=max(seconds / 20, 2.0),
        admin_url=stage.gates[0].admin_url,
        connections=16 * len(stage.gates),
        request_timeout_s=8.0,
        give_up_s=20.0,
    )


class _Teller:
    """A line of progress now and then."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said_s = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.elapsed_s - self._said_s < _SAY_S:
            return
        self._said_s = progress.elapsed_s
        self._say(
            f"{progress.elapsed_s:6.1f} s  {progress.arrived} arrived, {progress.waiting} wait, "
            f"{progress.admitted} admitted, {progress.inversions} out of order"
        )


@dataclass(slots=True)
class _Stage:
    """The servers and the gates; the first gate is never killed whole, for its count is asked."""

    store: StoreServer
    events: EventsServer
    gates: list[GateProcess]
    toml: str
    machines: list[dict[str, str]]  # the environment of each gate
    now_s: Callable[[], float] = time.monotonic
    problems: list[str] = field(default_factory=list)
    brought: list[Brought] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # the logs of those that were killed
    one_at_a_time: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    async def make(self, troubles: list[Trouble], *, now_s: Callable[[], float], say: Say) -> None:
        self.now_s = now_s
        async with asyncio.TaskGroup() as group:
            for trouble in troubles:
                await asyncio.sleep(max(trouble.at_s - now_s(), 0))
                say(f"{now_s():6.1f} s  {trouble.what}, {trouble.lasts_s:.1f} s")
                group.create_task(self._bring_in_turn(trouble))

    async def _bring_in_turn(self, trouble: Trouble) -> None:
        """A slow machine may still bring back what the one before took."""
        async with self.one_at_a_time[next(t[0] for t in TRACKS if trouble.what in t)]:
            began_s = self.now_s()
            try:
                await self._bring(trouble)
            finally:
                self.brought.append((trouble.what, began_s, self.now_s()))

    def deaf(self) -> list[tuple[float, float]]:
        """When the store was away and a replica could not hear the others, or had only begun to."""
        hard_of_hearing = [(b, e) for what, b, e in self.brought if what in DEAFENING]
        return [
            (max(began_s, other_s), ended_s + _BACK_WITHIN_S)
            for what, began_s, ended_s in self.brought
            if what in STORE_AWAY
            for other_s, until_s in hard_of_hearing
            if other_s <= ended_s and began_s <= until_s + _BACK_WITHIN_S
        ]

    async def _bring(self, trouble: Trouble) -> None:
        match trouble.what:
            case What.STORE_FLUSHED:
                await asyncio.to_thread(self.store.flush)
            case What.STORE_PAUSED | What.EVENTS_PAUSED:
                server = self.store if trouble.what is What.STORE_PAUSED else self.events
                server.pause()
                try:
                    await asyncio.sleep(trouble.lasts_s)
                finally:
                    server.resume()
            case What.STORE_KILLED | What.STORE_EMPTIED:
                await asyncio.to_thread(self.store.kill)
                await asyncio.sleep(trouble.lasts_s)
                empty = trouble.what is What.STORE_EMPTIED
                await asyncio.to_thread(self.store.restart, empty=empty)
            case What.EVENTS_KILLED:
                await asyncio.to_thread(self.events.kill)
                await asyncio.sleep(trouble.lasts_s)
                await asyncio.to_thread(self.events.start)
            case What.WORKER_KILLED | What.WORKER_PAUSED:
                await self._disturb_a_worker(trouble)
            case What.GATE_KILLED:
                await self._kill_a_gate(trouble)
            case What.GRANTED:
                await self._operate(f"/admin/allow?n={GRANT}")
            case What.HELD:
                await self._hold(trouble.lasts_s)
                while not await self._operate("/admin/mode?mode=auto"):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)

    async def _hold(self, lasts_s: float) -> None:
        if not await self._operate("/admin/mode?mode=hold"):
            return
        asked_s, before = self.now_s(), await self._room()
        await asyncio.sleep(lasts_s)
        after = await self._room()
        if before is None or after is None:
            return
        if after["mode"] != "hold":
            self.problems.append(f"the line was held, and stands on {after['mode']!r}")
        released = int(after["released_total"]) - int(before["released_total"])
        self.holds.append(Hold(asked_s, self.now_s(), released))

    async def _disturb_a_worker(self, trouble: Trouble) -> None:
        workers = sorted(pid for gate in self.gates for pid in gate.workers())
        pid = workers[int(trouble.pick * len(workers))]
        if trouble.what is What.WORKER_KILLED:
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(trouble.lasts_s)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _kill_a_gate(self, trouble: Trouble) -> None:
        at = 1 + int(trouble.pick * (len(self.gates) - 1))
        gate = self.gates[at]
        for pid in (gate.process.pid, *gate.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await gate.wait_until_exit()
        await asyncio.sleep(trouble.lasts_s)
        self.ended.append(gate.errors())
        gate.__exit__(None, None, None)
        toml = _listening_at(self.toml, gate)
        self.gates[at] = again = GateProcess(toml, state=None, **self.machines[at])
        await again.wait_until_serving()

    async def _operate(self, path: str) -> bool:
        """Whether the gate said that it was done; what a store that is away was asked may be."""
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.gates[0].admin_url + path) as answer,
            ):
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _room(self) -> dict[str, Any] | None:
        """The room as the operator sees it; None when nobody says."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.get(self.gates[0].admin_url + "/admin/status") as answer,
            ):
                room: dict[str, Any] = (await answer.json())["rooms"][0]
                return room if "released_total" in room else None
        except (aiohttp.ClientError, TimeoutError, KeyError):
            return None

    def close(self) -> None:
        for gate in self.gates:
            gate.__exit__(None, None, None)

    def confessions(self) -> list[str]:
        """What was seen beside the crowd, and the errors in the gates' logs that nobody foresaw."""
        logs = [*self.ended, *(gate.errors() for gate in self.gates)]
        lines = [line for log in logs for line in log.splitlines()]
        return (
            self.problems
            + [hold.told for hold in self.holds if hold.is_broken(self.brought)]
            + [line[:2000] for line in lines if '"exception"' in line or "Traceback" in line][:20]
        )


@asynccontextmanager
async def _stage(
    machines: list[dict[str, str]], *, workers: int, seconds: float, most_inside: int
) -> AsyncIterator[_Stage]:
    async with AsyncExitStack() as stack:
        store = stack.enter_context(StoreServer())
        events = stack.enter_context(EventsServer())
        origin = await asyncio.start_server(_answer, "127.0.0.1", 0)
        stack.callback(origin.close)
        port = origin.sockets[0].getsockname()[1]
        toml = _toml(
            port, store, events, workers=workers, faster=SALE_S / seconds, most_inside=most_inside
        )
        processes = [GateProcess(toml, state=None, **machine) for machine in machines]
        stage = _Stage(store, events, processes, toml, machines)
        stack.callback(stage.close)
        await asyncio.gather(*(gate.wait_until_serving() for gate in stage.gates))
        yield stage


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The origin: requests of the crowd have no bodies."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(_ANSWER)
    writer.close()


def _toml(
    origin_port: int,
    store: StoreServer,
    events: EventsServer,
    *,
    workers: int,
    faster: float,
    most_inside: int,
) -> str:
    spans = {
        "confirm_timeout": max(20 / faster, 5),
        "heartbeat_timeout": max(90 / faster, 9),
        "claim_timeout": max(120 / faster, 8),
        "place_ttl": max(600 / faster, 60),
        "session_idle_timeout": max(1800 / faster, 60),
        "session_absolute_timeout": max(14400 / faster, 240),
    }
    admission = "\n".join(f'{name} = "{span_s:.1f}s"' for name, span_s in spans.items())
    return f"""
[server]
listen = "127.0.0.1:0"
workers = {workers}
shutdown_timeout = "2s"
[origin]
url = "http://127.0.0.1:{origin_port}"
[admission]
rate = "{RATE_PER_S}/s"
burst = {BURST}
max_active = {most_inside}
{admission}
[store]
url = "{store.url}"
timeout = "400ms"
[events]
url = "{events.url}"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:0"
"""


def _listening_at(toml: str, gate: GateProcess) -> str:
    """The same configuration at the addresses that this gate had."""
    public, admin = (url.removeprefix("http://") for url in (gate.url, gate.admin_url))
    first, _, rest = toml.partition('listen = "127.0.0.1:0"')
    return f'{first}listen = "{public}"' + rest.replace("127.0.0.1:0", admin)
