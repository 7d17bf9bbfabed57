"""A report as JSON, and its minutes as CSV.

Rules. Pure. One table of columns for both; `docs/reference/report.md` explains them. Times are RFC
3339 in UTC. A minute without figures is a row with only a time: null in JSON, empty in CSV. A CSV
cell that a spreadsheet would read as a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime

from gatekeeper.admin.autotune_status import steering_json
from gatekeeper.admin.report import Report
from gatekeeper.admin.report_figures import Peak, Span, origin_quantiles, wait_quantiles
from gatekeeper.admin.report_minutes import MINUTE_S, Minute

Cell = str | int | float | None

COLUMNS: dict[str, Callable[[Minute], Cell]] = {
    "phase": lambda m: m.phase or None,
    "arrived": lambda m: m.arrived,
    "released": lambda m: m.released,
    "admitted": lambda m: m.admitted,
    "left": lambda m: m.left,
    "no_shows": lambda m: m.no_shows,
    "queue": lambda m: m.queue,
    "queue_most": lambda m: m.queue_most,
    "active": lambda m: m.active,
    "rate": lambda m: m.rate if m.totals else None,
    "most_released": lambda m: m.most_released,
    "most_admitted": lambda m: m.most_admitted,
    "wait_told": lambda m: shown_wait_s(m),
    "wait_p50": lambda m: wait_quantiles([m]).p50,
    "wait_p90": lambda m: wait_quantiles([m]).p90,
    "wait_p99": lambda m: wait_quantiles([m]).p99,
    "waiting_pages": lambda m: m.waiting,
    "forwarded": lambda m: m.forwarded,
    "failed": lambda m: m.failed if m.forwarded is not None else None,
    "origin_p50": lambda m: origin_quantiles([m]).p50,
    "origin_p90": lambda m: origin_quantiles([m]).p90,
    "origin_p99": lambda m: origin_quantiles([m]).p99,
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def shown_wait_s(minute: Minute) -> float | None:
    """The average wait shown to newcomers, seconds; None: none was shown."""
    shown = [point.shown_wait_s for point in minute.points if point.shown_wait_s is not None]
    return round(sum(shown) / len(shown), 1) if shown else None


def csv_of(report: Report) -> bytes:
    """A row for every minute of the period, including gaps."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(["at", *COLUMNS])
    for at_s, minute in _rows(report):
        writer.writerow([rfc3339(at_s), *map(_csv_cell, _cells(minute).values())])
    return text.getvalue().encode("utf-8", "replace")


def json_of(report: Report) -> bytes:
    figures = report.figures
    event = report.event
    body = {
        "room": report.room,
        "event": event.name if event else None,
        "since": rfc3339(report.span.since_s),
        "until": rfc3339(report.span.until_s),
        "made_at": rfc3339(report.made_at_s),
        "warnings": list(report.warnings),
        "visitors": figures.counts._asdict(),
        "gaps": [_span_json(each) for each in figures.gaps],
        "in_gaps": figures.unobserved._asdict(),
        "queue_most": _most_json(figures.queue_most),
        "active_most": _most_json(figures.active_most),
        "most_released": _peak_json(figures.most_released),
        "most_admitted": _peak_json(figures.most_admitted),
        "waits": figures.waits._asdict(),
        "lanes": {lane: waits._asdict() for lane, waits in figures.lanes.items()},
        "estimate": figures.estimate._asdict(),
        "waiting_pages": figures.waiting_pages,
        "origin": {
            "forwarded": figures.forwarded,
            "latency": figures.origin._asdict(),
            "failures": figures.failures,
            "failed_share": figures.failed_share,
        },
        "autotune": [steering_json(each) for each in figures.steered],
        "events": [
            {
                "name": each.name,
                "prequeue": rfc3339(each.first_us / 1_000_000) if each.prequeue_us else None,
                "start": rfc3339(each.start_us / 1_000_000),
                "end": rfc3339(each.last_us / 1_000_000) if each.end_us else None,
                "order": each.order,
            }
            for each in report.events
        ],
        "draws": [each.json for each in report.draws],
        "operators": [entry.as_json() for entry in report.entries],
        "minutes": [{"at": rfc3339(at_s), **_cells(minute)} for at_s, minute in _rows(report)],
    }
    return json.dumps(body, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(int(at_s), UTC).isoformat().removesuffix("+00:00") + "Z"


def _cells(minute: Minute | None) -> dict[str, Cell]:
    return {name: column(minute) if minute else None for name, column in COLUMNS.items()}


def _rows(report: Report) -> list[tuple[int, Minute | None]]:
    by_time = {minute.at_s: minute for minute in report.minutes}
    times = range(report.span.since_s, report.span.until_s, MINUTE_S)
    return [(at_s, by_time.get(at_s)) for at_s in times]


def _csv_cell(value: Cell) -> Cell:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def _span_json(span: Span) -> dict[str, str]:
    return {"since": rfc3339(span.since_s), "until": rfc3339(span.until_s)}


def _most_json(most: tuple[int, int] | None) -> dict[str, object] | None:
    return None if most is None else {"count": most[0], "at": rfc3339(most[1])}


def _peak_json(peak: Peak | None) -> dict[str, object] | None:
    return (
        None
        if peak is None
        else {"count": peak.most, "at": rfc3339(peak.at_s), "allowed": peak.allowed}
    )
