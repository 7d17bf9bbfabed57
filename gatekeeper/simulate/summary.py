"""Tells people how a run goes and how it ended. On a terminal the figures stand still and change;
elsewhere there is a plain line every few seconds, for logs."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from gatekeeper.simulate.observer import Progress
from gatekeeper.simulate.verdict import Verdict

_LINE_EVERY_S = 5.0
_MOST_LINES = 20  # of violations
_MARKS = {True: "held", False: "BROKEN", None: "not judged"}

Render = Callable[[Progress], RenderableType]


class LiveReport:
    """Shows each `Progress` it is called with, on `stream`; a context."""

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
    return (
        f"{progress.elapsed_s:.0f} s: {progress.arrived} arrived, {progress.waiting} waiting, "
        f"{progress.admitted} admitted at {progress.rate_per_minute:.0f}/min, "
        f"{progress.inversions} out of order, {progress.failed} failed, "
        f"{progress.requests_per_s:.0f} requests/s"
    )


def figures(progress: Progress) -> Table:
    """The same as a table for a terminal."""
    table = Table.grid(padding=(0, 3))
    table.add_column(justify="right", style="bold", min_width=8)
    table.add_column(style="dim")
    for value, text in (
        (f"{progress.arrived:,}", "arrived"),
        (f"{progress.waiting:,}", "waiting"),
        (f"{progress.admitted:,}", "admitted"),
        (f"{progress.rate_per_minute:,.0f}", f"a minute, of {progress.told_rate_per_minute:g}"),
        (f"{progress.inversions:,}", "answers out of order"),
        (f"{progress.failed:,}", "requests failed"),
        (f"{progress.requests_per_s:,.0f}", "requests a second"),
        (f"{progress.elapsed_s:,.0f}", "seconds"),
    ):
        table.add_row(value, text)
    return table


def text_of(verdict: Verdict) -> str:
    """The verdict for people."""
    told = verdict.figures
    lines = [f"{_MARKS[each.held]:>10}  {each.name}: {each.detail}" for each in verdict.promises]
    lines += [f"{'PROBLEM':>10}  {problem}" for problem in verdict.problems]
    for each in verdict.violations[:_MOST_LINES]:
        lines.append(f"{each.at_s:>8.1f} s  visitor {each.visitor} {each.what}")
    if (more := len(verdict.violations) - _MOST_LINES) > 0:
        lines.append(f"{'':>10}  and {more} more, at least")
    lines.append("")
    lines.append(
        f"{told['arrived']} arrived, {told['admitted']} admitted ({told['admitted_at_once']} at "
        f"once), {told['still_waiting']} still waiting after {told['elapsed_s']:.1f} s"
    )
    if wait := told["wait_s"]:
        lines.append(f"waits: median {wait['p50']:.1f} s, 99 % within {wait['p99']:.1f} s")
    if error := told["eta_error_s"]:
        lines.append(
            f"let in later than first told: median {error['p50']:+.1f} s, 99 % within "
            f"{error['p99']:+.1f} s, the earliest {error['min']:+.1f} s"
        )
    if soon := told["let_in_after_release_s"]:
        lines.append(
            f"near the front, let in after the release: median {soon['p50']:.2f} s, 99 % within "
            f"{soon['p99']:.2f} s, the last {soon['max']:.2f} s"
        )
    if polls := told["polls_per_visitor"]:
        lines.append(
            f"asked: {polls['mean']:.1f} times by each who waited, "
            f"{polls['at_a_fixed_5_s']:.1f} times at a fixed 5 s"
        )
    lines.append(
        f"{told['requests']} requests at {told['requests_per_s']:.0f}/s, answered "
        f"{_within(told['answer_s'])}; the crowd asked late by {_within(told['crowd_late_s'])}, "
        "which waits and delays leave out"
    )
    if told["failures"]:
        failures = ", ".join(f"{count} × {name}" for name, count in told["failures"].items())
        lines.append(f"failed: {failures}")
    lines.append("ok: every promise that was tested held" if verdict.ok else "NOT OK")
    return "\n".join(lines)


def _within(spread_s: dict[str, float] | None) -> str:
    if spread_s is None:
        return "too few to measure"
    return f"at most {spread_s['p99'] * 1000:.0f} ms in 99 %"
