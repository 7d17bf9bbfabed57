"""Autotune before origins of known capacity: in virtual time, and a real gate before a real origin.

    make bench-autotune                          about eight minutes
    python -m benchmarks.autotune --virtual      the virtual part alone, writes nothing

The virtual part runs the scenes of `tests.closed_loop`: half of the servers stop in mid-run and
come back. The real part has two gates, each before an aiohttp origin of its own with the same
number of servers: one gate steers its rate, the other has a constant rate that is too high. A crowd
keeps a line before both. Sessions are short, so that a phase of the run can be short too. Figures
of a phase begin `SETTLED_S` after the change.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from benchmarks.autotune_plot import Curve, svg_of
from benchmarks.readme_section import conclude, table
from benchmarks.rig import free_port
from tests.builders import SECRET
from tests.closed_loop import SCENES, Phase, halving, p95, phases, static
from tests.gates import GateProcess

PLOT = Path(__file__).with_name("autotune.svg")
SEEDS = (1, 2, 3, 4)
PHASE_S = 150.0
SETTLED_S = 90.0  # stricter than the two minutes of virtual time, since sessions are short
SERVERS = 8
SERVICE_S = 0.2
REQUESTS = 4  # of one visitor, the mean
PAUSE_S = 1.5
TARGET_S = 0.8
CAPACITY = SERVERS / SERVICE_S / REQUESTS * 60
STATIC = CAPACITY * 4 / 3
_BEGIN = CAPACITY / 2
_IN_LINE = 40
_PATIENCE_S = 30.0  # a visitor leaves when one response takes longer
_POLL_S = 1.0
_SAMPLE_S = 5.0
_VIRTUAL = """\
**In virtual time**, the law alone: eight minutes with all servers, eight with half of them, eight \
with all again. Figures begin two minutes after each change. "Can serve" is the highest constant \
rate at which the origin stays within the targets (p95 of 800 ms, 2 % failed), by the same \
simulation. Time above target is counted in windows of at least 200 responses."""
_REAL = f"""\
**A real gate before a real origin**: {SERVERS} servers of {SERVICE_S * 1000:.0f} ms and visitors \
with {REQUESTS} requests, so {CAPACITY:.0f} admissions a minute. Half of the servers stop after \
{PHASE_S:.0f} s and are back {PHASE_S:.0f} s later. Figures begin {SETTLED_S:.0f} s after each \
change. Beside it the same with a constant {STATIC:.0f}/min, a third too high. A visitor leaves \
when a response takes longer than {_PATIENCE_S:.0f} s."""


# Virtual time.


def virtual() -> tuple[str, list[str]]:
    """The table of all scenes, and the scenes whose rate left the band."""
    rows, problems = [], []
    for scene in SCENES:
        reached = [phases(scene, halving(scene, seed=seed)) for seed in SEEDS]
        fixed = phases(scene, halving(scene, static, rate=scene.whole * 1.2))
        row = [scene.name, f"{scene.whole:,.0f} / {scene.half:,.0f}"]
        for number in range(3):
            of_phase = [run[number] for run in reached]
            row += [_share(_mean([each.admitted for each in of_phase]))]
        every = [phase for run in reached for phase in run]
        row += [_share(_mean([each.minutes for each in every]))]
        row += [_share(_mean([each.above for each in every]), digits=1)]
        row += [_share(fixed[0].above)]
        rows.append(row)
        if not 0.8 <= _mean([each.admitted for each in every]) <= 1.0:
            problems.append(f"{scene.name}: the mean rate left the band")
    head = ["origin, admissions/min", "can serve, all / half of its servers"]
    head += ["admitted, all", "half", "all again", "minutes in 85–100 %", "time above target"]
    return table([*head, "static, 20 % too high"], rows), problems


def _share(value: float, *, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f} %"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# Real time.


class LimitedOrigin:
    """An aiohttp application whose requests wait for one of `SERVERS` servers, in their order."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._servers = asyncio.Semaphore(SERVERS)
        self._sigma = math.sqrt(math.log(1 + 0.5**2))

    async def respond(self, _: web.Request) -> web.Response:
        async with self._servers:
            mean = math.log(SERVICE_S) - self._sigma**2 / 2
            await asyncio.sleep(math.exp(self._rng.gauss(mean, self._sigma)))
        return web.Response(text="in")

    async def stop_half(self) -> None:
        for _ in range(SERVERS // 2):
            await self._servers.acquire()

    def start_half(self) -> None:
        for _ in range(SERVERS // 2):
            self._servers.release()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.respond)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port := free_port())
        await site.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


@dataclass
class Crowd:
    """Visitors of one gate: a line is kept, and what the admitted ones received is recorded."""

    url: str
    session: aiohttp.ClientSession
    rng: random.Random
    waiting: int = 0
    entered: list[float] = field(default_factory=list)  # when, monotonic
    responses: list[tuple[float, float, bool]] = field(default_factory=list)  # end, s, failed
    problems: list[str] = field(default_factory=list)

    async def keep_a_line(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as visitors:
            while True:
                for _ in range(_IN_LINE - self.waiting):
                    self.waiting += 1
                    visitors.create_task(self._visit())
                await asyncio.sleep(0.05)

    async def _visit(self) -> None:
        cookies: dict[str, str] = {}
        try:
            is_admitted = await self._wait(cookies)
        finally:
            self.waiting -= 1
        if not is_admitted:
            return
        self.entered.append(time.monotonic())
        for number in range(self.rng.randint(REQUESTS // 2, REQUESTS * 3 // 2)):
            if number:
                await asyncio.sleep(self.rng.expovariate(1 / PAUSE_S))
            began_s = time.monotonic()
            try:
                status, _ = await self._get("/page", cookies)
            except (TimeoutError, aiohttp.ClientError):
                self.responses.append((time.monotonic(), time.monotonic() - began_s, True))
                return
            ended_s = time.monotonic()
            self.responses.append((ended_s, ended_s - began_s, status >= 500))

    async def _wait(self, cookies: dict[str, str]) -> bool:
        try:
            _, body = await self._get("/page", cookies)
            while True:
                await asyncio.sleep(_POLL_S * self.rng.uniform(0.9, 1.1))
                _, body = await self._get("/.gatekeeper/status", cookies)
                if json.loads(body)["state"] == "admitted":
                    return True
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            self.problems.append(f"in line: {type(error).__name__}")
            return False

    async def _get(self, path: str, cookies: dict[str, str]) -> tuple[int, bytes]:
        headers = {"Accept": "text/html"}
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        async with self.session.get(self.url + path, headers=headers) as response:
            body = await response.read()
            cookies.update((name, morsel.value) for name, morsel in response.cookies.items())
            return response.status, body


@dataclass(frozen=True)
class Room:
    """One gate, its origin and its crowd."""

    gate: GateProcess
    origin: LimitedOrigin
    crowd: Crowd
    rates: list[tuple[float, float]]  # when, and admissions per minute


@asynccontextmanager
async def running_room(admission: str, *, seed: int) -> AsyncIterator[Room]:
    origin = LimitedOrigin(seed)
    async with origin.running() as origin_url:
        with GateProcess(_toml(origin_url, admission)) as gate:
            await gate.wait_until_serving()
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=_PATIENCE_S),
            ) as session:
                crowd = Crowd(gate.url, session, random.Random(seed))
                yield Room(gate, origin, crowd, [])


def _toml(origin_url: str, admission: str) -> str:
    return f"""
[server]
listen = "127.0.0.1:{free_port()}"
[origin]
url = "{origin_url}"
[tokens]
secrets = ["{SECRET.decode()}"]
[admin]
listen = "127.0.0.1:{free_port()}"
[admission]
{admission}
"""


async def _watch(room: Room) -> None:
    """Reads the rate each second, until it is cancelled."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(TimeoutError, aiohttp.ClientError):
                async with session.get(f"{room.gate.admin_url}/admin/status") as response:
                    status = (await response.json())["rooms"][0]
                room.rates.append((time.monotonic(), status["rate_per_minute"]))
            await asyncio.sleep(1.0)


async def real(phase_s: float) -> tuple[list[Curve], list[Phase], list[str]]:
    """The curves of the steered and the static gate, and the phases of the steered one."""
    steered = f"""rate = "{_BEGIN:.0f}/min"
autotune = true
autotune_min = "30/min"
autotune_max = "3000/min"
autotune_latency = "{TARGET_S * 1000:.0f}ms"
"""
    async with (
        running_room(steered, seed=1) as first,
        running_room(f'rate = "{STATIC:.0f}/min"', seed=2) as second,
    ):
        rooms = (first, second)
        tasks = [
            asyncio.create_task(work)
            for room in rooms
            for work in (room.crowd.keep_a_line(), _watch(room))
        ]
        began_s = time.monotonic()
        try:
            await asyncio.sleep(phase_s)
            await asyncio.gather(*(room.origin.stop_half() for room in rooms))
            await asyncio.sleep(began_s + 2 * phase_s - time.monotonic())
            for room in rooms:
                room.origin.start_half()
            await asyncio.sleep(began_s + 3 * phase_s - time.monotonic())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        problems = sorted({problem for room in rooms for problem in room.crowd.problems})
        curves = [_curve(room, began_s, 3 * phase_s) for room in rooms]
        return curves, _phases(first, began_s, phase_s), problems


def _curve(room: Room, began_s: float, seconds: float) -> Curve:
    latencies: list[tuple[float, float]] = []
    for at_s in _steps(seconds):
        window_s = [
            took_s
            for ended_s, took_s, _ in room.crowd.responses
            if at_s - _SAMPLE_S <= ended_s - began_s < at_s
        ]
        if (latency_s := p95(window_s)) is not None:
            latencies.append((at_s, latency_s))
    return Curve(
        rates=[(at_s - began_s, rate) for at_s, rate in room.rates if at_s - began_s <= seconds],
        latencies_s=latencies,
    )


def _steps(seconds: float) -> Iterator[float]:
    return (_SAMPLE_S * number for number in range(1, int(seconds / _SAMPLE_S) + 1))


def _phases(room: Room, began_s: float, phase_s: float) -> list[Phase]:
    found = []
    for number, capacity in enumerate((CAPACITY, CAPACITY / 2, CAPACITY)):
        from_s = began_s + number * phase_s + min(SETTLED_S, phase_s / 2)
        until_s = began_s + (number + 1) * phase_s
        shares = [rate / capacity for at_s, rate in room.rates if from_s <= at_s < until_s]
        windows = [
            [took_s for end_s, took_s, _ in room.crowd.responses if at_s <= end_s < at_s + 10]
            for at_s in (from_s + 10 * step for step in range(int((until_s - from_s) / 10)))
        ]
        above = [(p95(window) or 0.0) > TARGET_S for window in windows]
        found.append(
            Phase(
                admitted=_mean(shares),
                minutes=_mean([float(0.85 <= share <= 1.0) for share in shares]),
                above=_mean([float(each) for each in above]),
            )
        )
    return found


def report(virtual_table: str, curves: Sequence[Curve], reached: Sequence[Phase]) -> str:
    names = ("all servers", "half of them", "all again")
    static_p95 = max(latency_s for _, latency_s in curves[1].latencies_s)
    rows = [
        [name, _share(phase.admitted), _share(phase.minutes), _share(phase.above)]
        for name, phase in zip(names, reached, strict=True)
    ]
    head = ["phase", "admitted, of what the origin can serve", "time in 85–100 %"]
    parts = [
        f"Written by `make bench-autotune`: {len(SEEDS)} runs for each origin.",
        _VIRTUAL,
        virtual_table,
        _REAL,
        table([*head, "10 s windows above target"], rows),
        f"The p95 of the constant rate reached {static_p95:.0f} s.",
        "![Rate and p95 latency over time, steered and constant](autotune.svg)",
    ]
    return "\n\n".join(parts)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--virtual", action="store_true", help="the virtual part alone")
    options.add_argument("--phase", type=float, default=PHASE_S, help="seconds of a real phase")
    chosen = options.parse_args()
    text, problems = virtual()
    if chosen.virtual:
        conclude("bench-autotune", text, problems, is_whole=False)
        return
    curves, reached, broken = uvloop.run(real(chosen.phase))
    is_whole = chosen.phase == PHASE_S
    if is_whole:
        PLOT.write_text(
            svg_of(curves, capacities=[CAPACITY, CAPACITY / 2, CAPACITY], target_s=TARGET_S)
        )
    conclude("bench-autotune", report(text, curves, reached), problems + broken, is_whole=is_whole)


if __name__ == "__main__":
    main()
