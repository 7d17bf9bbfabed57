"""Draws a steered and a static rate next to each other as SVG. Pure text, no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 960, 560
_LEFT, _RIGHT = 80, 24
_RATES = (56, 276)  # top and bottom of each panel
_LATENCIES = (320, 516)
_MIN_S, _MAX_S = 0.1, 40.0
_EVERY_S = 60
_STYLE = """
svg { color-scheme: light dark; background: #fff; }
text { font: 13px system-ui, sans-serif; fill: #3b4540; }
.title { font-size: 17px; font-weight: 600; }
.grid { stroke: #e1e6e2; }
.steered, .static, .bound { fill: none; stroke-width: 2; }
.steered { stroke: #1f7a5c; } .static { stroke: #9a4a12; }
.bound { stroke: #2a6fb0; stroke-dasharray: 5 4; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  svg { background: #131917; } text { fill: #c5d0ca; } .grid { stroke: #2b3532; }
  .steered { stroke: #7fd6b8; } .static { stroke: #f0b07a; } .bound { stroke: #7db7ee; }
}
"""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """The results of one gate: (second, admissions per minute) and (second, p95 latency in
    seconds)."""

    rates: Points
    latencies_s: Points


def svg_of(curves: Sequence[Curve], *, capacities: Sequence[float], target_s: float) -> str:
    """The steered and the static curve; `capacities` of phases of equal length are dashed."""
    end_s = max(at_s for curve in curves for at_s, _ in curve.latencies_s)
    most = max(rate for curve in curves for _, rate in curve.rates) * 1.1
    phase_s = end_s / len(capacities)

    def x(at_s: float) -> float:
        return _LEFT + at_s / end_s * (_WIDTH - _LEFT - _RIGHT)

    def rate_y(rate: float) -> float:
        top, bottom = _RATES
        return bottom - rate / most * (bottom - top)

    def latency_y(latency_s: float) -> float:
        top, bottom = _LATENCIES
        share = math.log(max(latency_s, _MIN_S) / _MIN_S) / math.log(_MAX_S / _MIN_S)
        return bottom - min(share, 1) * (bottom - top)

    def path(points: Points, y: Callable[[float], float]) -> str:
        return "M" + "L".join(f"{x(at_s):.1f} {y(value):.1f}" for at_s, value in points)

    steps = [
        (number * phase_s + offset, capacity)
        for number, capacity in enumerate(capacities)
        for offset in (0.0, phase_s)
    ]
    classes = ("steered", "static")
    title = "Steered by the origin, and a constant rate a third too high"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            f'<text class="title" x="{_LEFT}" y="26">{title}</text>',
            *_grid(rate_y, [most * part / 4 for part in range(5)], "{:,.0f}"),
            *_grid(latency_y, [0.1, 1.0, 10.0], "{:g} s"),
            *_times(x, end_s),
            f'<path class="bound" d="{path(steps, rate_y)}"/>',
            f'<path class="bound" d="{path([(0, target_s), (end_s, target_s)], latency_y)}"/>',
            *(
                f'<path class="{name}" d="{path(points, y)}"/>'
                for name, curve in zip(classes, curves, strict=True)
                for points, y in ((curve.rates, rate_y), (curve.latencies_s, latency_y))
            ),
            *_legend(),
            "</svg>\n",
        ]
    )


def _grid(y: Callable[[float], float], values: Sequence[float], form: str) -> Iterable[str]:
    for value in values:
        yield (
            f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">'
            f"{form.format(value)}</text>"
        )


def _times(x: Callable[[float], float], end_s: float) -> Iterable[str]:
    for at_s in range(0, int(end_s) + 1, _EVERY_S):
        yield (
            f'<text x="{x(at_s):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">'
            f"{at_s // 60} min</text>"
        )


def _legend() -> Iterable[str]:
    at = _LEFT
    for name, text in (
        ("steered", "autotune"),
        ("static", "constant rate"),
        ("bound", "what the origin can serve (above), target (below)"),
    ):
        yield f'<path class="{name}" d="M{at} 44h22"/><text x="{at + 28}" y="48">{text}</text>'
        at += 60 + 7 * len(text)
    for y, text in ((_RATES[0], "admissions/min"), (_LATENCIES[0], "p95")):
        turned = f"translate(14 {y + 100}) rotate(-90)"
        yield f'<text transform="{turned}" text-anchor="middle">{text}</text>'
