"""The charts of a report, and their columns.

Rules. Pure. A chart has at most `MAX_COLUMNS` columns; in a longer period a column is several
minutes: counts per minute show the mean, lengths of the line the maximum, quantiles those of all
observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from markupsafe import Markup

from gatekeeper.admin.report import Report
from gatekeeper.admin.report_figures import origin_quantiles, wait_quantiles
from gatekeeper.admin.report_minutes import MINUTE_S, Minute
from gatekeeper.admin.report_svg import Mark, Series, TimeAxis, chart
from gatekeeper.admin.report_tables import shown_wait_s

MAX_COLUMNS = 360
_MAX_MARKS = 200

Column = Sequence[Minute]  # its minutes; none in a gap
Values = list[float | None]


def charts_of(report: Report) -> Markup:
    """All charts of a report."""
    axis, columns = columns_of(report)

    def series(value: Callable[[Column], float | None]) -> Values:
        return [value(column) if column else None for column in columns]

    def per_minute(count: Callable[[Minute], float | None]) -> Values:
        return series(lambda column: _mean(map(count, column)))

    def highest(count: Callable[[Minute], float | None]) -> Values:
        return series(lambda column: max(_known(map(count, column)), default=None))

    def minutes(seconds: Values) -> Values:
        return [None if value is None else value / 60 for value in seconds]

    def milliseconds(seconds: Values) -> Values:
        return [None if value is None else value * 1000 for value in seconds]

    drawn = [
        chart(
            "Visitors",
            "per minute",
            axis,
            [
                Series("arrived", "1", per_minute(lambda m: m.arrived)),
                Series("admitted", "2", per_minute(lambda m: m.admitted)),
                Series("rate", "limit", highest(lambda m: m.rate if m.totals else None)),
            ],
        ),
        chart(
            "In line",
            "visitors",
            axis,
            [
                Series("in line", "1", highest(lambda m: m.queue_most), is_area=True),
                Series("active", "2", highest(lambda m: m.active)),
            ],
        ),
        chart(
            "Left and no-shows",
            "per minute",
            axis,
            [
                Series("left", "1", per_minute(lambda m: m.left)),
                Series("no-shows", "3", per_minute(lambda m: m.no_shows)),
            ],
        ),
        chart(
            "Wait of admitted visitors",
            "minutes",
            axis,
            [
                Series("p50", "1", minutes(series(lambda c: wait_quantiles(c).p50))),
                Series("p90", "2", minutes(series(lambda c: wait_quantiles(c).p90))),
                Series("p99", "3", minutes(series(lambda c: wait_quantiles(c).p99))),
                Series("shown to newcomers", "limit", minutes(per_minute(shown_wait_s))),
            ],
        ),
        chart(
            "Response time of the origin",
            "milliseconds",
            axis,
            [
                Series("p50", "1", milliseconds(series(lambda c: origin_quantiles(c).p50))),
                Series("p90", "2", milliseconds(series(lambda c: origin_quantiles(c).p90))),
                Series("p99", "3", milliseconds(series(lambda c: origin_quantiles(c).p99))),
            ],
        ),
        chart(
            "Requests to the origin",
            "per minute",
            axis,
            [
                Series("forwarded", "1", per_minute(lambda m: m.forwarded)),
                Series("failed", "3", per_minute(_failed)),
            ],
        ),
    ]
    return Markup("").join(drawn)


def columns_of(report: Report) -> tuple[TimeAxis, list[Column]]:
    """The axis of all charts, and the minutes of each of its columns."""
    since_s, until_s = report.span
    length = max(math.ceil((until_s - since_s) / MINUTE_S), 1)
    column_s = math.ceil(length / MAX_COLUMNS) * MINUTE_S
    starts = range(since_s, until_s, column_s)
    columns: list[list[Minute]] = [[] for _ in starts]
    for minute in report.minutes:
        columns[(minute.at_s - since_s) // column_s].append(minute)
    marks = [
        Mark(at_us / 1_000_000, "event")
        for event in report.events
        for at_us in (event.prequeue_us, event.start_us, event.end_us)
        if at_us is not None
    ]
    changes = [entry for entry in report.entries if entry.outcome == "done"][-_MAX_MARKS:]
    marks += [Mark(datetime.fromisoformat(each.at).timestamp(), "operator") for each in changes]
    axis = TimeAxis(report.span, list(starts), column_s, report.figures.gaps, marks)
    return axis, [tuple(column) for column in columns]


def _failed(minute: Minute) -> float | None:
    return None if minute.forwarded is None else minute.failed


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None
