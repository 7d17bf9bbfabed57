"""Autotune with origins of known capacity: in virtual time, and with real gates and origins.

    make bench-autotune                          about a quarter of an hour
    python -m benchmarks.autotune --virtual      the virtual part alone, writes nothing

The virtual part runs the scenes of `tests.closed_loop`: half of the servers stop in the middle of
the run and start again. The real part has two gates, each before an aiohttp origin of its own with
the same number of servers: one gate steers its rate, the other has a constant rate that is too
high. A crowd keeps a line in front of both. The origin of the second gate is saturated, so it shows
the capacity of this origin on this machine in the same minute. Figures of a phase begin `SETTLED_S`
after the change.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from benchmarks.autotune_plot import Curve, svg_of
from benchmarks.limited_origin import (
    PATIENCE_S,
    PAUSE_S,
    REQUESTS,
    SERVERS,
    SERVICE_S,
    Room,
    running_room,
    watch,
)
from benchmarks.readme_section import conclude, table
from tests.closed_loop import (
    IN_BAND,
    SCENES,
    SETTLED_S,
    TARGETS,
    Phase,
    Scene,
    halving,
    p95,
    phase_of,
    phases,
    run,
    static,
)
from tests.closed_loop import Crowd as VirtualCrowd
from tests.closed_loop import scene as virtual_scene

PLOT = Path(__file__).with_name("autotune.svg")
SEEDS = tuple(range(1, 11))
# Runs of one origin with fewer responses a second than this differ more by chance.
_FEW, _SEEDS_OF_FEW = 35.0, tuple(range(1, 41))
PHASE_S = 240.0
TARGET_S = 0.8
CAPACITY = SERVERS / SERVICE_S / REQUESTS * 60
STATIC = CAPACITY * 4 / 3
_BEGIN = CAPACITY / 2
# The same in virtual time: it serves 600 and 300 when saturated, and slightly less within the
# targets.
SCENE = virtual_scene(
    "real",
    CAPACITY,
    VirtualCrowd(requests=REQUESTS, pause_s=PAUSE_S, no_shows=0.0),
    servers=SERVERS,
    whole=574,
    half=277,
)
_WITHIN = (SCENE.whole / CAPACITY, SCENE.half / (CAPACITY / 2), SCENE.whole / CAPACITY)
_USUAL = 0.88  # of the origin's capacity: about the rate that autotune admits
_SAMPLE_S = 5.0
_WRITTEN = f"""\
Written by `make bench-autotune`: {len(SEEDS)} runs for each origin, {len(_SEEDS_OF_FEW)} where \
half of its servers give less than {_FEW:.0f} responses a second."""
_VIRTUAL = f"""\
**In virtual time**, the law alone: eight minutes with all servers, eight with half of them, eight \
with all again. Figures begin two minutes after each change. "Can serve" is the highest constant \
rate at which the origin stays within the targets (p95 of 800 ms, 2 % failed), by the same \
simulation. Time above target is counted in windows of at least 200 responses. Such a p95 is above \
its target by chance as well: the last columns have two constant rates, {100 * _USUAL:.0f} % of \
what the origin can serve, and a fifth too much."""
_REAL = f"""\
**A real gate before a real origin**: {SERVERS} servers of {SERVICE_S * 1000:.0f} ms and visitors \
with {REQUESTS} requests, so at most {CAPACITY:.0f} admissions a minute. Half of them stop after \
{PHASE_S:.0f} s and are back {PHASE_S:.0f} s later. Figures begin {SETTLED_S:.0f} s after each \
change. Beside it the same with a constant {STATIC:.0f}/min, a third too high. A visitor leaves \
when a response takes longer than {PATIENCE_S:.0f} s. "Can serve" is what that other, saturated \
origin served at the same time on the same machine, times the share of it that is within the \
target ({100 * _WITHIN[0]:.0f} %, with half of the servers {100 * _WITHIN[1]:.0f} %, by \
simulation). "The law alone" is the same law with the same phases in virtual time."""


# Virtual time.


def virtual() -> tuple[str, list[str]]:
    """The table of all scenes, and the scenes whose rate left the band."""
    rows, problems = [], []
    for scene in SCENES:
        is_few = scene.half / 60 * scene.crowd.requests < _FEW
        seeds = _SEEDS_OF_FEW if is_few else SEEDS
        reached = [phases(scene, halving(scene, seed=seed)) for seed in seeds]
        fixed = phases(scene, halving(scene, static, rate=scene.whole * 1.2))
        usual = [_constant(scene, seed) for seed in seeds]
        row = [scene.name, f"{scene.whole:,.0f} / {scene.half:,.0f}"]
        for number in range(3):
            row += [_share(_mean([run[number].admitted for run in reached]))]
        every = [phase for run in reached for phase in run]
        row += [_share(_mean([each.minutes for each in every]))]
        above = [_mean([phase.above for phase in run]) for run in reached]
        row += [_share(each, digits=1) for each in (_mean(above), max(above), _mean(usual))]
        row += [_share(fixed[0].above)]
        rows.append(row)
        if not 0.8 <= _mean([each.admitted for each in every]) <= 1.0:
            problems.append(f"{scene.name}: the mean rate left the band")
    head = ["origin, admissions/min", "can serve, all / half of its servers"]
    head += ["admitted, all", "half", "all again", "minutes in 85–100 %", "time above target"]
    head += ["in the worst run", f"at a constant {100 * _USUAL:.0f} %", "at a constant 120 %"]
    return table(head, rows), problems


def _constant(scene: Scene, seed: int) -> float:
    """Time above target at `_USUAL` of the origin's capacity, with all and half of its servers."""
    half = replace(scene.origin, servers=scene.origin.servers // 2)
    above = []
    for origin, capacity in ((scene.origin, scene.whole), (half, scene.half)):
        samples = run(
            *(origin, scene.crowd, TARGETS, static),
            rate=_USUAL * capacity,
            until_s=480 + SETTLED_S,
            seed=seed,
        )
        settled = [sample for sample in samples if sample.at_s > SETTLED_S]
        above.append(phase_of(settled, capacity).above)
    return _mean(above)


def _share(value: float, *, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f} %"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# Real time.


@dataclass(frozen=True)
class Result:
    """The curves of the steered and the static gate, and the phases of the steered one.

    `served`: admissions per minute that the saturated origin of the static gate served in each
    phase within the target, on the same machine at the same time.
    """

    curves: Sequence[Curve]
    served: Sequence[float]
    phases: Sequence[Phase]
    problems: Sequence[str]


async def real(phase_s: float) -> Result:
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
            for work in (room.crowd.keep_a_line(), watch(room))
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
        served = _served(second, began_s, phase_s)
        return Result(curves, served, _phases(first, served, began_s, phase_s), problems)


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


def _settled(began_s: float, phase_s: float) -> Iterator[tuple[float, float]]:
    """Start and end of the judged part of each phase."""
    for number in range(3):
        from_s = began_s + number * phase_s
        yield from_s + min(SETTLED_S, phase_s / 2), from_s + phase_s


def _served(room: Room, began_s: float, phase_s: float) -> list[float]:
    ends_s = room.origin.served
    return [
        share
        * sum(from_s <= end_s < until_s for end_s in ends_s)
        / (until_s - from_s)
        * 60
        / REQUESTS
        for share, (from_s, until_s) in zip(_WITHIN, _settled(began_s, phase_s), strict=True)
    ]


def _phases(room: Room, served: Sequence[float], began_s: float, phase_s: float) -> list[Phase]:
    found = []
    for capacity, (from_s, until_s) in zip(served, _settled(began_s, phase_s), strict=True):
        shares = [rate / capacity for at_s, rate in room.rates if from_s <= at_s < until_s]
        windows = [
            [took_s for end_s, took_s, _ in room.crowd.responses if at_s <= end_s < at_s + 10]
            for at_s in (from_s + 10 * step for step in range(int((until_s - from_s) / 10)))
        ]
        found.append(
            Phase(
                admitted=_mean(shares),
                minutes=_mean([float(IN_BAND[0] <= share <= IN_BAND[1]) for share in shares]),
                above=_mean([float((p95(window) or 0.0) > TARGET_S) for window in windows]),
            )
        )
    return found


def report(virtual_table: str, result: Result) -> str:
    names = ("all servers", "half of them", "all again")
    static_p95 = max(latency_s for _, latency_s in result.curves[1].latencies_s)
    alone = [
        phases(SCENE, halving(SCENE, rate=_BEGIN, each_s=PHASE_S, seed=seed)) for seed in SEEDS
    ]
    rows = [
        [
            *(name, f"{served:.0f}/min", _share(phase.admitted)),
            *(_share(phase.minutes), _share(phase.above)),
            _share(_mean([run[number].admitted for run in alone])),
            _share(_mean([run[number].above for run in alone])),
        ]
        for number, (name, served, phase) in enumerate(
            zip(names, result.served, result.phases, strict=True)
        )
    ]
    head = ["phase", "can serve", "steered rate, of that", "time in 85–100 %"]
    parts = [
        _WRITTEN,
        _VIRTUAL,
        virtual_table,
        _REAL,
        table([*head, "10 s windows above target", "the law alone: rate", "above target"], rows),
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
    result = uvloop.run(real(chosen.phase))
    is_whole = chosen.phase == PHASE_S
    if is_whole:
        PLOT.write_text(svg_of(result.curves, capacities=result.served, target_s=TARGET_S))
    problems += result.problems
    conclude("bench-autotune", report(text, result), problems, is_whole=is_whole)


if __name__ == "__main__":
    main()
