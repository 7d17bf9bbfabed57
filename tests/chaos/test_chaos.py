"""A short chaos run. `make chaos` is the long one; `make chaos-faults` shows that it can fail."""

from dataclasses import replace
from pathlib import Path

import pytest

import gatekeeper
from gatekeeper.simulate.observer import (
    FORGED_VISIT_ADMITTED,
    SPENT_TICKET_ACCEPTED,
    Observer,
    Violation,
)
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.verdict import FORGED_TOKENS, Promise, Verdict, verdict_of
from tests.chaos.allowances import AppliedDisruption, Hold, without_allowed_replays
from tests.chaos.faults import FAULTS, RELEASED_WHILE_HELD, apply_fault
from tests.chaos.schedule import QUIET_AFTER, TRACKS, DisruptionKind, schedule
from tests.chaos.trial import run


async def test_sale_under_disruption_keeps_every_promise() -> None:
    result = await run(4, seconds=7, gates=2, workers=1, log=print)

    assert result.ok, (result.problems, result.verdict.promises, result.verdict.violations)
    assert result.verdict.figures["admitted"] > 20


@pytest.mark.parametrize("seed", range(20))
def test_schedule_depends_on_seed_and_ends_quiet(seed: int) -> None:
    disruptions = schedule(seed, seconds=120, gates=3)

    assert disruptions == schedule(seed, seconds=120, gates=3)
    assert disruptions != schedule(seed + 1, seconds=120, gates=3)
    assert {each.kind for each in disruptions} == {kind for track in TRACKS for kind in track}
    assert all(each.at_s + each.duration_s <= QUIET_AFTER * 120 for each in disruptions)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_changes_a_line_of_the_gate(name: str) -> None:
    fault = FAULTS[name]
    text = (Path(gatekeeper.__file__).parent / fault.file).read_text()

    assert apply_fault(text, fault) != text
    promises = {promise.name for promise in empty_verdict().promises}
    assert fault.breaks in promises | {RELEASED_WHILE_HELD}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_by_its_own_promise_only(name: str) -> None:
    fault = FAULTS[name]
    is_hold = fault.breaks == RELEASED_WHILE_HELD
    problem = f"3 visitors {RELEASED_WHILE_HELD}"

    assert fault.is_found(broken=[fault.breaks], problems=(problem,))
    assert fault.is_found(broken=[], problems=(problem,)) is is_hold
    assert not fault.is_found(broken=["places"], problems=("order, rate and watermark",))


def empty_verdict() -> Verdict:
    return verdict_of(Observer(), CrowdPlan(("http://127.0.0.1:1",)), problems=[], elapsed_s=1)


def verdict_with(*violations: Violation) -> Verdict:
    """A verdict whose only broken promise is that of forged tokens."""
    broken = Promise(FORGED_TOKENS, False, "accepted")
    return replace(empty_verdict(), promises=(broken,), problems=(), violations=violations)


@pytest.mark.parametrize(
    ("violations", "is_ok"),
    [
        ((Violation(5, 1, SPENT_TICKET_ACCEPTED), Violation(6, 2, SPENT_TICKET_ACCEPTED)), True),
        ((Violation(5, 1, SPENT_TICKET_ACCEPTED), Violation(9, 2, SPENT_TICKET_ACCEPTED)), False),
        ((Violation(5, 1, SPENT_TICKET_ACCEPTED), Violation(5, 2, FORGED_VISIT_ADMITTED)), False),
        ((), False),
    ],
    ids=["isolated", "later", "forged", "no violation recorded"],
)
def test_spent_ticket_at_isolated_replica_is_allowed(
    violations: tuple[Violation, ...], is_ok: bool
) -> None:
    verdict = without_allowed_replays(verdict_with(*violations), isolated=[(4, 7)])

    assert verdict.ok is is_ok


@pytest.mark.parametrize(
    ("applied", "is_broken"),
    [
        ([], True),
        ([(DisruptionKind.STORE_PAUSED, 5, 9)], True),
        ([(DisruptionKind.STORE_FLUSHED, 6, 6)], False),
        ([(DisruptionKind.STORE_FLUSHED, 2, 2)], True),
        ([(DisruptionKind.STORE_FLUSHED, 2, 2), (DisruptionKind.WORKER_PAUSED, 3, 5)], False),
        (
            [
                (DisruptionKind.STORE_FLUSHED, 2, 2),
                (DisruptionKind.STORE_PAUSED, 3, 4),
                (DisruptionKind.WORKER_PAUSED, 5, 9),
            ],
            False,
        ),
        ([(DisruptionKind.STORE_FLUSHED, 11, 11)], True),
    ],
    ids=[
        "no loss",
        "store unreachable",
        "loss",
        "loss written back",
        "loss, worker paused",
        "loss, store and worker paused",
        "loss after the hold",
    ],
)
def test_hold_with_rising_count_is_broken_unless_written_back(
    applied: list[AppliedDisruption], is_broken: bool
) -> None:
    """A count that rises because a loss is written back is not a release during the hold."""
    assert Hold(6, 10, released=10).is_broken(applied) is is_broken
    assert not Hold(6, 10, released=0).is_broken(applied)
