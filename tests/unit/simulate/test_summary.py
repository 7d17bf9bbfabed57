"""What people are told of a run, and its picture."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from io import StringIO

import pytest

from gatekeeper.simulate.gate_answer import Answer, Said
from gatekeeper.simulate.observer import Point, Progress, Violation, Witness
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.plot import svg_of
from gatekeeper.simulate.promptness import WITHIN_S
from gatekeeper.simulate.summary import LiveReport, text_of
from gatekeeper.simulate.verdict import PROMPT, Promise, Verdict, verdict_of
from gatekeeper.simulate.visitor import Ask, Kind, Visitor

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


@pytest.mark.parametrize(("the_gates_s", "kept"), [(WITHIN_S, True), (WITHIN_S + 0.001, False)])
def test_one_near_the_front_who_is_in_too_late_is_a_broken_promise(
    the_gates_s: float, kept: bool
) -> None:
    witness = Witness()
    witness.promptness.delays_s.extend([0.5, 9.0])
    witness.promptness.proven_s.extend([0.5, the_gates_s])
    verdict = verdict_of(witness, CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=1)

    promise = next(each for each in verdict.promises if each.name == PROMPT)
    assert promise.held is kept
    assert promise.detail.startswith(f"{int(not kept)} of 2 later")
    assert verdict.figures["let_in_after_release_s"]["max"] == 9
    assert verdict.figures["let_in_after_release_by_the_gate_s"]["max"] == the_gates_s


@pytest.mark.parametrize(
    ("second", "is_broken"), [(Said.THROUGH, True), (Said.FAILED, False)], ids=lambda value: value
)
def test_one_inside_is_turned_back_if_the_gate_had_heard_them_just_now(
    second: Said, is_broken: bool
) -> None:
    """A newcomer who is let in and then not heard of for long loses the slot, rightly."""
    witness = Witness()
    visitor = Visitor(1, Kind.PATIENT, browser=False, act_after=1, next=Ask.VISIT)
    for at_s, said in ((0, Said.THROUGH), (5, second), (6, Said.WAITING)):
        witness.heard(visitor, Answer(said), sent=None, began_s=at_s, now_s=at_s + 0.1)
    assert witness.turned_back == is_broken


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


@pytest.mark.parametrize(
    ("end_s", "times"),
    [
        (3.9, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s", "3.5 s"]),
        (78, ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s", "70 s"]),
        (1400, ["0 min", "5 min", "10 min", "15 min", "20 min"]),
        (5 * 3600, ["0 h", "1 h", "2 h", "3 h", "4 h", "5 h"]),
    ],
)
def test_the_times_below_the_picture_are_round(
    empty: Verdict, end_s: float, times: list[str]
) -> None:
    curve = (Point(0, 0, 0, 0), Point(end_s, 10, 5, 5))
    picture = ElementTree.fromstring(svg_of(replace(empty, curve=curve), title="run"))

    texts = [each.text or "" for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text.endswith((" s", " min", " h"))] == times


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
