"""Charts of a report as SVG, without script. Pure text, escaped.

Rules. A line is broken where its value is unknown, and a gap is shaded: it looks different from
zero. Lines differ by dash pattern and by colour, for black-and-white prints. Colours are those of
the page (`report_style.css`); the drawing has no style of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from gatekeeper.admin.report_figures import Span

_WIDTH, _HEIGHT = 720, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 34
_GRID_LINES = 4
_MAX_TICKS = 8
_SMALLEST = 1e-6  # the smallest value that a chart distinguishes from 0
_KEY = Markup(
    '<span class="key"><svg viewBox="0 0 24 8" aria-hidden="true">'
    '<path class="look{}" d="M0 4H24"/></svg>{}</span>'
)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TICKS_S = (
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2)),
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name, its look (1 to 4, or "limit") and its value for each column."""

    name: str
    look: str
    values: Sequence[float | None]
    is_area: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on all charts: "event" or "operator"."""

    at_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The columns of a chart: their starts, and their common length."""

    span: Span
    starts_s: Sequence[int]
    column_s: int
    gaps: Sequence[Span] = ()
    marks: Sequence[Mark] = ()

    def x(self, at_s: float) -> float:
        length = max(self.span.until_s - self.span.since_s, 1)
        share = min(max((at_s - self.span.since_s) / length, 0.0), 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def chart(title: str, unit: str, axis: TimeAxis, series: Sequence[Series]) -> Markup:
    """A figure: title, legend and drawing."""
    known = [value for each in series for value in each.values if value is not None]
    top = round_up(max(known, default=0.0))
    keys = Markup("").join(_KEY.format(each.look, each.name) for each in series)
    highest = "; ".join(f"{each.name} at most {number(_highest(each))}" for each in series)
    return Markup(
        '<figure><figcaption><b>{}</b> <span class="soft">{}</span> {}</figcaption>\n'
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">\n{}\n</svg></figure>\n'
    ).format(
        title,
        unit,
        keys,
        _WIDTH,
        _HEIGHT,
        f"{title}, {unit}: {highest}",
        Markup("\n").join(_drawing(axis, series, top=top)),
    )


def _drawing(axis: TimeAxis, series: Sequence[Series], *, top: float) -> Iterable[Markup]:
    floor, height = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    for gap in axis.gaps:
        x = axis.x(gap.since_s)
        yield Markup('<rect class="gap" x="{}" y="{}" width="{}" height="{}"/>').format(
            x, _TOP, round(max(axis.x(gap.until_s) - x, 1), 1), height
        )
    for step in range(_GRID_LINES + 1):
        y = round(floor - height * step / _GRID_LINES, 1)
        yield Markup(
            '<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>'
        ).format(_LEFT, y, _WIDTH - _RIGHT, _LEFT - 6, y + 4, number(top * step / _GRID_LINES))
    yield from _ticks(axis)
    for mark in axis.marks:
        if axis.span.since_s <= mark.at_s <= axis.span.until_s:
            x = axis.x(mark.at_s)
            yield Markup('<path class="mark {}" d="M{} {}V{}"/>').format(mark.kind, x, _TOP, floor)
    for each in series:
        path = _path(axis, each.values, top=top)
        if each.is_area:
            area = _area(axis, each.values, top=top)
            yield Markup('<path class="area" d="{}"/>').format(area)
        yield Markup('<path class="look{}" d="{}"/>').format(each.look, path)


def _ticks(axis: TimeAxis) -> Iterable[Markup]:
    length = axis.span.until_s - axis.span.since_s
    every_s = next((each for each in _TICKS_S if length / each <= _MAX_TICKS), _TICKS_S[-1])
    first_s = math.ceil(axis.span.since_s / every_s) * every_s
    for at_s in range(first_s, axis.span.until_s, every_s):
        at = datetime.fromtimestamp(at_s, UTC)
        text = f"{at:%d %b}" if every_s >= _DAY or (at_s % _DAY == 0) else f"{at:%H:%M}"
        x = axis.x(at_s)
        yield Markup(
            '<path class="grid" d="M{} {}v5"/><text x="{}" y="{}" text-anchor="middle">{}</text>'
        ).format(x, _HEIGHT - _BOTTOM, x, _HEIGHT - _BOTTOM + 18, text)


def _runs(axis: TimeAxis, values: Sequence[float | None], *, top: float) -> list[list[str]]:
    """The points of the line, in runs without a gap."""
    floor, height = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    runs: list[list[str]] = [[]]
    for start_s, value in zip(axis.starts_s, values, strict=True):
        if value is None:
            runs.append([])
            continue
        x = axis.x(start_s + axis.column_s / 2)
        runs[-1].append(f"{x} {floor - height * min(value / top, 1):.1f}")
    return [run for run in runs if run]


def _path(axis: TimeAxis, values: Sequence[float | None], *, top: float) -> str:
    # A run of one point is a dot: a line of length zero with round caps.
    return "".join(f"M{run[0]}h0L{'L'.join(run)}" for run in _runs(axis, values, top=top))


def _area(axis: TimeAxis, values: Sequence[float | None], *, top: float) -> str:
    floor = _HEIGHT - _BOTTOM
    return "".join(
        f"M{run[0].split()[0]} {floor}L{'L'.join(run)}V{floor}Z"
        for run in _runs(axis, values, top=top)
    )


def round_up(value: float) -> float:
    """Round up to 1, 2, 4, 5, 8, 10, 20, …, so that grid lines have round values."""
    if value < _SMALLEST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(
        next(step * power for step in (1, 2, 4, 5, 8, 10) if value <= step * power * (1 + 1e-9))
    )


def number(value: float) -> str:
    """A number for readers: 12,000; 4.5; 0.02."""
    if value >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _highest(series: Series) -> float:
    return max((value for value in series.values if value is not None), default=0.0)
