"""`gatekeeper simulate`: a crowd against a gate that runs, and a verdict as text, JSON and SVG."""

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

    SIGINT or SIGTERM ends the run early, with the verdict on what was seen so far; a second one
    ends the program. Returns the exit status: 0 when every tested promise held, 1 when not. Raises
    GatekeeperError when no gate answers, or when the picture cannot be written.
    """
    if plot is not None:
        _write(plot, "", mode="a")  # better told now than after the run
    with LiveReport(sys.stderr) as report, _signalled() as ended:
        verdict = await run_crowd(plan, on_progress=report, ended=ended)
    told = json.dumps(verdict.to_json(), indent=2) if as_json else text_of(verdict)
    print(told, flush=True)  # noqa: T201  this is what the command is for
    if plot is not None:
        _write(plot, svg_of(verdict, title=f"{plan.visitors:,} visitors, {plan.profile}"))
    return _HELD if verdict.ok else _BROKEN


@contextmanager
def _signalled() -> Iterator[asyncio.Event]:
    """Set by the first signal that asks to end; the next one does what it does otherwise."""
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
