"""A report as one HTML file: it needs no script, no network and no other file, and prints on A4.

Rules. Pure. Every text is escaped by `markupsafe`: names and messages come from operators, and the
files from a folder that others may write. The Content-Security-Policy of the file allows only its
own style.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from gatekeeper.admin.audit import Entry
from gatekeeper.admin.autotune_status import reason_words
from gatekeeper.admin.report import Report
from gatekeeper.admin.report_charts import charts_of
from gatekeeper.admin.report_estimates import EstimateQuality
from gatekeeper.admin.report_figures import Peak, Quantiles, ReportFigures
from gatekeeper.admin.report_svg import number
from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.policy.schedule import Event
from gatekeeper.room.steering_record import SteeringStep

_UNKNOWN = "–"
_GAPS_NAMED = 10
_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{}</title>
<style>{}</style>
</head>
<body>
<header>
<h1>{}</h1>
<p>{}</p>
<p class="soft">{}</p>
</header>
<main>
{}
</main>
</body>
</html>
""")

Fact = tuple[str, str, str]  # a name, a value and a remark


@cache
def _style() -> str:
    return Path(__file__).with_name("report_style.css").read_text("utf-8")


@cache
def content_policy() -> str:
    """The Content-Security-Policy of the page."""
    digest = b64encode(sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def page_of(report: Report) -> bytes:
    """The HTML of a report."""
    name = f"{report.event.name} in {report.room}" if report.event else report.room
    since, until = _time(report.span.since_s), _time(report.span.until_s)
    sections = [
        *(Markup('<p class="warning">{}</p>').format(each) for each in _warnings(report)),
        _facts_section("Visitors", _visitor_facts(report.figures)),
        _facts_section("Waits", _wait_facts(report.figures)),
        _facts_section("Origin", _origin_facts(report.figures)),
        Markup(
            "<section><h2>Minute by minute</h2>\n"
            '<p class="soft">Shaded: no figures. Solid vertical lines: an event began, started or '
            "ended. Dotted ones: operators changed something.</p>\n{}</section>"
        ).format(charts_of(report)),
        *([_autotune_section(report.figures.steered)] if report.figures.steered else []),
        *([_events_section(report.events)] if report.events else []),
        *(_draw_section(each) for each in report.draws),
        _operators_section(report.entries),
    ]
    return _PAGE.format(
        content_policy(),
        f"Report: {name}",
        Markup(_style()),  # noqa: S704  a file of this package
        f"Report: {name}",
        f"{since} to {until} UTC",
        f"Made on {_time(report.made_at_s)} UTC by Gatekeeper. Times are of the store's clock.",
        Markup("\n").join(sections),
    ).encode("utf-8", "replace")


def _warnings(report: Report) -> Iterable[str]:
    yield from report.warnings
    gaps, between = report.figures.gaps, report.figures.unobserved
    if gaps:
        names = (f"{_time(gap.since_s)} to {_time(gap.until_s)}" for gap in gaps[:_GAPS_NAMED])
        more = f" and {len(gaps) - _GAPS_NAMED} more" if len(gaps) > _GAPS_NAMED else ""
        yield (
            f"No figures for {', '.join(names)}{more}: no gate was running, or the store was "
            "unreachable."
        )
    if any(between):
        yield (
            f"While no figures were kept, {number(between.arrived)} visitors arrived, "
            f"{number(between.admitted)} were admitted, and {number(between.left)} left or did not "
            "come, according to the totals before and after. No other figure includes them."
        )


def _visitor_facts(figures: ReportFigures) -> list[Fact]:
    counts = figures.counts
    return [
        ("Arrived", number(counts.arrived), ""),
        ("Admitted", number(counts.admitted), f"{number(counts.released)} released from the line"),
        ("Left", number(counts.left), "gave up the place, or stopped polling"),
        ("No-shows", number(counts.no_shows), "released, and did not come"),
        ("Longest line", *_most(figures.queue_most)),
        ("Most active", *_most(figures.active_most)),
        ("Most released in any minute", *_peak(figures.most_released)),
        ("Most admitted in any minute", *_peak(figures.most_admitted, is_claim=True)),
    ]


def _wait_facts(figures: ReportFigures) -> list[Fact]:
    facts = _quantile_facts("Wait", figures.waits, of="admitted")
    for lane, waits in figures.lanes.items():
        facts += [
            (
                f"Wait of {lane}, p50",
                _duration(waits.p50),
                f"of {number(waits.observations)} admitted; p90 {_duration(waits.p90)}",
            )
        ]
    return [*facts, *_estimate(figures.estimate)]


def _estimate(quality: EstimateQuality) -> list[Fact]:
    name = "Estimate on the page"
    if quality.within is None or quality.longer is None or quality.shorter is None:
        return [(name, _UNKNOWN, "no visitor was shown a wait")]
    longer, less = f"{quality.longer:.0%} waited longer", f"{quality.shorter:.0%} less"
    return [
        (
            name,
            f"{quality.within:.0%} right",
            f"of {number(quality.visitors)} visitors: in the range as shown; {longer}, {less}",
        ),
        (
            "Error of the estimate",
            _duration(quality.error_p50_s),
            f"p50; p90 {_duration(quality.error_p90_s)}",
        ),
    ]


def _origin_facts(figures: ReportFigures) -> list[Fact]:
    share = figures.failed_share
    causes = ", ".join(f"{number(n)} × {cause}" for cause, n in figures.failures.items())
    return [
        *_quantile_facts("Response time", figures.origin, of="responses"),
        ("Forwarded", number(figures.forwarded), "requests"),
        ("Failed", _UNKNOWN if share is None else f"{share:.2%}", causes or "none"),
        (
            "Waiting pages",
            number(figures.waiting_pages),
            "pages, and JSON for apps; no polls",
        ),
    ]


def _quantile_facts(name: str, quantiles: Quantiles, *, of: str) -> list[Fact]:
    return [
        (f"{name} p50", _duration(quantiles.p50), f"of {number(quantiles.observations)} {of}"),
        (f"{name} p90", _duration(quantiles.p90), ""),
        (f"{name} p99", _duration(quantiles.p99), ""),
    ]


def _most(most: tuple[int, int] | None) -> tuple[str, str]:
    return (_UNKNOWN, "") if most is None else (number(most[0]), _time(most[1]))


def _peak(peak: Peak | None, *, is_claim: bool = False) -> tuple[str, str]:
    if peak is None:
        return _UNKNOWN, ""
    if is_claim:  # releases of two minutes may be claimed in one
        return number(peak.most), f"some were released before; {_time(peak.at_s)}"
    allowed = "no limit"
    if peak.allowed is not None:
        allowed = f"rate and burst: {number(peak.allowed)}, and what no-shows gave back"
    return number(peak.most), f"{allowed}; {_time(peak.at_s)}"


def _facts_section(title: str, facts: Sequence[Fact]) -> Markup:
    rows = Markup("\n").join(
        Markup("<div><dt>{}</dt><dd>{}{}</dd></div>").format(
            name, value, Markup("<small>{}</small>").format(remark) if remark else ""
        )
        for name, value, remark in facts
    )
    return Markup('<section><h2>{}</h2>\n<dl class="facts">\n{}\n</dl></section>').format(
        title, rows
    )


def _autotune_section(steered: Sequence[SteeringStep]) -> Markup:
    """Consecutive changes for the same reason share a row."""
    rows = []
    for _, group in groupby(steered, key=lambda each: (each.reason, each.after > each.before)):
        first, *more = group
        last = more[-1] if more else first
        share = last.failed_share
        rows.append(
            (
                _time_us(first.at_us),
                _time_us(last.at_us) if more else "",
                str(1 + len(more)),
                f"{number(first.before)} to {number(last.after)}/min",
                reason_words(last.reason),
                _duration(last.latency_s),
                _UNKNOWN if share is None else f"{share:.2%}",
            )
        )
    columns = ("From", "To", "Changes", "Rate", "Because", "p95, at last", "Failed, at last")
    return _table_section("Changes of the rate by autotune", columns, rows)


def _events_section(events: Sequence[Event]) -> Markup:
    rows = [
        (
            event.name,
            _time_us(event.prequeue_us),
            _time_us(event.start_us),
            _time_us(event.end_us),
            "draw" if event.has_draw else "arrival",
            ", ".join(f"{key} = {value}" for key, value in event.settings.items()),
        )
        for event in events
    ]
    columns = ("Event", "Prequeue", "Start", "End", "Order", "Settings")
    return _table_section("Events", columns, rows)


def _draw_section(record: DrawRecord) -> Markup:
    beacon = record.beacon
    known = [
        ("State", record.state),
        ("Commitment", record.commitment),
        ("Secret", record.secret or "published at the start"),
        ("Beacon", beacon.url if beacon else "none"),
        ("Round", str(beacon.round) if beacon and beacon.round is not None else _UNKNOWN),
        ("Randomness", (beacon and beacon.randomness) or _UNKNOWN),
        ("Participants", _UNKNOWN if record.participants is None else str(record.participants)),
        ("Start, microseconds", str(record.start_us)),
        ("Span, microseconds", str(record.span_us)),
        ("Note", record.note or "none"),
    ]
    rows = Markup("\n").join(Markup("<dt>{}</dt><dd>{}</dd>").format(*each) for each in known)
    path = f"/.gatekeeper/draw/{record.event}"
    return Markup(
        "<section><h2>Draw of {}</h2>\n<p>The record and its participants: <code>{}</code> on the "
        "site; <code>gatekeeper verify-draw</code> recomputes them.</p>\n"
        '<dl class="record">\n{}\n</dl></section>'
    ).format(record.event, path, rows)


def _operators_section(entries: Sequence[Entry]) -> Markup:
    rows = [
        (_entry_time(each.at), each.who, each.room, _change(each), each.outcome, each.note)
        for each in entries
    ]
    columns = ("Time", "Operator", "Room", "Change", "Outcome", "Note")
    return _table_section("What operators did", columns, rows, empty="Nothing in this period.")


def _change(entry: Entry) -> str:
    before = f" from {entry.before!r}" if entry.before is not None else ""
    after = f" to {entry.after!r}" if entry.after is not None else ""
    visitor = f" of visitor {entry.visitor}" if entry.visitor else ""
    return f"{entry.what}{visitor}{before}{after}"


def _table_section(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = ""
) -> Markup:
    if not rows:
        return Markup("<section><h2>{}</h2>\n<p>{}</p></section>").format(title, empty)
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(each) for each in columns)
    body = Markup("\n").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row)
        )
        for row in rows
    )
    return Markup(
        '<section><h2>{}</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="{}">\n'
        "<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody></table></div></section>"
    ).format(title, title, head, body)


def _time(at_s: float) -> str:
    return f"{datetime.fromtimestamp(int(at_s), UTC):%Y-%m-%d %H:%M}"


def _time_us(at_us: int | None) -> str:
    if at_us is None:
        return _UNKNOWN
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def _entry_time(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float | None) -> str:
    """A duration for readers: 12 ms, 4.2 s, 3 min 20 s, 1 h 5 min."""
    if seconds is None:
        return _UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s" if rest_s else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
