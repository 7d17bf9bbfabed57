"""The report as a file: well-formed, escaped, without script; its tables; its charts."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.admin.audit import Entry
from gatekeeper.admin.report import Report, parse_report_time_s, period_of
from gatekeeper.admin.report_charts import MAX_COLUMNS, columns_of
from gatekeeper.admin.report_figures import Span
from gatekeeper.admin.report_minutes import Minute
from gatekeeper.admin.report_page import content_policy, page_of
from gatekeeper.admin.report_svg import Series, TimeAxis, chart, round_up
from gatekeeper.admin.report_tables import COLUMNS, csv_of, json_of
from gatekeeper.policy.draw_record import RecordBeacon, record_of
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from tests.profiles import examples
from tests.unit.admin.report_samples import START_S, line, minutes_of, report_on

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>",
    "</svg><b>",
    "' onload='x",
    "&lt;b&gt; &amp;",
    "{0} {} %s {{ }}",
    "<!-- ",
    "]]>",
    "javascript:alert(1)",
]
VOID = {"meta", "br", "img", "link", "input"}


class Balance(HTMLParser):
    """Raises for an element that is not closed in order; collects names and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(body: bytes) -> Balance:
    parser = Balance()
    parser.feed(body.decode())
    parser.close()
    assert parser.open == []
    return parser


def event(name: str = "sale", **more: Any) -> Event:
    return Event(
        name,
        start_us=(START_S + 120) * 1_000_000,
        announced_us=1,
        prequeue_us=START_S * 1_000_000,
        **more,
    )


def report_with(text: str) -> Report:
    """A report with this text in every field that another person can set."""
    poisoned = event(
        text,
        settings={"message": text},
        beacon=text,
        commitment=text,
        drawn=Drawn("ab" * 32, 7, "cd" * 32, text),
    )
    record = replace(
        record_of(poisoned, room=text, is_complete=True, participants=3, note=text),
        beacon=RecordBeacon(text, 7, "cd" * 32),
    )
    entry = Entry(
        "2026-12-01T10:01:00Z", text, text, text, room=text, before=text, after=text, visitor=text
    )
    minutes = [
        replace(each, phase=text[:40], failures={text[:40]: 1}) for each in minutes_of(line(180))
    ]
    return report_on(
        minutes,
        room=text,
        event=poisoned,
        schedule=Schedule.of([poisoned]),
        draws=[record],
        entries=[replace(entry, note=text)],
        warnings=[text],
    )


@pytest.mark.parametrize("text", MARKUP)
def test_texts_of_others_add_no_markup(text: str) -> None:
    plain, shown = parsed(page_of(report_with("plain"))), parsed(page_of(report_with(text)))
    assert shown.elements == plain.elements
    assert [name for name, _ in shown.attributes] == [name for name, _ in plain.attributes]
    assert text in shown.text
    assert "script" not in shown.elements


@settings(max_examples=examples(20))
@given(st.text(st.characters(), min_size=1, max_size=40) | st.just("\ud800\0"))
def test_any_text_leaves_the_page_whole(text: str) -> None:
    report = report_with(text)
    assert parsed(page_of(report)).elements == parsed(page_of(report_with("x"))).elements
    assert json.loads(json_of(report))["room"]
    assert csv_of(report).count(b"\r\n") >= 4


def test_page_needs_no_other_file_and_no_script() -> None:
    page = parsed(page_of(report_with("plain")))
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.elements)
    names = {name for name, _ in page.attributes}
    assert not {"style", "src", "href"} & names
    assert not any(name.startswith("on") for name in names)
    assert content_policy() in [value for _, value in page.attributes]
    assert content_policy().startswith("default-src 'none'; style-src 'sha256-")


def test_policy_matches_the_style_of_the_page() -> None:
    from base64 import b64encode
    from hashlib import sha256

    body = page_of(report_with("plain")).decode()
    style = body[body.index("<style>") + 7 : body.index("</style>")]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in content_policy()
    assert "@page" in style
    assert "prefers-color-scheme: dark" in style


def test_charts_are_well_formed_with_a_label() -> None:
    body = page_of(report_with("<b>&\"'")).decode()
    charts = re.findall(r'<svg class="chart".*?</svg>', body, re.DOTALL)
    assert len(charts) == 6
    for each in charts:
        root = ElementTree.fromstring(each)
        assert root.get("role") == "img"
        assert root.get("aria-label")


# Charts


def test_unknown_values_break_the_line_and_zeros_do_not() -> None:
    axis = TimeAxis(Span(0, 300), [0, 60, 120, 180, 240], 60)
    broken = str(chart("t", "u", axis, [Series("s", "1", [1.0, 2.0, None, 3.0, 4.0])]))
    whole = str(chart("t", "u", axis, [Series("s", "1", [1.0, 2.0, 0.0, 3.0, 4.0])]))
    runs = [
        re.findall(r'class="look1" d="(M\d+\.\d[^"]*)"', each)[0].count("M")
        for each in (broken, whole)
    ]
    assert runs == [2, 1]


def test_gap_is_shaded_where_it_is() -> None:
    minutes = minutes_of(line(600))
    body = page_of(report_on([*minutes[:3], *minutes[5:]])).decode()
    assert body.count('class="gap"') == 6
    assert 'class="gap"' not in page_of(report_on(minutes)).decode()
    assert "No figures for 2026-12-01 10:03 to 2026-12-01 10:05" in body


def test_growth_in_gaps_is_kept_apart() -> None:
    minutes = minutes_of(line(600))
    body = page_of(report_on([*minutes[:3], *minutes[5:]])).decode()
    assert "240 visitors arrived, 120 were admitted, and 0 left or did not come" in body


@given(st.integers(1, 8 * 1440))
def test_a_chart_has_a_bounded_number_of_columns(length: int) -> None:
    minutes = [Minute(START_S, totals=(0,) * 4), Minute(START_S + 60 * (length - 1))]
    axis, columns = columns_of(report_on(minutes, seconds=60 * length))
    assert len(columns) == len(axis.starts_s) <= MAX_COLUMNS
    assert sum(map(len, columns)) == 2
    assert axis.column_s % 60 == 0


@given(st.floats(0, 1e12))
def test_top_of_a_chart_is_round_and_high_enough(value: float) -> None:
    top = round_up(value)
    assert top >= value * (1 - 1e-9)
    assert value < 1e-6 or top <= value * 2.01
    assert math.isfinite(top)


def test_chart_without_any_value_is_drawn() -> None:
    axis = TimeAxis(Span(0, 0), [], 60)
    assert "<svg" in chart("t", "u", axis, [Series("s", "1", [])])


# Tables


def test_csv_has_a_row_for_every_minute_and_gaps_are_empty() -> None:
    minutes = minutes_of(line(300))
    rows = list(csv.reader(io.StringIO(csv_of(report_on([*minutes[:2], *minutes[3:]])).decode())))
    assert rows[0] == ["at", *COLUMNS]
    assert [row[0] for row in rows[1:]] == [f"2026-12-01T10:0{minute}:00Z" for minute in range(5)]
    assert set(rows[3][1:]) == {""}
    assert rows[2][rows[0].index("arrived")] == "120"
    assert rows[2][rows[0].index("left")] == "0"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "=cmd|' /C calc'!A0"])
def test_csv_holds_no_formula(text: str) -> None:
    minutes = [replace(each, phase=text) for each in minutes_of(line(60))]
    rows = list(csv.reader(io.StringIO(csv_of(report_on(minutes)).decode(), newline="")))
    assert rows[1][1] == "'" + text


def test_json_has_the_figures_and_every_minute() -> None:
    body = json.loads(json_of(report_with("<b>")))
    assert body["room"] == body["event"] == "<b>"
    assert (body["since"], body["until"]) == ("2026-12-01T10:00:00Z", "2026-12-01T10:03:00Z")
    assert body["visitors"]["arrived"] == 358
    assert [each["at"][-6:] for each in body["minutes"]] == ["00:00Z", "01:00Z", "02:00Z"]
    assert list(body["minutes"][0]) == ["at", *COLUMNS]
    assert body["operators"][0]["who"] == "<b>"
    assert body["draws"][0]["participants"] == 3
    assert body["events"][0]["start"] == "2026-12-01T10:02:00Z"


# Periods


NOW_S = START_S + 7200.5


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("", "", (START_S + 7200 - 86_400, START_S + 7201)),
        ("2h", "", (START_S, START_S + 7201)),
        ("2026-12-01T11:00:00+01:00", "", (START_S, START_S + 7201)),
        ("2026-12-01T10:00:59Z", "1h", (START_S, START_S + 3600)),
        ("", "2026-12-01T10:10:00Z", (START_S + 600 - 86_400, START_S + 600)),
        ("1h", "2027-01-01T00:00:00Z", (START_S + 3600, START_S + 7201)),
    ],
)
def test_periods(since: str, until: str, expected: tuple[int, int]) -> None:
    assert period_of(since, until, event=None, now_s=NOW_S) == (expected, [])


def test_period_of_an_event_is_its_own() -> None:
    ended = event(end_us=(START_S + 3600) * 1_000_000)
    assert period_of("", "", event=ended, now_s=NOW_S)[0] == (START_S, START_S + 3600)
    running = event()
    assert period_of("", "", event=running, now_s=NOW_S)[0] == (START_S, START_S + 7201)
    assert period_of("1h", "", event=running, now_s=NOW_S)[0] == (START_S + 3600, START_S + 7201)


@pytest.mark.parametrize(
    ("since", "until", "problem"),
    [
        ("yesterday", "", 'since: "yesterday" is not a time; expected e.g.'),
        ("", "-1h", 'until: "-1h" is not a time'),
        ("2026-12-01T10:00:00", "", "since: "),  # no offset
        ("1e9", "", "since: "),
        ("1h", "2h", "since: not before the end of the period"),
        ("2026-12-01T13:00:00Z", "", "since: not before the end of the period"),
        ("20d", "10d", "until: figures are kept for 7 days"),
        ("9" * 400 + "s", "", "since: "),
    ],
)
def test_period_that_is_none_is_refused(since: str, until: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        period_of(since, until, event=None, now_s=NOW_S)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_event_that_is_ahead_has_no_report() -> None:
    with pytest.raises(ValueError, match="event: sale begins at 2026-12-01T10:00:00Z"):
        period_of("", "", event=event(), now_s=START_S - 5)


def test_period_beyond_what_is_kept_is_cut_with_a_warning() -> None:
    span, [warning] = period_of("30d", "", event=None, now_s=NOW_S)
    assert span.since_s == START_S + 7200 - 7 * 86_400
    assert warning == "Figures are kept for 7 days: the beginning of the period is omitted."


@given(st.text(max_size=30))
def test_any_other_time_is_refused(text: str) -> None:
    problem = "expected"
    try:
        at_s = parse_report_time_s(text, now_s=NOW_S)
    except ValueError as error:
        problem = str(error)
    else:
        assert at_s <= NOW_S + 200 * 366 * 86_400
    assert "expected" in problem
