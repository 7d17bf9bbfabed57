"""Shows the progress and the verdict of a run as text.

On a terminal the figures are updated in place. Elsewhere one plain line is printed every few
seconds, for logs.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from gatekeeper.simulate.evidence import Progress
from gatekeeper.simulate.verdict import Verdict

_LINE_EVERY_S = 5.0
_MAX_LINES = 20  # of violations, in the text
_MARKS = {True: "held", False: "BROKEN", None: "not judged"}

Render = Callable[[Progress], RenderableType]


class LiveReport:
    """A context manager that shows each `Progress` it is called with on `stream`."""

    def __init__(self, stream: TextIO, *, render: Render | None = None) -> None:
        self._console = Console(file=stream, highlight=False)
        self._render = render or figures
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._last_line_s = -_LINE_EVERY_S

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        if self._console.is_terminal:
            self._live.update(self._render(progress), refresh=True)
        elif progress.elapsed_s - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = progress.elapsed_s
            self._console.print(line(progress), soft_wrap=True, markup=False)


def line(progress: Progress) -> str:
    """One line for a log."""
    ahead = progress.starts_in_s
    starts = "" if ahead is None else f"{ahead:.0f} s until the start, "
    return (
        f"{progress.elapsed_s:.0f} s: {starts}"
        f"{progress.arrived} arrived, {progress.waiting} waiting, "
        f"{progress.admitted} admitted at {progress.rate_per_minute:.0f}/min, "
        f"{progress.inversions} inversions, {progress.failed} failed, "
        f"{progress.requests_per_s:.0f} requests/s"
    )


def figures(progress: Progress) -> Table:
    """The same figures as a table for a terminal."""
    table = Table.grid(padding=(0, 3))
    table.add_column(justify="right", style="bold", min_width=8)
    table.add_column(style="dim")
    for value, text in (
        (f"{progress.arrived:,}", "arrived"),
        (f"{progress.waiting:,}", "waiting"),
        (f"{progress.admitted:,}", "admitted"),
        (
            f"{progress.rate_per_minute:,.0f}",
            f"admissions/min, of {progress.reported_rate_per_minute:g}",
        ),
        (f"{progress.inversions:,}", "inversions"),
        (f"{progress.failed:,}", "requests failed"),
        (f"{progress.requests_per_s:,.0f}", "requests/s"),
        (f"{progress.elapsed_s:,.0f}", "seconds"),
    ):
        table.add_row(value, text)
    return table


def text_of(verdict: Verdict) -> str:
    """The verdict as text."""
    report = verdict.figures
    lines = [f"{_MARKS[each.held]:>10}  {each.name}: {each.detail}" for each in verdict.promises]
    lines += [f"{'PROBLEM':>10}  {problem}" for problem in verdict.problems]
    for each in verdict.violations[:_MAX_LINES]:
        lines.append(f"{each.at_s:>8.1f} s  visitor {each.visitor}: {each.what}")
    if (more := len(verdict.violations) - _MAX_LINES) > 0:
        lines.append(f"{'':>10}  and at least {more} more")
    lines.append("")
    lines.append(
        f"visitors: {report['arrived']:,} arrived, {report['admitted']:,} admitted "
        f"({report['admitted_at_once']:,} on arrival), {report['still_waiting']:,} still waiting "
        f"after {report['elapsed_s']:.1f} s"
    )
    if wait := report["wait_s"]:
        lines.append(f"wait: p50 {wait['p50']:.1f} s, p99 {wait['p99']:.1f} s")
    if error := report["eta_error_s"]:
        lines.append(
            f"admitted later than estimated: p50 {error['p50']:+.1f} s, p99 {error['p99']:+.1f} s, "
            f"min {error['min']:+.1f} s"
        )
    if delay := report["let_in_after_release_s"]:
        lines.append(
            f"release to admission near the front: p50 {delay['p50']:.2f} s, "
            f"p99 {delay['p99']:.2f} s, max {delay['max']:.2f} s"
        )
    if polls := report["polls_per_visitor"]:
        lines.append(
            f"polls per waiting visitor: {polls['mean']:.1f}, "
            f"{polls['at_a_fixed_5_s']:.1f} at a fixed interval of 5 s"
        )
    lines.append(
        f"requests: {report['requests']:,} at {report['requests_per_s']:.0f}/s, response time "
        f"{_p99(report['response_s'])}"
    )
    lines.append(
        f"the crowd sent late by {_p99(report['crowd_late_s'])}; waits and delays exclude this"
    )
    if report["failures"]:
        failures = ", ".join(f"{count} × {name}" for name, count in report["failures"].items())
        lines.append(f"failed requests: {failures}")
    lines.append("OK: every tested promise held" if verdict.ok else "NOT OK")
    return "\n".join(lines)


def _p99(spread_s: dict[str, float] | None) -> str:
    if spread_s is None:
        return "an unknown time (too few requests)"
    return f"p99 {spread_s['p99'] * 1000:.0f} ms"
