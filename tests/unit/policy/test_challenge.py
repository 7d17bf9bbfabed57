"""Tickets with an unsolved challenge: the decisions about them, and the tokens that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatekeeper.policy.challenge import NOSCRIPT_WAIT_S, WaitForChallenge
from gatekeeper.policy.decision import (
    Arrive,
    Decision,
    EnterByShare,
    EnterWithoutStore,
    ForwardOnce,
    QueuePosition,
    RoomView,
    StampWithoutStore,
    TakeAdmission,
    WaitWithoutPlace,
    WaitWithoutStore,
    decide,
)
from gatekeeper.policy.next_token import conclude, ticket_of
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Ticket
from tests.unit.policy.decision_scene import (
    ARRIVAL_US,
    DOWN,
    ENDED,
    FRESH,
    HELD_DOWN,
    NOW_S,
    OPEN,
    OPEN_DOWN,
    POLL,
    RELEASED,
    RELEASED_DOWN,
    RULES,
    TICKET,
    UP,
    VISITOR,
    view,
)

WORK = replace(RULES, challenge="work")
REFUSE = replace(WORK, challenge_noscript="refuse")
FAILS_OPEN = replace(WORK, store_failure_mode="open")
UNSOLVED = ticket_of(VISITOR, arrival_us=ARRIVAL_US, rules=WORK, now_s=NOW_S, is_new=True)
SOLVED = replace(UNSOLVED, confirmed=True)
LATER_S = NOW_S + NOSCRIPT_WAIT_S


def decided(
    ticket: Ticket | None, of: RoomView, *, rules: Rules = WORK, now_s: float = NOW_S
) -> Decision:
    return decide(ticket, of, rules=rules, now_s=now_s)


def test_unsolved_ticket_enters_an_open_room() -> None:
    """It admits every visitor, also with a challenge."""
    for rules in (WORK, REFUSE):
        assert decided(UNSOLVED, OPEN, rules=rules) == POLL
        assert decided(UNSOLVED, OPEN_DOWN, rules=rules) == EnterWithoutStore(UNSOLVED)


def test_newcomers_ticket_is_unconfirmed_with_a_challenge() -> None:
    assert not UNSOLVED.confirmed
    assert ticket_of(VISITOR, arrival_us=1, rules=RULES, now_s=NOW_S, is_new=True).confirmed
    assert ticket_of(VISITOR, arrival_us=1, rules=WORK, now_s=NOW_S).confirmed


@pytest.mark.parametrize("of", [UP, DOWN, RELEASED, RELEASED_DOWN, ENDED, HELD_DOWN])
def test_unsolved_ticket_waits_without_a_store_call(of: RoomView) -> None:
    """Also with a released turn, with and without the store."""
    for rules in (WORK, REFUSE, FAILS_OPEN):
        assert decided(UNSOLVED, of, rules=rules) == WaitForChallenge(UNSOLVED)


def test_solved_ticket_is_decided_like_every_other() -> None:
    assert decided(SOLVED, UP) == POLL
    assert decided(SOLVED, DOWN) == WaitWithoutStore(SOLVED)
    assert decided(SOLVED, RELEASED_DOWN) == EnterWithoutStore(SOLVED)


def test_new_challenge_does_not_apply_to_confirmed_visitors() -> None:
    assert decided(TICKET, UP) == POLL
    assert decide(FRESH, UP, rules=WORK, now_s=NOW_S) == decide(FRESH, UP, rules=RULES, now_s=NOW_S)


def test_switched_off_every_ticket_is_polled() -> None:
    assert decided(UNSOLVED, UP, rules=RULES) == POLL
    assert decided(UNSOLVED, DOWN, rules=RULES) == WaitWithoutStore(UNSOLVED)
    assert decided(UNSOLVED, RELEASED_DOWN, rules=RULES) == EnterWithoutStore(UNSOLVED)


def test_ticket_counts_after_the_fixed_time_without_script() -> None:
    assert decided(UNSOLVED, UP, now_s=LATER_S - 0.1) == WaitForChallenge(UNSOLVED)
    assert decided(UNSOLVED, UP, now_s=LATER_S) == POLL
    assert decided(UNSOLVED, DOWN, now_s=LATER_S) == WaitWithoutStore(UNSOLVED)
    for late_s in (LATER_S, LATER_S + 3600):
        assert decided(UNSOLVED, UP, rules=REFUSE, now_s=late_s) == WaitForChallenge(UNSOLVED)


def test_revoked_visitor_is_a_newcomer_whatever_was_solved() -> None:
    assert decided(UNSOLVED, view(revoked=frozenset({VISITOR}))) == Arrive()


@pytest.mark.parametrize(
    ("phase", "closed", "opened"),
    [
        (Phase.RUNNING, StampWithoutStore(), EnterByShare()),
        (Phase.OPEN, EnterWithoutStore(None), EnterWithoutStore(None)),
        (Phase.HELD, StampWithoutStore(), StampWithoutStore()),
        (Phase.PREQUEUE, StampWithoutStore(), StampWithoutStore()),
        (Phase.BEFORE, WaitWithoutPlace("before"), WaitWithoutPlace("before")),
    ],
)
def test_newcomer_is_challenged_without_store_unless_fail_open(
    phase: Phase, closed: Decision, opened: Decision
) -> None:
    down = view(phase=phase, store_up=False)
    assert decided(None, down) == closed
    assert decided(None, down, rules=FAILS_OPEN) == opened


def test_request_without_place_is_no_way_around_the_challenge() -> None:
    """Such a request cannot solve a challenge. An open room admits every visitor."""
    for of in (UP, DOWN, HELD_DOWN, ENDED):
        for rules in (WORK, REFUSE, FAILS_OPEN):
            has_room = replace(of, has_room=True)
            decision = decide(None, has_room, rules=rules, now_s=NOW_S, creates_place=False)
            assert decision == WaitWithoutPlace()
    for of, expected in ((OPEN, TakeAdmission()), (OPEN_DOWN, ForwardOnce())):
        has_room = replace(of, has_room=True)
        assert decide(None, has_room, rules=WORK, now_s=NOW_S, creates_place=False) == expected
    has_room = replace(UP, has_room=True)
    one = decide(None, has_room, rules=RULES, now_s=NOW_S, creates_place=False)
    assert one == TakeAdmission(), "as before in a room without a challenge"


def test_newcomer_leaves_with_an_unsolved_ticket_at_its_turn() -> None:
    standing = QueuePosition(ARRIVAL_US, 0, confirmed=False)
    assert conclude(VISITOR, standing, None, rules=WORK, now_s=NOW_S) == UNSOLVED
    assert conclude(VISITOR, standing, None, rules=RULES, now_s=NOW_S) == SOLVED


def test_unsolved_ticket_in_the_queue_is_confirmed_by_its_poll() -> None:
    """The challenge is off, or the fixed time has passed: the ticket is not challenged again."""
    standing = QueuePosition(ARRIVAL_US, 3)
    for rules in (RULES, WORK):
        token = conclude(VISITOR, standing, UNSOLVED, rules=rules, now_s=NOW_S + 5)
        assert isinstance(token, Ticket)
        assert token.confirmed
        assert decided(token, UP, now_s=NOW_S + 5) == POLL
    assert conclude(VISITOR, standing, SOLVED, rules=WORK, now_s=NOW_S + 5) is SOLVED
