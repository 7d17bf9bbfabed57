"""What people are told of a run, and its picture."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from io import StringIO

import pytest

from gatekeeper.demo.plan import CrowdPlan
from gatekeeper.demo.plot import svg_of
from gatekeeper.demo.report import LiveReport, text_of
from gatekeeper.demo.verdict import Promise, Verdict, verdict_of
from gatekeeper.demo.witness import Point, Progress, Violation, Witness

PROGRESS = Progress(
    elapsed_s=0,
    arrived=40,
    waiting=30,
    admitted=8,
    gone=2,
    failed=1,
    inversions=0,
    rate_per_minute=29.6,
    told_rate_per_minute=30,
    requests_per_s=12.3,
    room=None,
)


@pytest.fixture
def empty() -> Verdict:
    return verdict_of(Witness(), CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=1)


def test_a_log_gets_a_plain_line_every_few_seconds() -> None:
    stream = StringIO()
    with LiveReport(stream) as report:
        for elapsed_s in (0, 1, 4, 5, 9, 10):
            report(replace(PROGRESS, elapsed_s=elapsed_s))

    assert stream.getvalue().splitlines()[1] == (
        "5 s: 40 arrived, 30 waiting, 8 admitted at 30/min, 0 out of order, 1 failed, 12 requests/s"
    )
    assert [line.split()[0] for line in stream.getvalue().splitlines()] == ["0", "5", "10"]


def test_a_run_in_which_nobody_came_is_not_ok(empty: Verdict) -> None:
    assert not empty.ok
    assert empty.problems == ("nobody arrived",)
    assert all(each.held is None for each in empty.promises)


def test_one_broken_promise_is_enough(empty: Verdict) -> None:
    held, unknown, broken = (Promise("p", kept, "so") for kept in (True, None, False))

    assert replace(empty, problems=(), promises=(held, unknown)).ok
    assert not replace(empty, problems=(), promises=(held, unknown, broken)).ok


def test_the_text_names_every_promise_and_every_problem(empty: Verdict) -> None:
    text = text_of(empty)

    for promise in empty.promises:
        assert f"not judged  {promise.name}: {promise.detail}" in text
    assert "PROBLEM  nobody arrived" in text
    assert text.endswith("NOT OK")


def test_the_text_names_the_first_violations_one_by_one(empty: Verdict) -> None:
    violations = tuple(Violation(1.25, number, "lost the place") for number in range(22))
    text = text_of(replace(empty, violations=violations))

    assert "1.2 s  visitor 0 lost the place" in text
    assert "visitor 19 lost" in text
    assert "visitor 20 lost" not in text
    assert "and 2 more" in text


@pytest.mark.parametrize("rate_per_minute", [0, 30, 60_000])
@pytest.mark.parametrize(
    "curve", [(), (Point(0, 0, 0, 0),), (Point(0, 0, 0, 0), Point(7200, 12_345, 99, 9))], ids=len
)
def test_every_run_makes_a_picture_with_finite_numbers(
    empty: Verdict, curve: tuple[Point, ...], rate_per_minute: float
) -> None:
    verdict = replace(empty, curve=curve, rate_per_minute=rate_per_minute)
    picture = svg_of(verdict, title="<a run> & more")

    assert ElementTree.fromstring(picture).findtext("{*}title") == "<a run> & more"
    assert "nan" not in picture
    assert "inf" not in picture


def test_what_is_above_the_picture_is_cut_at_its_edge(empty: Verdict) -> None:
    curve = (Point(0, 0, 0, 0), Point(60, 10, 5, 5))
    picture = svg_of(replace(empty, curve=curve, rate_per_minute=6000), title="run")

    heights = [
        float(number)
        for path in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}path")
        if path.get("class") in {"came", "allowed"} and "h24" not in path.get("d", "")
        for point in path.get("d", "").replace("M", "L").split("L")[1:]
        for number in point.split()[1:]
    ]
    assert heights
    assert all(72 <= height <= 376 for height in heights)
