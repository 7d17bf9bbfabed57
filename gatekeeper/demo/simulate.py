"""`gatekeeper simulate`: a crowd against a gate that runs, and a verdict as text, JSON and SVG."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gatekeeper.demo.crowd import run_crowd
from gatekeeper.demo.plan import CrowdPlan
from gatekeeper.demo.plot import svg_of
from gatekeeper.demo.report import LiveReport, text_of
from gatekeeper.errors import GatekeeperError

_HELD, _BROKEN = 0, 1


async def simulate(plan: CrowdPlan, *, as_json: bool = False, plot: Path | None = None) -> int:
    """Run `plan`; the verdict goes to standard output, progress to standard error.

    Returns the exit status: 0 when every tested promise held, 1 when not. Raises GatekeeperError
    when no gate answers, or when the picture cannot be written.
    """
    if plot is not None:
        _write(plot, "", mode="a")  # better told now than after the run
    with LiveReport(sys.stderr) as report:
        verdict = await run_crowd(plan, on_progress=report)
    told = json.dumps(verdict.to_json(), indent=2) if as_json else text_of(verdict)
    print(told, flush=True)  # noqa: T201  this is what the command is for
    if plot is not None:
        _write(plot, svg_of(verdict, title=f"{plan.visitors:,} visitors, {plan.profile}"))
    return _HELD if verdict.ok else _BROKEN


def _write(path: Path, text: str, *, mode: str = "w") -> None:
    try:
        with path.open(mode) as file:
            file.write(text)
    except OSError as error:
        raise GatekeeperError(f"cannot write {path}: {error.strerror}") from error
