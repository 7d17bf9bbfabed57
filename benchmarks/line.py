"""A sale, whole: 40,000 people in line at 500 a minute, before ten replicas.

    make bench-line                               below five minutes
    python -m benchmarks.line --visitors 4000     a small one, which writes nothing

First the news: how soon ten idle replicas know of a release (`replicas`). Then the sale, with
time scaled: 40,000 at 500 a minute take 80 minutes, so the rate is multiplied and the whole takes
as many times less. Nothing else is scaled: burst, beats, deadlines and polling intervals stay as
they are. So the gate has to do in each second what it otherwise does in many, which
makes order and rate no easier to keep. The doors are shut (mode `hold`) until everybody came, and
then open. Then a smaller and slower sale, in which the crowd of one process can be on time: how
soon those near the front are let in, and how true the estimate was. At last how often people ask
(`polling`).

Writes the section `bench-line` of `benchmarks/README.md`; the exit status is 1 when a promise was
broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import uvloop

from benchmarks import polling, replicas
from benchmarks.report import table, write_section
from benchmarks.rig import Rig, cpu_s, peak_memory_bytes, running_rig
from gatekeeper.simulate.release_delays import MAX_RELEASE_DELAY_S
from gatekeeper.simulate.verdict import RELEASE_DELAY

REPLICAS = 10
VISITORS = 40_000
RATE_PER_MINUTE, BURST = 500, 10
SCALE = 40
ARRIVALS_PER_S = 1_000
ON_TIME_VISITORS, ON_TIME_SCALE = 1_000, 10
MOST_INSIDE = 40_000
# The crowd may be late where all of this shares one small machine, and is not to lose places by it.
PATIENCE = 'confirm_timeout = "1m"'
# Of the crowd: those who do not simply wait. The refreshers ask up to ten times a second.
ODD_ONES = {"leavers": 0.02, "returners": 0.02, "ghosts": 0.02, "refreshers": 0.002}
ODD_ONES |= {"jumpers": 0.02}
PICTURE = Path(__file__).with_name("line.svg")
NEWS_S = 12.0
NEWS_WITHIN_S = 0.010  # in 99 of 100 cases
_PATIENCE_S = 230.0
_TICK_S = 0.25


@dataclass(frozen=True)
class Sale:
    """What one sale came to."""

    verdict: dict[str, Any]
    arrived_in_s: float
    sold_in_s: float
    crowd_bytes: int
    crowd_us: float  # of processor time for each request
    replica_bytes: int
    replicas_us: float
    store_us: float

    @property
    def figures(self) -> dict[str, Any]:
        told: dict[str, Any] = self.verdict["figures"]
        return told


async def sale(visitors: int, *, scale: int, plot: Path) -> Sale:
    rate = RATE_PER_MINUTE * scale
    admission = f'rate = "{rate}/min"\nburst = {BURST}\nmax_active = {MOST_INSIDE}\n{PATIENCE}'
    async with running_rig(REPLICAS, admission=admission) as rig:
        await rig.admin("POST", "/admin/mode?mode=hold")
        with tempfile.TemporaryFile("w+") as told:
            crowd = await _start_crowd(
                rig, visitors, rate_per_minute=rate, told=told.fileno(), plot=plot
            )
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await _watch(rig, crowd, visitors, told=told)
            except TimeoutError:
                raise SystemExit(
                    f"the sale was not over after {_PATIENCE_S:g} s: too much for this machine now"
                ) from None
            finally:
                with suppress(ProcessLookupError):
                    crowd.kill()


async def _start_crowd(
    rig: Rig, visitors: int, *, rate_per_minute: int, told: int, plot: Path
) -> asyncio.subprocess.Process:
    options = {
        "visitors": visitors,
        "arrivals": ARRIVALS_PER_S,
        "rate": f"{rate_per_minute}/min",
        "burst": BURST,
        "stayers": 0.75,
        "visits": 1,
        "connections": 8 * REPLICAS,
        "duration": _PATIENCE_S,
        "admin": rig.admin_url,
        "plot": plot,
    }
    words = [word for name, value in (options | ODD_ONES).items() for word in _option(name, value)]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatekeeper.cli", "simulate", *rig.urls, *words, "--json"),
        stdout=told,
    )


def _option(name: str, value: object) -> tuple[str, str]:
    return f"--{name}", f"{value}"


async def _watch(
    rig: Rig, crowd: asyncio.subprocess.Process, visitors: int, *, told: IO[str]
) -> Sale:
    """Open the doors when everybody is there, and take stock until the crowd is done."""
    loop = asyncio.get_running_loop()
    workers = rig.workers()
    began_s, used_s, store_s = loop.time(), cpu_s(*workers), cpu_s(rig.store_pid)
    while (await rig.room())["arrived_total"] < visitors:
        if crowd.returncode is not None:
            raise SystemExit("the crowd ended before everybody had come")
        await asyncio.sleep(_TICK_S)
    arrived_s = loop.time()
    await rig.admin("POST", "/admin/mode?mode=auto")
    crowd_s, crowd_bytes = 0.0, 0
    while crowd.returncode is None:
        with suppress(FileNotFoundError, IndexError):  # it ends just now
            crowd_s, crowd_bytes = cpu_s(crowd.pid), peak_memory_bytes(crowd.pid)
        with suppress(TimeoutError):
            await asyncio.wait_for(crowd.wait(), _TICK_S)
    told.seek(0)
    verdict: dict[str, Any] = json.load(told)
    us = 1_000_000 / verdict["figures"]["requests"]
    return Sale(
        verdict=verdict,
        arrived_in_s=arrived_s - began_s,
        sold_in_s=loop.time() - arrived_s,
        crowd_bytes=crowd_bytes,
        crowd_us=crowd_s * us,
        replica_bytes=rig.worker_memory_bytes(),
        replicas_us=(cpu_s(*workers) - used_s) * us,
        store_us=(cpu_s(rig.store_pid) - store_s) * us,
    )


def broken(found: Sale) -> list[str]:
    """The promises that the sale did not keep, and those that it should have shown and did not.

    A crowd that was too late to be let in from near the front shows nothing of how soon they are.
    """
    problems = list(found.verdict["problems"])
    too_late = found.figures["crowd_late_s"]["p99"] > MAX_RELEASE_DELAY_S
    problems += [
        f"{promise['name']}: {promise['detail']}"
        for promise in found.verdict["promises"]
        if promise["held"] is not True
        and not (promise["held"] is None and promise["name"] == RELEASE_DELAY and too_late)
    ]
    if found.figures["still_waiting"]:
        problems.append(f"{found.figures['still_waiting']} still waited at the end")
    return problems


def text_of(found: Sale, *, visitors: int, scale: int) -> str:
    told, polls = found.figures, found.figures["polls_per_visitor"]
    rate = RATE_PER_MINUTE * scale
    rows = [
        ["arrived", f"{told['arrived']:,}, {visitors / found.arrived_in_s:,.0f} a second"],
        ["admitted", f"{told['admitted']:,} in {found.sold_in_s:.0f} s"],
        [
            "inversions among those present",
            f"{told['inversions']:,} in {told['answers_judged']:,} answers that said to wait",
        ],
        [
            "most in any minute",
            f"{told['most_admitted_in_60_s']:,} of {rate + BURST:,} allowed",
        ],
        [
            f"most above {rate:,}/min × time in any span",
            f"{max(told['most_above_rate'], 0):.1f} of {BURST} allowed",
        ],
        ["most inside", f"{told['most_inside']:,} of {MOST_INSIDE:,} allowed"],
        ["forged, swapped and spent tokens", f"{told['lies']:,} tried, none honoured"],
        [
            "polls by each who waited",
            f"{polls['mean']:.1f}; {polls['at_a_fixed_5_s']:.1f} at a fixed 5 s",
        ],
        ["requests", f"{told['requests']:,}, {told['requests_per_s']:,.0f} a second"],
        ["processor time of the ten replicas", f"{found.replicas_us:.0f} µs per request"],
        ["… of the store", f"{found.store_us:.0f} µs per request"],
        ["… of the crowd", f"{found.crowd_us:.0f} µs per request"],
        ["memory of a replica", f"{found.replica_bytes / 2**20:.0f} MiB"],
        ["memory of the crowd, one process", f"{found.crowd_bytes / 2**20:.0f} MiB"],
        *_punctuality(told),
    ]
    parts = ", ".join(f"{share * 100:g} % {name}" for name, share in ODD_ONES.items())
    return f"""\
{visitors:,} visitors of one process, spread over {REPLICAS} replicas and changing replica with \
every request; {parts}. Time is scaled by {scale}: {RATE_PER_MINUTE} a minute are {rate:,}, and a \
minute of the sale takes {60 / scale:.1f} s. Nothing else is scaled, neither burst nor deadlines \
nor polling intervals, so that each second holds {scale} times the releases and claims. Nobody \
enters until all have come. The crowd, the replicas with their pacers, events and pages, the store \
and NATS share one machine, and so the crowd asks later than it is told to. Delays, waits and \
errors leave that out: a wait ends when its last question was due, but not before the release was \
certain.

![Arrivals, the line and admissions over time]({PICTURE.name})

{table(["", ""], rows)}"""


def _punctuality(told: dict[str, Any]) -> list[list[str]]:
    """How soon and how truly people were told, and how late the crowd itself was."""
    wait, error, answer = told["wait_s"], told["eta_error_s"], told["answer_s"]
    soon, late = told["let_in_after_release_s"], told["crowd_late_s"]
    return [
        ["waits", f"p50 {wait['p50']:.1f} s, p99 {wait['p99']:.1f} s"],
        [
            "let in later than first told",
            f"p50 {error['p50']:+.1f} s, p99 {error['p99']:+.1f} s, least {error['min']:+.1f} s",
        ],
        [
            f"near the front ({told['near_front']:,}), let in after the release",
            f"p50 {soon['p50']:.2f} s, p99 {soon['p99']:.2f} s, max {soon['max']:.2f} s"
            if soon
            else "not judged, the crowd asked too late",
        ],
        ["answers took", f"p50 {answer['p50'] * 1000:.0f} ms, p99 {answer['p99'] * 1000:.0f} ms"],
        [
            "the crowd asked later than told by",
            f"p50 {late['p50'] * 1000:.0f} ms, p99 {late['p99'] * 1000:.0f} ms",
        ],
    ]


def text_on_time(found: Sale) -> str:
    told = found.figures
    order = f"{told['inversions']:,} in {told['answers_judged']:,} answers that said to wait"
    rows = [["inversions among those present", order], *_punctuality(told)]
    return f"""\
{ON_TIME_VISITORS:,} visitors, time scaled by {ON_TIME_SCALE}, all else as above: here the crowd \
can ask when it is told to.

{table(["", ""], rows)}"""


async def benchmark(visitors: int, *, scale: int, plot: Path) -> tuple[str, list[str]]:
    """The section, and what was broken."""
    news = await replicas.measured(seconds=NEWS_S)
    sold = await sale(visitors, scale=scale, plot=plot)
    on_time = await sale(ON_TIME_VISITORS, scale=ON_TIME_SCALE, plot=Path(os.devnull))
    asked = await polling.measured()
    problems = broken(sold) + broken(on_time) + polling.broken(asked)
    if (p99_s := news["NATS"].at_s(0.99)) > NEWS_WITHIN_S:
        problems.append(f"the news of a release took {p99_s * 1000:.1f} ms in 1 of 100 cases")
    text = f"""\
### The sale

`make bench-line`: {text_of(sold, visitors=visitors, scale=scale)}

### Near the front

{text_on_time(on_time)}

### The news of a release

{replicas.text_of(news)}

### How often people ask

{polling.text_of(asked)}"""
    return text, problems


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--visitors", type=int, default=VISITORS)
    options.add_argument("--scale", type=int, default=SCALE, help="how many times faster")
    chosen = options.parse_args()
    is_whole = chosen == options.parse_args([])
    plot = PICTURE if is_whole else Path(os.devnull)
    text, problems = uvloop.run(benchmark(chosen.visitors, scale=chosen.scale, plot=plot))
    if problems:
        text += "\n\nBroken: " + "; ".join(problems)
    print(text)
    if is_whole:  # the figures that are told are those of the whole
        write_section("bench-line", text)
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
