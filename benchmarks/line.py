"""A whole sale: 40,000 visitors in the queue at 500 a minute, with ten replicas.

    make bench-line                               below eight minutes
    python -m benchmarks.line --visitors 4000     a small run, writes nothing

First, the delay until ten idle replicas know of a release (`watermark_delay`). Then the sale. Its
time is scaled: 40,000 visitors at 500 a minute take 80 minutes, so the rate is multiplied and the
run is shorter by the same factor. Burst, ticks, deadlines and poll intervals are not scaled, so
each second has the work of many seconds; order and rate are not easier to keep. The mode is `hold`
until all visitors have arrived. Then a smaller and slower sale, in which the crowd of one process
can send on time, for the delay near the front and the error of the estimate. Last, the poll
intervals of a long queue (`poll_intervals`).

Writes the section `bench-line` of `benchmarks/README.md`. The exit status is 1 after a broken
promise.
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

from benchmarks import poll_intervals, watermark_delay
from benchmarks.readme_section import conclude, table
from benchmarks.rig import Rig, cpu_s, peak_memory_bytes, running_rig
from gatekeeper.simulate.pressure_promises import LURKERS
from gatekeeper.simulate.release_delays import MAX_RELEASE_DELAY_S
from gatekeeper.simulate.verdict import RELEASE_DELAY

REPLICAS = 10
VISITORS = 40_000
RATE_PER_MINUTE, BURST = 500, 10
SCALE = 25
ARRIVALS_PER_S = 1_000
ON_TIME_VISITORS, ON_TIME_SCALE = 1_000, 10
MAX_ACTIVE = 40_000
# On one small machine the crowd may send late; it must not lose places because of that.
CONFIRMATION = 'confirm_timeout = "1m"'
# Shares of the crowd with special behaviour. Refreshers poll up to ten times a second.
SPECIAL_SHARES = {"leavers": 0.02, "returners": 0.02, "ghosts": 0.02, "refreshers": 0.002}
SPECIAL_SHARES |= {"jumpers": 0.02}
PLOT = Path(__file__).with_name("line.svg")
WATERMARK_RUN_S = 12.0
MAX_WATERMARK_DELAY_S = 0.010  # p99
_SALE_TIMEOUT_S = 360.0  # arrivals 60 s, admissions 190 s, then visitors who return late
_TICK_S = 0.25


@dataclass(frozen=True)
class Sale:
    """The result of one sale."""

    verdict: dict[str, Any]
    arrived_in_s: float
    sold_in_s: float
    crowd_bytes: int
    crowd_us: float  # CPU time per request
    replica_bytes: int
    replicas_us: float
    store_us: float

    @property
    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = self.verdict["figures"]
        return figures


async def sale(visitors: int, *, scale: int, plot: Path) -> Sale:
    rate = RATE_PER_MINUTE * scale
    admission = f'rate = "{rate}/min"\nburst = {BURST}\nmax_active = {MAX_ACTIVE}\n{CONFIRMATION}'
    async with running_rig(REPLICAS, admission=admission) as rig:
        await rig.admin("POST", "/admin/mode?mode=hold")
        with tempfile.TemporaryFile("w+") as output:
            crowd = await _start_crowd(
                rig, visitors, rate_per_minute=rate, output=output.fileno(), plot=plot
            )
            try:
                async with asyncio.timeout(_SALE_TIMEOUT_S):
                    return await _measure_sale(rig, crowd, visitors, output=output)
            except TimeoutError:
                raise SystemExit(
                    f"the sale did not end within {_SALE_TIMEOUT_S:g} s: the machine is too slow"
                ) from None
            finally:
                with suppress(ProcessLookupError):
                    crowd.kill()


async def _start_crowd(
    rig: Rig, visitors: int, *, rate_per_minute: int, output: int, plot: Path
) -> asyncio.subprocess.Process:
    options = {
        "visitors": visitors,
        "arrivals": ARRIVALS_PER_S,
        "rate": f"{rate_per_minute}/min",
        "burst": BURST,
        "stayers": 0.75,
        "visits": 1,
        "connections": 8 * REPLICAS,
        "duration": _SALE_TIMEOUT_S,
        "admin": rig.admin_url,
        "plot": plot,
    }
    arguments = [
        word for name, value in (options | SPECIAL_SHARES).items() for word in _option(name, value)
    ]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatekeeper.cli", "simulate", *rig.urls, *arguments, "--json"),
        stdout=output,
    )


def _option(name: str, value: object) -> tuple[str, str]:
    return f"--{name}", f"{value}"


async def _measure_sale(
    rig: Rig, crowd: asyncio.subprocess.Process, visitors: int, *, output: IO[str]
) -> Sale:
    """Open the room when all visitors have arrived, and measure until the crowd has finished."""
    loop = asyncio.get_running_loop()
    workers = rig.workers()
    began_s, used_s, store_s = loop.time(), cpu_s(*workers), cpu_s(rig.store_pid)
    while (await rig.room())["arrived_total"] < visitors:
        if crowd.returncode is not None:
            raise SystemExit("the crowd ended before all visitors had arrived")
        await asyncio.sleep(_TICK_S)
    arrived_s = loop.time()
    await rig.admin("POST", "/admin/mode?mode=auto")
    crowd_s, crowd_bytes = 0.0, 0
    while crowd.returncode is None:
        with suppress(FileNotFoundError, IndexError):  # the crowd process has just ended
            crowd_s, crowd_bytes = cpu_s(crowd.pid), peak_memory_bytes(crowd.pid)
        with suppress(TimeoutError):
            await asyncio.wait_for(crowd.wait(), _TICK_S)
    output.seek(0)
    verdict: dict[str, Any] = json.load(output)
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


def problems_of(result: Sale) -> list[str]:
    """The problems, and the promises that were broken or not judged.

    There are no lurkers. The release delay may be unjudged if the crowd sent too late.
    """
    problems = list(result.verdict["problems"])
    not_judged = {LURKERS}
    if result.figures["crowd_late_s"]["p99"] > MAX_RELEASE_DELAY_S:
        not_judged |= {RELEASE_DELAY}
    problems += [
        f"{promise['name']}: {promise['detail']}"
        for promise in result.verdict["promises"]
        if promise["held"] is False
        or (promise["held"] is None and promise["name"] not in not_judged)
    ]
    if result.figures["still_waiting"]:
        problems.append(f"{result.figures['still_waiting']} visitors still waiting at the end")
    return problems


def text_of(result: Sale, *, visitors: int, scale: int) -> str:
    figures, polls = result.figures, result.figures["polls_per_visitor"]
    rate = RATE_PER_MINUTE * scale
    rows = [
        ["arrived", f"{figures['arrived']:,}, {visitors / result.arrived_in_s:,.0f}/s"],
        ["admitted", f"{figures['admitted']:,} in {result.sold_in_s:.0f} s"],
        [
            "inversions among present visitors",
            f"{figures['inversions']:,} in {figures['responses_judged']:,} waiting responses",
        ],
        [
            "most admissions in any minute",
            f"{figures['most_admitted_in_60_s']:,} of {rate + BURST:,} allowed",
        ],
        [
            f"most above {rate:,}/min in any span",
            f"{max(figures['most_above_rate'], 0):.1f} of {BURST} allowed",
        ],
        _throughput_row(figures),
        ["most active visitors", f"{figures['most_inside']:,} of {MAX_ACTIVE:,} allowed"],
        ["forged, swapped and spent tokens", f"{figures['forged_tokens']:,} sent, none accepted"],
        [
            "polls per waiting visitor",
            f"{polls['mean']:.1f}; {polls['at_a_fixed_5_s']:.1f} at a fixed interval of 5 s",
        ],
        ["requests", f"{figures['requests']:,}, {figures['requests_per_s']:,.0f}/s"],
        ["CPU time of the ten replicas", f"{result.replicas_us:.0f} µs per request"],
        ["CPU time of the store", f"{result.store_us:.0f} µs per request"],
        ["CPU time of the crowd", f"{result.crowd_us:.0f} µs per request"],
        ["memory of a replica", f"{result.replica_bytes / 2**20:.0f} MiB"],
        ["memory of the crowd (one process)", f"{result.crowd_bytes / 2**20:.0f} MiB"],
        *_timing_rows(figures),
    ]
    parts = ", ".join(f"{share * 100:g} % {name}" for name, share in SPECIAL_SHARES.items())
    return f"""\
{visitors:,} visitors of one process; each request goes to a random one of {REPLICAS} replicas; \
{parts}. Time is scaled by {scale}: {RATE_PER_MINUTE} a minute become {rate:,}, and a minute of \
the sale takes {60 / scale:.1f} s. Burst, deadlines and poll intervals are not scaled, so each \
second has {scale} times the releases and claims. No visitor is admitted until all have arrived. \
The crowd, the replicas, the store and NATS share one machine, so the crowd sends requests late. \
Delays, waits and errors exclude this: a wait ends when its last poll was due, but not before the \
release was certain.

![Arrivals, queue and admissions over time]({PLOT.name})

{table(["", ""], rows)}"""


def _throughput_row(figures: dict[str, Any]) -> list[str]:
    share = figures["throughput_share"]
    text = "not judged" if share is None else f"{share * 100:.1f} % of the rate"
    return ["admitted while visitors waited", text]


def _timing_rows(figures: dict[str, Any]) -> list[list[str]]:
    """Waits, error of the estimate, release delay, response times, and delay of the crowd."""
    wait, error, response = figures["wait_s"], figures["eta_error_s"], figures["response_s"]
    delay, late = figures["let_in_after_release_s"], figures["crowd_late_s"]
    return [
        ["waits", f"p50 {wait['p50']:.1f} s, p99 {wait['p99']:.1f} s"],
        [
            "admitted later than first estimated",
            f"p50 {error['p50']:+.1f} s, p99 {error['p99']:+.1f} s, min {error['min']:+.1f} s",
        ],
        [
            f"release to admission near the front ({figures['near_front']:,} visitors)",
            f"p50 {delay['p50']:.2f} s, p99 {delay['p99']:.2f} s, max {delay['max']:.2f} s"
            if delay
            else "not judged: the crowd sent too late",
        ],
        [
            "response time",
            f"p50 {response['p50'] * 1000:.0f} ms, p99 {response['p99'] * 1000:.0f} ms",
        ],
        [
            "delay of the crowd",
            f"p50 {late['p50'] * 1000:.0f} ms, p99 {late['p99'] * 1000:.0f} ms",
        ],
    ]


def text_on_time(result: Sale) -> str:
    figures = result.figures
    order = f"{figures['inversions']:,} in {figures['responses_judged']:,} waiting responses"
    rows = [
        ["inversions among present visitors", order],
        _throughput_row(figures),
        *_timing_rows(figures),
    ]
    return f"""\
{ON_TIME_VISITORS:,} visitors, time scaled by {ON_TIME_SCALE}, otherwise as above. Here the crowd \
can send on time.

{table(["", ""], rows)}"""


async def benchmark(visitors: int, *, scale: int, plot: Path) -> tuple[str, list[str]]:
    """The text of the section, and the problems."""
    delays = await watermark_delay.measured(seconds=WATERMARK_RUN_S)
    result = await sale(visitors, scale=scale, plot=plot)
    on_time = await sale(ON_TIME_VISITORS, scale=ON_TIME_SCALE, plot=Path(os.devnull))
    intervals = await poll_intervals.measured()
    problems = problems_of(result) + problems_of(on_time) + poll_intervals.problems_of(intervals)
    if (p99_s := delays["NATS"].at_s(0.99)) > MAX_WATERMARK_DELAY_S:
        problems.append(
            f"watermark delay: p99 {p99_s * 1000:.1f} ms; "
            f"expected at most {MAX_WATERMARK_DELAY_S * 1000:g} ms"
        )
    text = f"""\
### The sale

Written by `make bench-line`: {text_of(result, visitors=visitors, scale=scale)}

### Near the front

{text_on_time(on_time)}

### Watermark delay

{watermark_delay.text_of(delays)}

### Poll intervals

{poll_intervals.text_of(intervals)}"""
    return text, problems


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--visitors", type=int, default=VISITORS)
    options.add_argument("--scale", type=int, default=SCALE, help="factor by which time is shorter")
    chosen = options.parse_args()
    is_whole = chosen == options.parse_args([])
    plot = PLOT if is_whole else Path(os.devnull)
    text, problems = uvloop.run(benchmark(chosen.visitors, scale=chosen.scale, plot=plot))
    conclude("bench-line", text, problems, is_whole=is_whole)


if __name__ == "__main__":
    main()
