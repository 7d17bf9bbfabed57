"""What each kind of visitor does with an answer."""

from random import Random

import pytest

from gatekeeper.simulate.gate_answer import Answer, Said, Token
from gatekeeper.simulate.plan import CrowdPlan, Shares
from gatekeeper.simulate.visitor import Ask, Kind, Stage, Visitor, hear, new_visitor

PLAN = CrowdPlan(("http://127.0.0.1:8080",), visit_requests=2, away_s=40, stayers=0)
TOKEN = Token("a.b.c")
WAIT = Answer(Said.WAITING, token=TOKEN, position=3, refresh_s=10)
IN = Answer(Said.ADMITTED, token=TOKEN)
THROUGH = Answer(Said.THROUGH)
NOTHING = Answer(Said.NOTHING)
FAILED = Answer(Said.FAILED, failure="timed out")


def visitor(kind: Kind = Kind.PATIENT, *, browser: bool = False) -> Visitor:
    return Visitor(number=1, kind=kind, browser=browser, act_after=1)


def tell(who: Visitor, *answers: Answer, plan: CrowdPlan = PLAN) -> float | None:
    """The pause after the last of several answers."""
    pause_s: float | None = 0.0
    for answer in answers:
        assert pause_s is not None, "they were done already"
        pause_s = hear(who, answer, plan=plan, random=Random(1))
    return pause_s


def test_whoever_waits_asks_again_about_when_told() -> None:
    who = visitor()

    assert tell(who, WAIT) == pytest.approx(10, rel=0.15)
    assert (who.next, who.stage, who.token) == (Ask.POLL, Stage.WAITING, TOKEN)


def test_a_browser_asks_soon_for_the_first_time_as_the_page_does() -> None:
    assert tell(visitor(browser=True), WAIT) == 2


def test_whoever_is_admitted_visits_and_then_leaves() -> None:
    who = visitor()
    tell(who, WAIT, IN)
    asked = [who.next]
    while tell(who, THROUGH) is not None:
        asked.append(who.next)

    assert asked == [Ask.VISIT, Ask.VISIT, Ask.LEAVE]
    assert who.stage is Stage.GONE


def test_a_ghost_is_never_heard_of_again() -> None:
    assert tell(visitor(Kind.GHOST), WAIT) is None
    assert tell(visitor(Kind.GHOST), IN) is None


def test_a_leaver_gives_the_place_back() -> None:
    who = visitor(Kind.LEAVER)
    tell(who, WAIT, WAIT)

    assert who.next is Ask.LEAVE
    assert tell(who, NOTHING) is None


def test_a_returner_is_silent_for_a_while_and_then_asks_as_before() -> None:
    who = visitor(Kind.RETURNER)

    assert tell(who, WAIT, WAIT) == 40
    assert (who.next, who.stage) == (Ask.POLL, Stage.AWAY)
    assert tell(who, WAIT) == pytest.approx(10, rel=0.15)
    assert who.stage is Stage.WAITING


def test_a_refresher_asks_wildly() -> None:
    pause_s = tell(visitor(Kind.REFRESHER), WAIT, WAIT)

    assert pause_s is not None
    assert pause_s <= 1


def test_a_jumper_lies_between_honest_polls_and_keeps_the_own_token() -> None:
    who = visitor(Kind.JUMPER)
    who.lies = iter(["x.y.z"])
    tell(who, WAIT, WAIT)
    assert who.next is Ask.LIE_TO_STATUS

    tell(who, Answer(Said.WAITING, token=Token("their.new.one"), position=9))
    assert (who.next, who.token) == (Ask.POLL, TOKEN)


def test_a_jumper_tries_the_spent_ticket_after_leaving() -> None:
    who = visitor(Kind.JUMPER)
    tell(who, WAIT, Answer(Said.ADMITTED, token=Token("the.pass.now")), THROUGH, THROUGH, NOTHING)

    assert (who.next, who.token) == (Ask.REPLAY, TOKEN)


def test_whose_place_is_gone_is_gone() -> None:
    assert tell(visitor(), WAIT, NOTHING) is None


def test_whoever_is_turned_back_inside_goes_home() -> None:
    assert tell(visitor(), WAIT, IN, WAIT) is None


def test_failures_are_tried_again_ever_later_and_not_for_ever() -> None:
    who = visitor()
    pauses = []
    while (pause_s := tell(who, FAILED)) is not None:
        pauses.append(pause_s)

    assert len(pauses) == 4
    assert pauses == sorted(pauses)


def test_an_answer_makes_earlier_failures_forgotten() -> None:
    who = visitor()
    tell(who, FAILED, FAILED, WAIT)

    assert who.failures == 0


def test_kinds_come_by_their_shares() -> None:
    shares = Shares(leavers=0.1, returners=0.2, ghosts=0.3, refreshers=0.1, jumpers=0.1)
    plan = CrowdPlan(("http://127.0.0.1:8080",), shares=shares)
    random = Random(1)
    kinds = [new_visitor(number, plan, random).kind for number in range(5000)]

    for kind, share in (
        (Kind.LEAVER, 0.1),
        (Kind.RETURNER, 0.2),
        (Kind.GHOST, 0.3),
        (Kind.REFRESHER, 0.1),
        (Kind.JUMPER, 0.1),
        (Kind.PATIENT, 0.2),
    ):
        assert kinds.count(kind) / 5000 == pytest.approx(share, abs=0.03)
