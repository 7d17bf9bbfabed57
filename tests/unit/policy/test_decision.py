"""Every row of the decision table."""

from dataclasses import replace
from typing import Any

import pytest

from gatekeeper.policy.decision import (
    Arrive,
    Decision,
    EnterByShare,
    EnterWithoutStore,
    Forward,
    ForwardOnce,
    Poll,
    Refuse,
    RoomView,
    StampWithoutStore,
    TakeAdmission,
    WaitWithoutPlace,
    WaitWithoutStore,
    decide,
)
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Token
from tests.unit.policy.decision_scene import (
    ARRIVAL_US,
    DOWN,
    ENDED,
    ENDED_DOWN,
    EVERY_TOKEN,
    EXPIRED,
    FRESH,
    HELD,
    HELD_DOWN,
    LATE,
    LONG_KEPT,
    MAY_WAIT,
    NOW_S,
    OPEN,
    OPEN_DOWN,
    OPEN_ON_LOSS,
    POLL,
    RELEASED,
    RELEASED_DOWN,
    RULES,
    SHARE,
    STAMP,
    TICKET,
    UNCONFIRMED,
    UNCONFIRMED_LATE,
    UP,
    USED,
    VISITOR,
    view,
)

UNKNOWN = WaitWithoutPlace("reconnecting")
OVER = replace(EXPIRED, ends_at_s=NOW_S)


def closed_until(at_us: int) -> RoomView:
    """The view of a room that an event kept closed until then."""
    return replace(UP, places_from_us=at_us)


TABLE: list[tuple[str, Token | None, RoomView, Rules, Decision]] = [
    ("a pass is forwarded", FRESH, UP, RULES, Forward(FRESH, renew=False)),
    ("a pass needs no store", FRESH, DOWN, RULES, Forward(FRESH, renew=False)),
    ("a used pass is renewed, now or later", USED, UP, RULES, MAY_WAIT),
    ("a used pass is renewed without the store", USED, DOWN, RULES, MAY_WAIT),
    ("a pass at half of its idle time waits no longer", LATE, UP, RULES, Forward(LATE, renew=True)),
    ("a pass counts while the line is held", FRESH, HELD, RULES, Forward(FRESH, renew=False)),
    (
        "a pass from before the store's loss is renewed, to be counted",
        FRESH,
        replace(UP, store_created_s=FRESH.issued_at_s + 0.001),
        RULES,
        Forward(FRESH, renew=True, may_wait=True),
    ),
    (
        "a pass from after the store's loss is forwarded",
        FRESH,
        replace(UP, store_created_s=FRESH.issued_at_s),
        RULES,
        Forward(FRESH, renew=False),
    ),
    (
        "an unconfirmed pass is confirmed by its use",
        UNCONFIRMED,
        UP,
        RULES,
        Forward(UNCONFIRMED, renew=True),
    ),
    (
        "an unconfirmed pass needs no store",
        UNCONFIRMED,
        DOWN,
        RULES,
        Forward(UNCONFIRMED, renew=True),
    ),
    ("a late unconfirmed pass asks for its slot", UNCONFIRMED_LATE, UP, RULES, POLL),
    ("an expired pass asks for its slot", EXPIRED, UP, RULES, POLL),
    ("an expired pass asks for its slot in a held room", EXPIRED, HELD, RULES, POLL),
    ("an expired pass asks for its slot in an open room", EXPIRED, OPEN, RULES, POLL),
    ("a late unconfirmed pass is kept without the store", UNCONFIRMED_LATE, DOWN, RULES, UNKNOWN),
    ("an expired pass is kept without the store", EXPIRED, RELEASED_DOWN, RULES, UNKNOWN),
    ("an expired pass is kept in a held room", EXPIRED, HELD_DOWN, OPEN_ON_LOSS, UNKNOWN),
    ("an expired pass is kept in an ended room", EXPIRED, ENDED_DOWN, OPEN_ON_LOSS, UNKNOWN),
    (
        "an expired pass takes a share without the store",
        EXPIRED,
        DOWN,
        OPEN_ON_LOSS,
        EnterByShare(EXPIRED),
    ),
    (
        "an expired pass goes on in an open room",
        EXPIRED,
        OPEN_DOWN,
        RULES,
        Forward(EXPIRED, renew=True),
    ),
    ("a session that ended is none without the store", OVER, DOWN, RULES, STAMP),
    ("a session that ended takes a share as none", OVER, DOWN, OPEN_ON_LOSS, SHARE),
    (
        "a session that ended is none in an open room",
        OVER,
        OPEN_DOWN,
        RULES,
        EnterWithoutStore(None),
    ),
    ("a ticket polls", TICKET, UP, RULES, POLL),
    ("a ticket polls though released, to claim", TICKET, RELEASED, RULES, POLL),
    ("a ticket polls in an open room, to be counted", TICKET, OPEN, RULES, POLL),
    (
        "a newcomer has no place by a clock of another machine",
        None,
        replace(DOWN, knows_clock=False),
        RULES,
        WaitWithoutPlace("reconnecting"),
    ),
    (
        "a newcomer has no share by a clock of another machine",
        None,
        replace(DOWN, knows_clock=False),
        OPEN_ON_LOSS,
        WaitWithoutPlace("reconnecting"),
    ),
    (
        "a ticket is kept by a clock of another machine",
        TICKET,
        replace(DOWN, knows_clock=False),
        RULES,
        WaitWithoutStore(TICKET),
    ),
    ("a ticket from when the room closed polls", TICKET, closed_until(ARRIVAL_US), RULES, POLL),
    (
        "a ticket of an earlier sale is none",
        TICKET,
        closed_until(ARRIVAL_US + 1),
        RULES,
        Arrive(),
    ),
    (
        "a ticket of an earlier sale is none, though released and without the store",
        TICKET,
        replace(RELEASED_DOWN, places_from_us=ARRIVAL_US + 1),
        RULES,
        STAMP,
    ),
    (
        "a ticket of an earlier sale has no place while the room is closed",
        TICKET,
        replace(closed_until(ARRIVAL_US + 1), phase=Phase.BEFORE),
        RULES,
        WaitWithoutPlace("before"),
    ),
    (
        "a pass of an earlier sale is forwarded",
        FRESH,
        closed_until(ARRIVAL_US + 1),
        RULES,
        Forward(FRESH, renew=False),
    ),
    (
        "a released ticket enters without the store",
        TICKET,
        RELEASED_DOWN,
        RULES,
        EnterWithoutStore(TICKET),
    ),
    (
        "a ticket whose session would have ended waits without the store",
        LONG_KEPT,
        RELEASED_DOWN,
        RULES,
        WaitWithoutStore(LONG_KEPT),
    ),
    (
        "a ticket whose session would have ended enters an open room as a newcomer",
        LONG_KEPT,
        OPEN_DOWN,
        RULES,
        EnterWithoutStore(None),
    ),
    (
        "a ticket above the watermark waits without the store",
        TICKET,
        DOWN,
        RULES,
        WaitWithoutStore(TICKET),
    ),
    (
        "store_failure_mode does not favour tickets",
        TICKET,
        DOWN,
        OPEN_ON_LOSS,
        WaitWithoutStore(TICKET),
    ),
    (
        "a ticket enters an open room without the store",
        TICKET,
        OPEN_DOWN,
        RULES,
        EnterWithoutStore(TICKET),
    ),
    ("a newcomer arrives", None, UP, RULES, Arrive()),
    ("a newcomer arrives in an open room", None, OPEN, RULES, Arrive()),
    ("a newcomer arrives in a held room", None, HELD, RULES, Arrive()),
    ("a newcomer arrives in an ended room", None, ENDED, RULES, Arrive()),
    ("a newcomer is stamped without the store", None, DOWN, RULES, StampWithoutStore()),
    ("a newcomer may take a share without the store", None, DOWN, OPEN_ON_LOSS, EnterByShare()),
    (
        "a newcomer enters an open room without the store",
        None,
        OPEN_DOWN,
        RULES,
        EnterWithoutStore(None),
    ),
    ("a newcomer is stamped in a held room", None, HELD_DOWN, OPEN_ON_LOSS, StampWithoutStore()),
    ("a newcomer is stamped in an ended room", None, ENDED_DOWN, OPEN_ON_LOSS, StampWithoutStore()),
    ("a ticket waits in an ended room", TICKET, ENDED_DOWN, OPEN_ON_LOSS, WaitWithoutStore(TICKET)),
    ("the watermark lets no newcomer in", None, RELEASED_DOWN, RULES, StampWithoutStore()),
]


@pytest.mark.parametrize(
    ("token", "room", "rules", "decision"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_decision_table(
    token: Token | None, room: RoomView, rules: Rules, decision: Decision
) -> None:
    assert decide(token, room, rules=rules, now_s=NOW_S) == decision


EVERY_VIEW = [
    view(phase=phase, watermark_us=watermark_us, store_up=store_up)
    for phase in Phase
    for watermark_us in (ARRIVAL_US - 1, ARRIVAL_US)
    for store_up in (True, False)
]


@pytest.mark.parametrize("token", EVERY_TOKEN)
def test_token_of_a_revoked_visitor_is_no_token(token: Token) -> None:
    for room in EVERY_VIEW:
        revoked = replace(room, revoked={VISITOR: NOW_S})
        decision = decide(token, revoked, rules=RULES, now_s=NOW_S)
        assert decision == decide(None, room, rules=RULES, now_s=NOW_S), room


@pytest.mark.parametrize("room", EVERY_VIEW)
@pytest.mark.parametrize("pass_", [FRESH, UNCONFIRMED])
def test_expired_pass_is_never_given_up_without_the_store(pass_: Pass, room: RoomView) -> None:
    """Only the store knows whether its slot is held, so it is neither forwarded nor overwritten."""
    expected: Decision = POLL if room.store_up else UNKNOWN
    if room.phase is Phase.OPEN and not room.store_up:  # an open room admits every visitor
        expected = Forward(pass_, renew=True)
    for creates_place in (True, False):
        decision = decide(
            pass_, room, rules=RULES, now_s=pass_.expires_at_s, creates_place=creates_place
        )
        assert decision == expected


@pytest.mark.parametrize("room", [each for each in EVERY_VIEW if each.store_up])
@pytest.mark.parametrize("pass_", [FRESH, UNCONFIRMED])
def test_pass_is_refused_after_its_absolute_end(pass_: Pass, room: RoomView) -> None:
    decision = decide(pass_, room, rules=RULES, now_s=pass_.ends_at_s)
    assert decision == Refuse("The session has ended.")


# Requests that create no place


@pytest.mark.parametrize("has_room", [True, False])
@pytest.mark.parametrize("rules", [RULES, OPEN_ON_LOSS])
def test_request_without_token_that_creates_no_place(rules: Rules, *, has_room: bool) -> None:
    for room in (replace(each, has_room=has_room) for each in EVERY_VIEW):
        expected: Decision = WaitWithoutPlace()
        if room.store_up and has_room:
            expected = TakeAdmission()
        elif not room.store_up and room.phase is Phase.OPEN:
            expected = ForwardOnce()
        decision = decide(None, room, rules=rules, now_s=NOW_S, creates_place=False)
        assert decision == expected, room


@pytest.mark.parametrize("token", EVERY_TOKEN)
def test_token_counts_whether_or_not_a_request_creates_a_place(token: Token) -> None:
    for room in EVERY_VIEW:
        with_place = decide(token, room, rules=RULES, now_s=NOW_S)
        without = decide(token, room, rules=RULES, now_s=NOW_S, creates_place=False)
        assert without == with_place, room


def test_revoked_token_without_a_place_counts_as_none() -> None:
    room = replace(UP, revoked={VISITOR: NOW_S})
    decision = decide(FRESH, room, rules=RULES, now_s=NOW_S, creates_place=False)
    assert decision == WaitWithoutPlace()


@pytest.mark.parametrize("token", [None, TICKET])
@pytest.mark.parametrize("rules", [RULES, OPEN_ON_LOSS])
def test_store_decides_for_every_visitor_without_a_pass(token: Token | None, rules: Rules) -> None:
    for room in (each for each in EVERY_VIEW if each.store_up):
        decision = decide(token, room, rules=rules, now_s=NOW_S)
        if room.phase is Phase.BEFORE and token is None:
            assert decision == WaitWithoutPlace("before")
        else:
            assert isinstance(decision, Arrive | Poll)


def test_unknown_phase_admits_no_visitor() -> None:
    unknown: Any = "shut"
    with pytest.raises(AssertionError):
        decide(None, view(phase=unknown, store_up=False), rules=OPEN_ON_LOSS, now_s=NOW_S)


# The limit of the line.

LIMITED = replace(RULES, queue_limit=100)
TURNED_AWAY = WaitWithoutPlace("queue_full")


@pytest.mark.parametrize("store_up", [True, False])
@pytest.mark.parametrize("phase", [p for p in Phase if p not in {Phase.OPEN, Phase.BEFORE}])
def test_newcomer_at_a_full_line_gets_no_place(phase: Phase, store_up: bool) -> None:
    for length, is_full in ((99, False), (100, True), (101, True)):
        seen = view(phase=phase, store_up=store_up, queue_length=length)
        for rules in (LIMITED, replace(LIMITED, store_failure_mode="open")):
            decision = decide(None, seen, rules=rules, now_s=NOW_S)
            assert (decision == TURNED_AWAY) is is_full


@pytest.mark.parametrize("store_up", [True, False])
def test_line_without_a_limit_is_never_full(store_up: bool) -> None:
    seen = view(store_up=store_up, queue_length=10**8)
    assert decide(None, seen, rules=RULES, now_s=NOW_S) != TURNED_AWAY


@pytest.mark.parametrize("store_up", [True, False])
def test_open_room_turns_nobody_away(store_up: bool) -> None:
    seen = view(phase=Phase.OPEN, store_up=store_up, queue_length=100)
    assert decide(None, seen, rules=LIMITED, now_s=NOW_S) != TURNED_AWAY


@pytest.mark.parametrize("token", [TICKET, FRESH, USED, EXPIRED, LATE])
def test_full_line_changes_nothing_for_a_token(token: Token) -> None:
    for up in (True, False):
        full = view(store_up=up, queue_length=100)
        free = decide(token, view(store_up=up), rules=LIMITED, now_s=NOW_S)
        assert decide(token, full, rules=LIMITED, now_s=NOW_S) == free


def test_full_line_changes_nothing_for_a_request_without_a_place() -> None:
    full = view(queue_length=100)
    decision = decide(None, full, rules=LIMITED, now_s=NOW_S, creates_place=False)
    assert decision == WaitWithoutPlace("busy")
