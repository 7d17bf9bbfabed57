"""Runs `gatekeeper simulate`: the crowd, then the verdict as text or JSON and as SVG."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.crowd import run_crowd
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.plot import svg_of
from gatekeeper.simulate.summary import LiveReport, text_of

_HELD, _BROKEN = 0, 1


async def simulate(plan: CrowdPlan, *, as_json: bool = False, plot: Path | None = None) -> int:
    """Run `plan`; the verdict goes to standard output, progress to standard error.

    SIGINT or SIGTERM ends the run early, with a verdict on what was observed so far; a second
    signal ends the program. Returns the exit status: 0 when every tested promise held, else 1.
    Raises GatekeeperError when no gate responds, or when the SVG file cannot be written.
    """
    if plot is not None:
        _write(plot, "", mode="a")  # fail before the run, not after it
    with LiveReport(sys.stderr) as report, _end_on_signal() as ended:
        verdict = await run_crowd(plan, on_progress=report, ended=ended)
    output = json.dumps(verdict.to_json(), indent=2) if as_json else text_of(verdict)
    print(output, flush=True)  # noqa: T201  the output of the command
    if plot is not None:
        _write(plot, svg_of(verdict, title=f"{plan.visitors:,} visitors, {plan.profile}"))
    return _HELD if verdict.ok else _BROKEN


@contextmanager
def _end_on_signal() -> Iterator[asyncio.Event]:
    """An event set by the first SIGINT or SIGTERM; the next one has its default effect."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        ended.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield ended
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _write(path: Path, text: str, *, mode: str = "w") -> None:
    try:
        with path.open(mode) as file:
            file.write(text)
    except OSError as error:
        raise GatekeeperError(f"cannot write {path}: {error.strerror}") from error
