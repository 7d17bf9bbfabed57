"""A short run; `make chaos` is the long one, and `make chaos-faults` shows that it can fail."""

from dataclasses import replace
from pathlib import Path

import pytest

import gatekeeper
from gatekeeper.simulate.observer import FORGED_PASSES, SPENT_COUNTS, Violation, Witness
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.verdict import NO_LIE_COUNTS, Promise, Verdict, verdict_of
from tests.chaos.faults import FAULTS, MOVED_WHILE_HELD, changed
from tests.chaos.schedule import QUIET_AFTER, TRACKS, What, schedule
from tests.chaos.trial import Brought, Hold, forgiving, run


async def test_a_sale_in_which_much_goes_wrong_keeps_every_promise() -> None:
    result = await run(4, seconds=7, gates=2, workers=1, say=print)

    assert result.ok, (result.problems, result.verdict.promises, result.verdict.violations)
    assert result.verdict.figures["admitted"] > 20


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_is_one_course_of_trouble_with_a_quiet_end(seed: int) -> None:
    troubles = schedule(seed, seconds=120, gates=3)

    assert troubles == schedule(seed, seconds=120, gates=3)
    assert troubles != schedule(seed + 1, seconds=120, gates=3)
    assert {trouble.what for trouble in troubles} == {what for track in TRACKS for what in track}
    assert all(trouble.at_s + trouble.lasts_s <= QUIET_AFTER * 120 for trouble in troubles)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_finds_its_line_in_the_gate(name: str) -> None:
    fault = FAULTS[name]
    text = (Path(gatekeeper.__file__).parent / fault.file).read_text()

    assert changed(text, fault) != text
    promises = {promise.name for promise in nothing_seen().promises}
    assert fault.breaks in promises | {MOVED_WHILE_HELD}


def nothing_seen() -> Verdict:
    return verdict_of(Witness(), CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=1)


def lied_to(*violations: Violation) -> Verdict:
    verdict = nothing_seen()
    broken = Promise(NO_LIE_COUNTS, False, "so")
    return replace(verdict, promises=(broken,), problems=(), violations=violations)


@pytest.mark.parametrize(
    ("violations", "is_ok"),
    [
        ((Violation(5, 1, SPENT_COUNTS), Violation(6, 2, SPENT_COUNTS)), True),
        ((Violation(5, 1, SPENT_COUNTS), Violation(9, 2, SPENT_COUNTS)), False),
        ((Violation(5, 1, SPENT_COUNTS), Violation(5, 2, FORGED_PASSES)), False),
        ((), False),
    ],
    ids=["cut off", "later", "forged", "nothing known of it"],
)
def test_only_a_spent_ticket_shown_to_one_who_could_not_know_is_forgiven(
    violations: tuple[Violation, ...], is_ok: bool
) -> None:
    assert forgiving(lied_to(*violations), deaf=[(4, 7)]).ok is is_ok


@pytest.mark.parametrize(
    ("brought", "is_broken"),
    [
        ([], True),
        ([(What.STORE_PAUSED, 5, 9)], True),
        ([(What.STORE_FLUSHED, 6, 6)], False),
        ([(What.STORE_FLUSHED, 2, 2)], True),
        ([(What.STORE_FLUSHED, 2, 2), (What.WORKER_PAUSED, 3, 5)], False),
        (
            [(What.STORE_FLUSHED, 2, 2), (What.STORE_PAUSED, 3, 4), (What.WORKER_PAUSED, 5, 9)],
            False,
        ),
        ([(What.STORE_FLUSHED, 11, 11)], True),
    ],
    ids=["no loss", "away", "lost", "made good", "paused", "away, then paused", "lost later"],
)
def test_a_count_that_a_loss_had_thrown_back_is_no_release_in_a_hold(
    brought: list[Brought], is_broken: bool
) -> None:
    assert Hold(6, 10, released=10).is_broken(brought) is is_broken
    assert not Hold(6, 10, released=0).is_broken(brought)
