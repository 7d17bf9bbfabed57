"""Draws a run as SVG: visitors arrived, waiting and admitted over time. Pure text, no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from xml.sax.saxutils import escape

from gatekeeper.simulate.evidence import Point
from gatekeeper.simulate.verdict import Verdict

_WIDTH, _HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 24, 72, 44
_TICKS = 5
_MAX_TICKS = 8
# Tick distances of the time axis; the smallest with at most `_MAX_TICKS` ticks is used.
_TIMES_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21_600, 86_400)
_STYLE = """
svg { color-scheme: light dark; background: #fff; }
text { font: 13px system-ui, sans-serif; fill: #3b4540; }
.title { font-size: 17px; font-weight: 600; }
.grid { stroke: #e1e6e2; }
.arrived, .admitted, .allowed { fill: none; stroke-width: 2; }
.arrived { stroke: #2a6fb0; } .admitted { stroke: #1f7a5c; }
.allowed { stroke: #9a4a12; stroke-dasharray: 5 4; stroke-width: 1.5; }
.waiting { fill: #d9a33c; fill-opacity: .35; stroke: #b9801a; }
@media (prefers-color-scheme: dark) {
  svg { background: #131917; } text { fill: #c5d0ca; } .grid { stroke: #2b3532; }
  .arrived { stroke: #7db7ee; } .admitted { stroke: #7fd6b8; } .allowed { stroke: #f0b07a; }
}
"""


def svg_of(verdict: Verdict, *, title: str) -> str:
    """The curves of a run; rate and burst are a dashed line."""
    points: Sequence[Point] = verdict.curve or (Point(0, 0, 0, 0),)
    end_s = max(points[-1].at_s, 1.0)
    top = _round_up(max(point.arrived for point in points) or 1)

    def x(at_s: float) -> float:
        return _LEFT + at_s / end_s * (_WIDTH - _LEFT - _RIGHT)

    def y(count: float) -> float:
        return _HEIGHT - _BOTTOM - min(count / top, 1) * (_HEIGHT - _TOP - _BOTTOM)

    def path(value: Callable[[Point], float]) -> str:
        return "M" + "L".join(f"{x(each.at_s):.1f} {y(value(each)):.1f}" for each in points)

    waiting = path(lambda each: each.waiting)
    area = f"{waiting}L{x(points[-1].at_s):.1f} {y(0):.1f}L{x(points[0].at_s):.1f} {y(0):.1f}Z"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<text class="title" x="{_LEFT}" y="26">{escape(title)}</text>',
            *_grid(x, y, end_s=end_s, top=top),
            f'<path class="waiting" d="{area}"/>',
            f'<path class="arrived" d="{path(lambda each: each.arrived)}"/>',
            f'<path class="admitted" d="{path(lambda each: each.admitted)}"/>',
            *_allowed(x, y, verdict, end_s=end_s, top=top),
            *_legend(),
            "</svg>\n",
        ]
    )


def _grid(
    x: Callable[[float], float], y: Callable[[float], float], *, end_s: float, top: int
) -> Iterable[str]:
    for step in range(_TICKS + 1):
        count = top * step / _TICKS
        yield (
            f'<path class="grid" d="M{_LEFT} {y(count):.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 8}" y="{y(count) + 4:.1f}" text-anchor="end">{count:,.0f}</text>'
        )
    turned = f"translate(14 {y(top / 2):.0f}) rotate(-90)"
    yield f'<text transform="{turned}" text-anchor="middle">visitors</text>'
    every_s = next((each for each in _TIMES_S if end_s / each <= _MAX_TICKS), _TIMES_S[-1])
    for step in range(int(end_s / every_s) + 1):
        at_s = step * every_s
        yield (
            f'<path class="grid" d="M{x(at_s):.1f} {y(0):.1f}v5"/>'
            f'<text x="{x(at_s):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">'
            f"{_time(at_s, unit_s=every_s)}</text>"
        )


def _allowed(
    x: Callable[[float], float],
    y: Callable[[float], float],
    verdict: Verdict,
    *,
    end_s: float,
    top: int,
) -> Iterable[str]:
    """The line of burst plus rate, cut at the edge of the chart."""
    rate_per_s = verdict.rate_per_minute / 60
    until_s = min(end_s, (top - verdict.burst) / rate_per_s) if rate_per_s else end_s
    if until_s > 0:
        most = verdict.burst + rate_per_s * until_s
        line = f"M{x(0):.1f} {y(verdict.burst):.1f}L{x(until_s):.1f} {y(most):.1f}"
        yield f'<path class="allowed" d="{line}"/>'


def _legend() -> Iterable[str]:
    at = _LEFT
    for name, text in (
        ("arrived", "arrived"),
        ("waiting", "waiting"),
        ("admitted", "admitted"),
        ("allowed", "allowed by rate and burst"),
    ):
        yield (
            f'<path class="{name}" d="M{at} 48h24v{6 if name == "waiting" else 0}h-24z"/>'
            f'<text x="{at + 32}" y="53">{text}</text>'
        )
        at += 56 + 8 * len(text)


def _round_up(count: int) -> int:
    """The next number that divides evenly into ticks."""
    step = 10 ** max(int(math.log10(count)), 0) / 2
    return max(int(math.ceil(count / step) * step), _TICKS)


def _time(at_s: float, *, unit_s: float) -> str:
    """A label in the unit in which all ticks of `unit_s` are whole."""
    if unit_s < 60:
        return f"{at_s:g} s"
    return f"{at_s / 60:g} min" if unit_s < 3600 else f"{at_s / 3600:g} h"
