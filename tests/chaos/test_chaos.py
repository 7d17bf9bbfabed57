"""A short chaos run. `make chaos` is the long one; `make chaos-faults` shows that it can fail."""

from dataclasses import replace
from pathlib import Path

import pytest

import gatekeeper
from gatekeeper.simulate.event_watch import NOT_LISTED
from gatekeeper.simulate.evidence import Promise, Violation
from gatekeeper.simulate.observer import (
    FORGED_VISIT_ADMITTED,
    SPENT_TICKET_ACCEPTED,
    Observer,
)
from gatekeeper.simulate.opening_promises import DRAW, EARLY, PROMPT
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.pressure_promises import FLOODS, LURKERS, THROUGHPUT, WAITS
from gatekeeper.simulate.pressure_record import LURKER_AHEAD, WAITED_LONGER
from gatekeeper.simulate.verdict import (
    FORGED_TOKENS,
    MAX_ACTIVE,
    RELEASE_DELAY,
    Verdict,
    verdict_of,
)
from tests.chaos.allowances import (
    AppliedDisruption,
    Hold,
    with_allowances,
    without_allowed_replays,
)
from tests.chaos.disruption_times import (
    OPENING_AT,
    QUIET_AFTER,
    TRACKS,
    DisruptionKind,
    disruption_at_opening,
    schedule,
)
from tests.chaos.faults import FAULTS, RELEASED_WHILE_HELD, apply_fault
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
    promises = {promise.name for promise in empty_verdict().promises} | {EARLY}
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


def verdict_with(*violations: Violation, name: str = FORGED_TOKENS, **figures: float) -> Verdict:
    """A verdict whose only broken promise is `name`."""
    empty, broken = empty_verdict(), Promise(name, False, "as the test says")
    return replace(
        empty,
        promises=(broken,),
        problems=(),
        violations=violations,
        figures=empty.figures | figures,
    )


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


@pytest.mark.parametrize(("at_s", "is_ok"), [(5.9, False), (6.2, True), (6.6, False)])
def test_spent_ticket_is_allowed_while_an_event_is_on_its_way(at_s: float, is_ok: bool) -> None:
    verdict = verdict_with(Violation(at_s, 1, SPENT_TICKET_ACCEPTED))

    assert with_allowances(verdict, [(DisruptionKind.STORE_FLUSHED, 6, 6)]).ok is is_ok


@pytest.mark.parametrize(
    ("violations", "is_ok"),
    [
        ((Violation(5, 1, LURKER_AHEAD), Violation(9, 2, LURKER_AHEAD)), True),
        ((Violation(3, 1, LURKER_AHEAD), Violation(9, 2, LURKER_AHEAD)), False),
    ],
    ids=["after the loss", "before"],
)
def test_lurker_is_forgotten_only_after_a_loss(
    violations: tuple[Violation, ...], is_ok: bool
) -> None:
    verdict = verdict_with(*violations, name=LURKERS)
    applied = [(DisruptionKind.STORE_PAUSED, 1, 2), (DisruptionKind.STORE_FLUSHED, 4, 4)]

    assert with_allowances(verdict, applied).ok is is_ok
    assert not with_allowances(verdict, applied[:1]).ok


@pytest.mark.parametrize(("at_s", "is_ok"), [(7, True), (5, False)])
def test_place_without_visitor_is_allowed_only_from_older_data(at_s: float, is_ok: bool) -> None:
    verdict = verdict_with(name=FLOODS, places_above_visitors_at_s=at_s)
    applied = [(DisruptionKind.STORE_FLUSHED, 1, 1), (DisruptionKind.STORE_KILLED, 6, 8)]

    assert with_allowances(verdict, applied).ok is is_ok
    assert not with_allowances(verdict, applied[:1]).ok


@pytest.mark.parametrize(
    ("at_s", "excess", "is_ok"), [(7, 1, True), (7, 2, True), (7, 3, False), (5, 1, False)]
)
def test_slot_above_limit_is_allowed_only_after_a_loss(
    at_s: float, excess: int, is_ok: bool
) -> None:
    """After a loss an admitted visitor is counted again. Three more slots would be the fault "three
    slots too many"."""
    verdict = verdict_with(name=MAX_ACTIVE, above_max_active_at_s=at_s, above_max_active=excess)
    applied = [(DisruptionKind.STORE_PAUSED, 1, 2), (DisruptionKind.STORE_FLUSHED, 6, 6)]

    assert with_allowances(verdict, applied).ok is is_ok
    assert not with_allowances(verdict, applied[:1]).ok


@pytest.mark.parametrize("name", [RELEASE_DELAY, WAITS, THROUGHPUT, PROMPT])
def test_pace_is_judged_only_without_disruptions(name: str) -> None:
    verdict = verdict_with(Violation(3, 1, WAITED_LONGER), name=name)
    allowed = with_allowances(verdict, [])

    assert not verdict.ok
    assert [each.held for each in allowed.promises] == [None]
    assert allowed.violations == ()


@pytest.mark.parametrize(
    ("detail", "is_ok"),
    [
        (f"participants: 2 visitors of the crowd {NOT_LISTED}", True),
        (f"participants: 2 visitors of the crowd {NOT_LISTED}; commitment: another", False),
    ],
    ids=["lost place", "another commitment"],
)
def test_participant_may_be_missing_only_after_a_loss(detail: str, is_ok: bool) -> None:
    verdict = replace(verdict_with(), promises=(Promise(DRAW, False, detail),))

    assert with_allowances(verdict, [(DisruptionKind.STORE_FLUSHED, 1, 1)]).ok is is_ok
    assert not with_allowances(verdict, [(DisruptionKind.STORE_PAUSED, 1, 2)]).ok


@pytest.mark.parametrize("seed", range(10))
def test_opening_is_disrupted_with_every_seed(seed: int) -> None:
    found = disruption_at_opening(seed, seconds=120)
    opening_s = OPENING_AT * 120
    planned = schedule(seed, seconds=120, gates=3)
    beside = [
        each
        for each in planned
        if each != found
        and any({each.kind, found.kind} <= set(track) for track in TRACKS)
        and each.at_s < found.until_s
        and found.at_s < each.until_s
    ]

    assert found in planned
    assert beside == []
    if found.kind in {DisruptionKind.STORE_PAUSED, DisruptionKind.EVENTS_PAUSED}:
        assert found.at_s < opening_s < found.until_s
    else:
        assert found.at_s < opening_s or found.at_s == opening_s + 1


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
    """If the count rises because a replica writes back after a loss, there was no release during
    the hold."""
    assert Hold(6, 10, released=10).is_broken(applied) is is_broken
    assert not Hold(6, 10, released=0).is_broken(applied)
