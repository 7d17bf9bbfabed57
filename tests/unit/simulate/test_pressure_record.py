"""The verdict on records of a run: each promise about floods and lurkers can be broken."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.observer import Observer
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.pressure_promises import FLOODS, LURKERS, THROUGHPUT, WAITS
from gatekeeper.simulate.room_monitor import RoomFigures
from gatekeeper.simulate.token_claims import PASS, TICKET, Claims
from gatekeeper.simulate.verdict import ORDER, RATE, verdict_of
from gatekeeper.simulate.visitor import (
    Action,
    Visitor,
    VisitorKind,
    VisitorStage,
    apply_response,
    new_lurker,
)

PLAN = CrowdPlan(
    ("http://127.0.0.1:8080",),
    rate_per_minute=60,
    burst=1,
    claim_timeout_s=4,
    lurkers=1,
    shares=Shares(no_shows=0.1),
)
ROOM = RoomFigures(
    released_total=0,
    active=0,
    max_active=0,
    queue_length=0,
    rate_per_minute=60,
    watermark_us=0,
)


def waiting(position: int, *, turn_us: int, queue_length: int = 100) -> ObservedResponse:
    return ObservedResponse(
        Outcome.WAITING,
        token=Token("a.b.c"),
        claims=Claims(TICKET, "v", turn_us, turn_us),
        position=position,
        queue_length=queue_length,
        eta_s=position,
        poll_interval_s=2,
        rate_per_minute=60,
    )


@dataclass
class Run:
    """A record built step by step; responses come 0.1 s after their requests."""

    observer: Observer = field(default_factory=lambda: Observer(PLAN))
    late_s: float = 0.0

    def sends(self, visitor: Visitor, response: ObservedResponse, *, at_s: float) -> None:
        before, visitor.due_s = visitor.stage, at_s - self.late_s
        self.observer.progress(now_s=at_s)
        self.observer.request_began(visitor, now_s=at_s)
        self.observer.response_received(
            visitor, response, sent=visitor.token, began_s=at_s, now_s=at_s + 0.1
        )
        apply_response(visitor, response, plan=PLAN, random=Random(1))
        self.observer.stage_changed(visitor, before, now_s=at_s + 0.1)

    def arrives(self, visitor: Visitor, *, turn_us: int, at_s: float, position: int) -> None:
        """A newcomer who confirms a second later."""
        self.sends(visitor, waiting(position, turn_us=turn_us), at_s=at_s)
        self.sends(visitor, waiting(position, turn_us=turn_us), at_s=at_s + 1)

    def enters(self, visitor: Visitor, *, at_s: float) -> None:
        self.sends(visitor, ObservedResponse(Outcome.ADMITTED), at_s=at_s)

    def reports(self, *, at_s: float, **figures: Any) -> None:
        """A reading of the admin listener."""
        start = self.observer.before_sample(now_s=at_s)
        self.observer.add_sample(replace(ROOM, **figures), start=start, now_s=at_s)

    def held(self, name: str) -> bool | None:
        verdict = verdict_of(self.observer, PLAN, problems=[], elapsed_s=60)
        return next(each.held for each in verdict.promises if each.name == name)


def visitor(number: int = 1, kind: VisitorKind = VisitorKind.PATIENT) -> Visitor:
    return Visitor(number, kind, browser=True, act_after=9)


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.mark.parametrize(("still_waits_at_s", "held"), [(16, True), (17, False)])
def test_visitor_that_waits_longer_than_promised_breaks_waits(
    run: Run, still_waits_at_s: float, held: bool
) -> None:
    """Position 10 at 4 s and 60/min: released by 14 s."""
    ann = visitor()
    run.arrives(ann, turn_us=1000, at_s=0, position=10)
    run.sends(ann, waiting(10, turn_us=1000), at_s=4)
    for at_s in range(6, 16, 2):
        run.sends(ann, waiting(5, turn_us=1000), at_s=at_s)
    run.sends(ann, waiting(1, turn_us=1000), at_s=still_waits_at_s)

    assert run.held(WAITS) is held
    assert bool(run.observer.violations) is not held


@pytest.mark.parametrize("figures", [{"max_active": 1}, {"rate_per_minute": 0}], ids=str)
def test_waits_are_not_promised_while_the_line_stands(run: Run, figures: dict[str, int]) -> None:
    """The crowd occupies all slots, or the rate is zero."""
    inside, ann = visitor(2), visitor()
    run.sends(
        inside,
        ObservedResponse(
            Outcome.ADMITTED, token=Token("x.y.z"), claims=Claims(PASS, "w", 900, 900)
        ),
        at_s=0,
    )
    run.reports(at_s=0.5, **figures)
    run.arrives(ann, turn_us=1000, at_s=1, position=1)
    for at_s in range(5, 60, 2):
        run.sends(ann, waiting(1, turn_us=1000), at_s=at_s)

    assert run.held(WAITS) is None


def test_waits_slots_that_a_flood_fills_are_no_excuse(run: Run) -> None:
    ann = visitor()
    run.reports(at_s=0, max_active=20, active=20)
    run.arrives(ann, turn_us=1000, at_s=1, position=1)
    for at_s in range(5, 60, 2):
        run.sends(ann, waiting(1, turn_us=1000), at_s=at_s)

    assert run.held(WAITS) is False


@pytest.mark.parametrize(
    ("per_s", "late_s", "held"), [(1.0, 0, True), (0.67, 0, False), (0.67, 90, True)]
)
def test_origin_below_the_rate_breaks_throughput(
    run: Run, per_s: float, late_s: float, held: bool
) -> None:
    """A third of the admissions went to no-shows. A very late crowd proves nothing."""
    run.late_s = late_s
    run.reports(at_s=0)
    for number in range(10):
        run.arrives(visitor(number), turn_us=5000 + number, at_s=0, position=9)
    entering = [visitor(100 + number) for number in range(300)]
    at_s, entered = 2.0, 0
    while at_s < 260:
        run.observer.progress(now_s=at_s)
        if entered < (at_s - 2) * per_s:
            run.sends(entering[entered], ADMITTED_AT_ONCE, at_s=at_s)
            entered += 1
        at_s += 0.5

    assert run.held(THROUGHPUT) is held


ADMITTED_AT_ONCE = ObservedResponse(
    Outcome.ADMITTED, token=Token("x.y.z"), claims=Claims(PASS, "w", 900, 900)
)


@pytest.mark.parametrize(("queue_length", "held"), [(1, True), (2, False)])
def test_place_without_visitor_breaks_floods(run: Run, queue_length: int, held: bool) -> None:
    """Two visitors arrived; one has returned the ticket."""
    run.reports(at_s=0)
    run.arrives(visitor(1), turn_us=1000, at_s=0, position=1)
    run.sends(visitor(2), waiting(2, turn_us=1001), at_s=0)
    run.reports(at_s=2, queue_length=queue_length)

    assert run.held(FLOODS) is held


@pytest.mark.parametrize("way_out", [Outcome.ADMITTED, Outcome.NO_PLACE], ids=["admitted", "left"])
def test_visitor_that_is_out_excuses_no_place(run: Run, way_out: Outcome) -> None:
    run.reports(at_s=0)
    ann = visitor()
    run.arrives(ann, turn_us=1000, at_s=0, position=1)
    if way_out is Outcome.NO_PLACE:
        ann.next_action = Action.LEAVE
    run.sends(ann, ObservedResponse(way_out), at_s=3)
    run.reports(at_s=4, queue_length=0)
    assert run.held(FLOODS) is True

    run.reports(at_s=5, queue_length=1)
    assert run.held(FLOODS) is False


def test_forwarded_flood_counts_against_rate_and_order(run: Run) -> None:
    run.arrives(ann := visitor(), turn_us=1000, at_s=0, position=1)
    for number in range(5):
        run.observer.request_forwarded(None, began_s=2 + number / 10, now_s=2.1 + number / 10)
    run.sends(ann, waiting(1, turn_us=1000), at_s=3)

    assert run.held(RATE) is False
    assert run.held(ORDER) is False


def missed_twice(run: Run, *, position: int, queue_length: int) -> Visitor:
    """A lurker stops polling at 1 s and at 11 s; later turns are released after both times."""
    lurker, turn_us = new_lurker(9), 2000
    run.arrives(lurker, turn_us=turn_us, at_s=0, position=1)
    assert lurker.lurk is not None
    for at_s, passed_us in ((2, 3000), (12, 4000)):
        passing = visitor(passed_us)
        run.sends(passing, waiting(2, turn_us=passed_us), at_s=at_s)
        run.sends(passing, waiting(2, turn_us=passed_us), at_s=at_s + 0.5)
        run.enters(passing, at_s=at_s + 2)
        is_second = at_s == 12
        run.sends(
            lurker,
            waiting(
                position if is_second else 1,
                turn_us=turn_us,
                queue_length=queue_length if is_second else 100,
            ),
            at_s=at_s + 9,
        )
    assert run.observer.pressure.lurkers.misses == 2
    return lurker


@pytest.mark.parametrize(("position", "held"), [(100, True), (94, True), (93, False), (1, False)])
def test_lurker_ahead_after_second_miss_breaks_lurkers(run: Run, position: int, held: bool) -> None:
    """Only the other lurkers and a margin of five may be behind it."""
    missed_twice(run, position=position, queue_length=100)

    assert run.held(LURKERS) is held


@pytest.mark.parametrize(("waiting_visitors", "held"), [(12, False), (5, True)])
def test_lurker_admitted_after_second_miss_breaks_lurkers(
    run: Run, waiting_visitors: int, held: bool
) -> None:
    """A violation if more visitors wait than the rate releases in 3 s."""
    for number in range(100, 100 + waiting_visitors):
        run.arrives(visitor(number), turn_us=2500 + number, at_s=0, position=9)
    lurker = missed_twice(run, position=1, queue_length=1)
    run.sends(passing := visitor(5000), waiting(2, turn_us=5000), at_s=22)
    run.sends(passing, waiting(2, turn_us=5000), at_s=22.5)
    run.enters(passing, at_s=23)
    run.enters(lurker, at_s=31)

    assert run.observer.pressure.lurkers.admitted == 1
    assert run.held(LURKERS) is held


def test_lurker_whose_release_is_not_certain_is_not_judged(run: Run) -> None:
    """No later turn was released while it did not poll, or only long after."""
    lurker = new_lurker(9)
    run.arrives(lurker, turn_us=2000, at_s=0, position=1)
    run.sends(lurker, waiting(1, turn_us=2000), at_s=10)
    passing = visitor()
    run.sends(passing, waiting(2, turn_us=3000), at_s=11)
    run.sends(passing, waiting(2, turn_us=3000), at_s=12)
    run.enters(passing, at_s=30)
    run.sends(lurker, waiting(1, turn_us=2000), at_s=40)

    assert run.observer.pressure.lurkers.misses == 0
    assert run.held(LURKERS) is None


def test_no_show_gives_back_what_the_rate_does_not_count(run: Run) -> None:
    """Two releases at 60/min and burst 1 within a second: one was given back before."""
    run.reports(at_s=0, released_total=0)
    run.reports(at_s=4, released_total=5, abandoned_total=0)
    run.reports(at_s=4.5, released_total=7, abandoned_total=1)
    run.arrives(visitor(), turn_us=1000, at_s=4, position=1)
    assert run.held(RATE) is True

    run.reports(at_s=4.6, released_total=9, abandoned_total=1)
    assert run.held(RATE) is False


def test_lurkers_are_no_visitors_of_the_crowd(run: Run) -> None:
    lurker = new_lurker(9)
    run.arrives(lurker, turn_us=2000, at_s=0, position=1)

    assert lurker.stage is VisitorStage.WAITING
    assert (run.observer.arrived, run.observer.waiting) == (0, 0)
