"""The next action of each kind of visitor after a response."""

from dataclasses import replace
from random import Random

import pytest

from gatekeeper.simulate.gate_response import ObservedResponse, Outcome, Token
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.visitor import (
    Action,
    Visitor,
    VisitorKind,
    VisitorStage,
    apply_response,
    new_lurker,
    new_visitor,
)

PLAN = CrowdPlan(("http://127.0.0.1:8080",), visit_requests=2, away_s=40, stayers=0)
TOKEN = Token("a.b.c")
WAIT = ObservedResponse(Outcome.WAITING, token=TOKEN, position=3, poll_interval_s=10)
FAR = replace(WAIT, position=400, rate_per_minute=60)
IN = ObservedResponse(Outcome.ADMITTED, token=TOKEN)
FORWARDED = ObservedResponse(Outcome.FORWARDED)
NO_PLACE = ObservedResponse(Outcome.NO_PLACE)
FAILED = ObservedResponse(Outcome.FAILED, failure="timed out")


def visitor(kind: VisitorKind = VisitorKind.PATIENT, *, browser: bool = False) -> Visitor:
    return Visitor(number=1, kind=kind, browser=browser, act_after=1)


def receive(subject: Visitor, *responses: ObservedResponse, plan: CrowdPlan = PLAN) -> float | None:
    """Apply several responses. Returns the pause after the last one."""
    pause_s: float | None = 0.0
    for response in responses:
        assert pause_s is not None, "the visitor is already done"
        pause_s = apply_response(subject, response, plan=plan, random=Random(1))
    return pause_s


def test_waiting_visitor_polls_at_poll_interval() -> None:
    subject = visitor()

    assert receive(subject, WAIT) == pytest.approx(10, rel=0.15)
    assert (subject.next_action, subject.stage, subject.token) == (
        Action.POLL,
        VisitorStage.WAITING,
        TOKEN,
    )


def test_browser_confirms_within_1_s() -> None:
    assert receive(visitor(browser=True), WAIT) == 1
    soon = replace(WAIT, poll_interval_s=0.5)
    assert receive(visitor(browser=True), soon) == pytest.approx(0.5, rel=0.15)


def test_admitted_visitor_visits_then_leaves() -> None:
    subject = visitor()
    receive(subject, WAIT, IN)
    actions = [subject.next_action]
    while receive(subject, FORWARDED) is not None:
        actions.append(subject.next_action)

    assert actions == [Action.VISIT, Action.VISIT, Action.LEAVE]
    assert subject.stage is VisitorStage.DONE


def test_ghost_never_returns() -> None:
    assert receive(visitor(VisitorKind.GHOST), WAIT) is None
    assert receive(visitor(VisitorKind.GHOST), IN) is None


def test_no_show_stops_near_the_front_without_leaving() -> None:
    subject = visitor(VisitorKind.NO_SHOW)

    assert receive(subject, WAIT, FAR) is not None
    assert receive(subject, WAIT) is None
    assert receive(visitor(VisitorKind.NO_SHOW), WAIT, WAIT) is None
    assert receive(visitor(VisitorKind.NO_SHOW), WAIT, IN) is None


def test_lurker_polls_until_near_the_front_then_is_silent() -> None:
    """The pause ends after the release (3 places at 60/min) and the claim window of 4 s."""
    lurker = new_lurker(7)
    plan = replace(PLAN, claim_timeout_s=4)

    assert receive(lurker, WAIT, plan=plan) == 1
    assert receive(lurker, FAR, plan=plan) == pytest.approx(10, rel=0.15)
    pause_s = receive(lurker, replace(WAIT, rate_per_minute=60), plan=plan)
    assert pause_s is not None
    assert 3 + 4 < pause_s < 12
    assert lurker.next_action is Action.POLL


@pytest.mark.parametrize("response", [IN, NO_PLACE], ids=["straight through", "no place"])
def test_lurker_without_place_starts_over(response: ObservedResponse) -> None:
    lurker = new_lurker(7)

    assert receive(lurker, response) is not None
    assert (lurker.next_action, lurker.token) == (Action.ARRIVE, None)


def test_lurker_admitted_by_accident_leaves_and_starts_over() -> None:
    lurker = new_lurker(7)
    receive(lurker, WAIT, IN)
    assert lurker.next_action is Action.LEAVE

    assert receive(lurker, NO_PLACE) is not None
    assert (lurker.next_action, lurker.token, lurker.misses) == (Action.ARRIVE, None, 0)


def test_lurker_is_never_done_by_failures() -> None:
    assert receive(new_lurker(7), *[FAILED] * 20) is not None


def test_leaver_leaves_the_queue() -> None:
    subject = visitor(VisitorKind.LEAVER)
    receive(subject, WAIT, WAIT)

    assert subject.next_action is Action.LEAVE
    assert receive(subject, NO_PLACE) is None


def test_returner_is_silent_then_polls_again() -> None:
    subject = visitor(VisitorKind.RETURNER)

    assert receive(subject, WAIT, WAIT) == 40
    assert (subject.next_action, subject.stage) == (Action.POLL, VisitorStage.SILENT)
    assert receive(subject, WAIT) == pytest.approx(10, rel=0.15)
    assert subject.stage is VisitorStage.WAITING


def test_refresher_ignores_poll_interval() -> None:
    pause_s = receive(visitor(VisitorKind.REFRESHER), WAIT, WAIT)

    assert pause_s is not None
    assert pause_s <= 1


def test_jumper_forges_between_polls_and_keeps_own_token() -> None:
    subject = visitor(VisitorKind.JUMPER)
    subject.forged_tokens = iter(["x.y.z"])
    receive(subject, WAIT, WAIT)
    assert subject.next_action is Action.FORGE_POLL

    receive(subject, ObservedResponse(Outcome.WAITING, token=Token("their.new.one"), position=9))
    assert (subject.next_action, subject.token) == (Action.POLL, TOKEN)


def test_jumper_replays_spent_ticket_after_leaving() -> None:
    subject = visitor(VisitorKind.JUMPER)
    receive(
        subject,
        WAIT,
        ObservedResponse(Outcome.ADMITTED, token=Token("the.pass.now")),
        FORWARDED,
        FORWARDED,
        NO_PLACE,
    )

    assert (subject.next_action, subject.token) == (Action.REPLAY, TOKEN)


def test_visitor_without_place_is_done() -> None:
    assert receive(visitor(), WAIT, NO_PLACE) is None


def test_admitted_visitor_sent_back_is_done() -> None:
    assert receive(visitor(), WAIT, IN, WAIT) is None


def test_failures_are_retried_later_and_bounded() -> None:
    subject = visitor()
    pauses = []
    while (pause_s := receive(subject, FAILED)) is not None:
        pauses.append(pause_s)

    assert len(pauses) == 4
    assert pauses == sorted(pauses)


@pytest.mark.parametrize("admitted", [True, False])
def test_leaving_is_repeated_from_inside(admitted: bool) -> None:
    subject = visitor()
    subject.next_action, subject.admitted, subject.token = Action.LEAVE, admitted, TOKEN

    pause_s = receive(subject, FAILED)

    assert (pause_s is not None) is admitted
    assert subject.next_action is Action.LEAVE


def test_arrival_without_a_ticket_is_repeated_and_bounded() -> None:
    """A replica without a state makes newcomers wait without a place."""
    unknown = ObservedResponse(Outcome.WAITING, reason="reconnecting")
    subject = visitor()
    pauses = 0
    while receive(subject, unknown) is not None:
        assert (subject.next_action, subject.stage) == (Action.ARRIVE, VisitorStage.ARRIVING)
        pauses += 1

    assert pauses == 4
    subject = visitor()
    receive(subject, unknown, WAIT)
    assert (subject.next_action, subject.token) == (Action.POLL, TOKEN)


def test_response_resets_failure_count() -> None:
    subject = visitor()
    receive(subject, FAILED, FAILED, WAIT)

    assert subject.failures == 0


def test_visitor_kinds_follow_shares() -> None:
    shares = Shares(
        leavers=0.1, returners=0.2, ghosts=0.2, no_shows=0.1, refreshers=0.1, jumpers=0.1
    )
    plan = CrowdPlan(("http://127.0.0.1:8080",), shares=shares)
    random = Random(1)
    kinds = [new_visitor(number, plan, random).kind for number in range(5000)]

    for kind, share in (
        (VisitorKind.LEAVER, 0.1),
        (VisitorKind.RETURNER, 0.2),
        (VisitorKind.GHOST, 0.2),
        (VisitorKind.NO_SHOW, 0.1),
        (VisitorKind.REFRESHER, 0.1),
        (VisitorKind.JUMPER, 0.1),
        (VisitorKind.PATIENT, 0.2),
    ):
        assert kinds.count(kind) / 5000 == pytest.approx(share, abs=0.03)
        for first in range(0, 5000, 100):  # and in every part
            assert kinds[first : first + 100].count(kind) == pytest.approx(100 * share, abs=3)
