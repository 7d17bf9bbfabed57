"""The text and the SVG of a run."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from io import StringIO

import pytest

from gatekeeper.simulate.evidence import Point, Progress, Promise, Violation
from gatekeeper.simulate.gate_response import ObservedResponse, Outcome
from gatekeeper.simulate.observer import Observer
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.plot import svg_of
from gatekeeper.simulate.release_delays import MAX_RELEASE_DELAY_S
from gatekeeper.simulate.summary import LiveReport, text_of
from gatekeeper.simulate.verdict import RATE, RELEASE_DELAY, Verdict, verdict_of
from gatekeeper.simulate.visitor import Action, Visitor, VisitorKind

PROGRESS = Progress(
    elapsed_s=0,
    arrived=40,
    waiting=30,
    admitted=8,
    done=2,
    failed=1,
    inversions=0,
    rate_per_minute=29.6,
    reported_rate_per_minute=30,
    requests_per_s=12.3,
    room=None,
)


@pytest.fixture
def empty() -> Verdict:
    return verdict_of(Observer(), CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=1)


def test_live_report_log_prints_a_line_every_5_s() -> None:
    stream = StringIO()
    with LiveReport(stream) as report:
        for elapsed_s in (0, 1, 4, 5, 9, 10):
            report(replace(PROGRESS, elapsed_s=elapsed_s))

    assert stream.getvalue().splitlines()[1] == (
        "5 s: 40 arrived, 30 waiting, 8 admitted at 30/min, 0 inversions, 1 failed, 12 requests/s"
    )
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["0", "5", "10"]


def test_verdict_without_arrivals_is_not_ok(empty: Verdict) -> None:
    assert not empty.ok
    assert empty.problems == ("no visitor arrived",)
    assert all(each.held is None for each in empty.promises)


def test_verdict_one_broken_promise_is_not_ok(empty: Verdict) -> None:
    held, unknown, broken = (Promise("p", held, "so") for held in (True, None, False))

    assert replace(empty, problems=(), promises=(held, unknown)).ok
    assert not replace(empty, problems=(), promises=(held, unknown, broken)).ok


@pytest.mark.parametrize(("reported", "held"), [(None, None), (0.0, False), (600.0, True)])
def test_rate_is_judged_only_where_it_is_known(reported: float | None, held: bool | None) -> None:
    """A crowd that was admitted at once has not received a rate."""
    observer = Observer()
    observer.admitted_began_s.extend(range(15))
    observer.admitted_ended_s.extend(range(15))
    observer.reported_rate_per_minute = reported
    verdict = verdict_of(observer, CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=20)
    assert [each.held for each in verdict.promises if each.name == RATE] == [held]


@pytest.mark.parametrize(
    ("certain_s", "held"), [(MAX_RELEASE_DELAY_S, True), (MAX_RELEASE_DELAY_S + 0.001, False)]
)
def test_verdict_late_admission_near_front_breaks_promise(certain_s: float, held: bool) -> None:
    observer = Observer()
    observer.release_delays.delays_s.extend([0.5, 9.0])
    observer.release_delays.certain_s.extend([0.5, certain_s])
    verdict = verdict_of(observer, CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=1)

    promise = next(each for each in verdict.promises if each.name == RELEASE_DELAY)
    assert promise.held is held
    assert promise.detail.startswith(f"{int(not held)} of 2 visitors")
    assert verdict.figures["let_in_after_release_s"]["max"] == 9
    assert verdict.figures["gate_delay_after_release_s"]["max"] == certain_s


@pytest.mark.parametrize(
    ("second", "is_broken"),
    [(Outcome.FORWARDED, True), (Outcome.FAILED, False)],
    ids=lambda value: value,
)
def test_admitted_visitor_sent_back_after_recent_request_counts(
    second: Outcome, is_broken: bool
) -> None:
    """A newcomer who sends no request for long may lose the slot without a violation."""
    observer = Observer()
    visitor = Visitor(1, VisitorKind.PATIENT, browser=False, act_after=1, next_action=Action.VISIT)
    for at_s, outcome in ((0, Outcome.FORWARDED), (5, second), (6, Outcome.WAITING)):
        observer.response_received(
            visitor, ObservedResponse(outcome), sent=None, began_s=at_s, now_s=at_s + 0.1
        )
    assert observer.sent_back == is_broken


def test_text_lists_every_promise_and_problem(empty: Verdict) -> None:
    text = text_of(empty)

    for promise in empty.promises:
        assert f"not judged  {promise.name}: {promise.detail}" in text
    assert "PROBLEM  no visitor arrived" in text
    assert text.endswith("NOT OK")


def test_text_lists_first_violations(empty: Verdict) -> None:
    violations = tuple(Violation(1.25, number, "lost the place") for number in range(22))
    text = text_of(replace(empty, violations=violations))

    assert "1.2 s  visitor 0: lost the place" in text
    assert "visitor 19: lost" in text
    assert "visitor 20: lost" not in text
    assert "and at least 2 more" in text


@pytest.mark.parametrize("rate_per_minute", [0, 30, 60_000])
@pytest.mark.parametrize(
    "curve", [(), (Point(0, 0, 0, 0),), (Point(0, 0, 0, 0), Point(7200, 12_345, 99, 9))], ids=len
)
def test_svg_any_run_has_finite_numbers(
    empty: Verdict, curve: tuple[Point, ...], rate_per_minute: float
) -> None:
    verdict = replace(empty, curve=curve, rate_per_minute=rate_per_minute)
    svg = svg_of(verdict, title="<a run> & more")

    assert ElementTree.fromstring(svg).findtext("{*}title") == "<a run> & more"
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize(
    ("end_s", "times"),
    [
        (3.9, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s", "3.5 s"]),
        (78, ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s", "70 s"]),
        (1400, ["0 min", "5 min", "10 min", "15 min", "20 min"]),
        (5 * 3600, ["0 h", "1 h", "2 h", "3 h", "4 h", "5 h"]),
    ],
)
def test_svg_time_axis_has_round_labels(empty: Verdict, end_s: float, times: list[str]) -> None:
    curve = (Point(0, 0, 0, 0), Point(end_s, 10, 5, 5))
    svg = ElementTree.fromstring(svg_of(replace(empty, curve=curve), title="run"))

    texts = [each.text or "" for each in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text.endswith((" s", " min", " h"))] == times


def test_svg_curves_are_cut_at_the_edge(empty: Verdict) -> None:
    curve = (Point(0, 0, 0, 0), Point(60, 10, 5, 5))
    svg = svg_of(replace(empty, curve=curve, rate_per_minute=6000), title="run")

    heights = [
        float(number)
        for path in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
        if path.get("class") in {"arrived", "allowed"} and "h24" not in path.get("d", "")
        for point in path.get("d", "").replace("M", "L").split("L")[1:]
        for number in point.split()[1:]
    ]
    assert heights
    assert all(72 <= height <= 376 for height in heights)
