"""Every row of the decision table, and what the visitor holds after the store's reply."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.decision import (
    Arrive,
    Decision,
    EnterByShare,
    EnterWithoutStore,
    Forward,
    ForwardOnce,
    Poll,
    QueuePosition,
    Refuse,
    RoomView,
    SlotGrant,
    StampWithoutStore,
    TakeAdmission,
    VoidToken,
    WaitWithoutPlace,
    WaitWithoutStore,
    conclude,
    decide,
    is_forwarded_unchanged,
    kept_without_store,
    pass_of,
    renewed,
    session_end_without_store_s,
    ticket_of,
)
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId

ROOM = RoomName("default")
RULES = Rules.of(RoomConfig())
OPEN_ON_LOSS = replace(RULES, store_failure_mode="open")
VISITOR = VisitorId("A" * 22)
NOW_S = 1_700_000_000.0
ARRIVAL_US = 1_699_999_990_000_000
TICKET = ticket_of(VISITOR, arrival_us=ARRIVAL_US, rules=RULES, now_s=NOW_S)
LONG_KEPT = TICKET._replace(issued_at_s=NOW_S - RULES.session_absolute_timeout_s)
FRESH = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S)
USED = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S - 60)
LATE = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S - 900)
MAY_WAIT = Forward(USED, renew=True, may_wait=True)
UNCONFIRMED = pass_of(
    VISITOR, arrival_us=ARRIVAL_US, confirmed=False, rules=RULES, now_s=NOW_S - 19.9
)
UNCONFIRMED_LATE = pass_of(
    VISITOR, arrival_us=ARRIVAL_US, confirmed=False, rules=RULES, now_s=NOW_S - 20
)
EXPIRED = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S - 1860)
POLL, STAMP, SHARE = Poll(VISITOR, ARRIVAL_US), StampWithoutStore(), EnterByShare()


def view(
    *,
    phase: Phase = Phase.RUNNING,
    watermark_us: int = ARRIVAL_US - 1,
    store_up: bool = True,
    revoked: frozenset[VisitorId] = frozenset(),
    queue_length: int = 0,
) -> RoomView:
    return RoomView(phase, watermark_us, revoked, store_up, queue_length=queue_length)


UP, DOWN = view(), view(store_up=False)
RELEASED, RELEASED_DOWN = (view(watermark_us=ARRIVAL_US, store_up=up) for up in (True, False))
OPEN, OPEN_DOWN = (view(phase=Phase.OPEN, store_up=up) for up in (True, False))
HELD, HELD_DOWN = (view(phase=Phase.HELD, store_up=up) for up in (True, False))
ENDED, ENDED_DOWN = (view(phase=Phase.ENDED, store_up=up) for up in (True, False))

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
        replace(UP, born_s=FRESH.issued_at_s + 0.001),
        RULES,
        Forward(FRESH, renew=True, may_wait=True),
    ),
    (
        "a pass from after the store's loss is forwarded",
        FRESH,
        replace(UP, born_s=FRESH.issued_at_s),
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
    ("a late unconfirmed pass is none without the store", UNCONFIRMED_LATE, DOWN, RULES, STAMP),
    ("an expired pass is none without the store", EXPIRED, RELEASED_DOWN, RULES, STAMP),
    ("an expired pass takes a share without the store", EXPIRED, DOWN, OPEN_ON_LOSS, SHARE),
    ("an expired pass in an open room is none", EXPIRED, OPEN_DOWN, RULES, EnterWithoutStore(None)),
    ("a ticket polls", TICKET, UP, RULES, POLL),
    ("a ticket polls though released, to claim", TICKET, RELEASED, RULES, POLL),
    ("a ticket polls in an open room, to be counted", TICKET, OPEN, RULES, POLL),
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


EVERY_TOKEN: list[Token] = [FRESH, USED, EXPIRED, UNCONFIRMED, UNCONFIRMED_LATE, TICKET]
EVERY_VIEW = [
    view(phase=phase, watermark_us=watermark_us, store_up=store_up)
    for phase in Phase
    for watermark_us in (ARRIVAL_US - 1, ARRIVAL_US)
    for store_up in (True, False)
]


@pytest.mark.parametrize("room", EVERY_VIEW)
@pytest.mark.parametrize("token", EVERY_TOKEN)
def test_token_of_a_revoked_visitor_is_no_token(token: Token, room: RoomView) -> None:
    revoked = replace(room, revoked={VISITOR: NOW_S})
    assert decide(token, revoked, rules=RULES, now_s=NOW_S) == decide(
        None, room, rules=RULES, now_s=NOW_S
    )


@pytest.mark.parametrize("room", EVERY_VIEW)
@pytest.mark.parametrize("pass_", [FRESH, UNCONFIRMED])
def test_expired_pass_is_never_forwarded_without_the_store(pass_: Pass, room: RoomView) -> None:
    decision = decide(pass_, room, rules=RULES, now_s=pass_.expires_at_s)
    none = decide(None, room, rules=RULES, now_s=pass_.expires_at_s)
    assert decision == (POLL if room.store_up else none)


@pytest.mark.parametrize("room", [each for each in EVERY_VIEW if each.store_up])
@pytest.mark.parametrize("pass_", [FRESH, UNCONFIRMED])
def test_pass_is_refused_after_its_absolute_end(pass_: Pass, room: RoomView) -> None:
    decision = decide(pass_, room, rules=RULES, now_s=pass_.ends_at_s)
    assert decision == Refuse("The session has ended.")


# Requests that create no place


@pytest.mark.parametrize("room", EVERY_VIEW)
@pytest.mark.parametrize("has_room", [True, False])
@pytest.mark.parametrize("rules", [RULES, OPEN_ON_LOSS])
def test_request_without_token_that_creates_no_place(
    room: RoomView, rules: Rules, *, has_room: bool
) -> None:
    room = replace(room, has_room=has_room)
    expected: Decision = WaitWithoutPlace()
    if room.store_up and has_room:
        expected = TakeAdmission()
    elif not room.store_up and room.phase is Phase.OPEN:
        expected = ForwardOnce()
    decision = decide(None, room, rules=rules, now_s=NOW_S, creates_place=False)
    assert decision == expected


@pytest.mark.parametrize("room", EVERY_VIEW)
@pytest.mark.parametrize("token", EVERY_TOKEN)
def test_token_counts_whether_or_not_a_request_creates_a_place(
    token: Token, room: RoomView
) -> None:
    with_place = decide(token, room, rules=RULES, now_s=NOW_S)
    without = decide(token, room, rules=RULES, now_s=NOW_S, creates_place=False)
    if token.expires_at_s > NOW_S or room.store_up:
        assert without == with_place
    else:
        assert isinstance(without, WaitWithoutPlace | ForwardOnce)


def test_revoked_token_of_a_request_that_creates_no_place_is_none() -> None:
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


# What the visitor goes on with


def test_void_token_is_followed_by_none() -> None:
    for held in (None, *EVERY_TOKEN):
        assert conclude(VISITOR, VoidToken(), held, rules=RULES, now_s=NOW_S) is None


def test_waiting_newcomer_gets_a_ticket_at_the_arrival() -> None:
    token = conclude(VISITOR, QueuePosition(ARRIVAL_US, 7), None, rules=RULES, now_s=NOW_S)
    assert token == Ticket(ROOM, VISITOR, ARRIVAL_US, NOW_S, NOW_S + 7320)


@pytest.mark.parametrize(("age_s", "kept"), [(0, True), (119.9, True), (120, False), (600, False)])
def test_ticket_is_renewed_after_its_renewal_time(age_s: float, *, kept: bool) -> None:
    now_s = NOW_S + age_s
    token = conclude(VISITOR, QueuePosition(ARRIVAL_US, 7), TICKET, rules=RULES, now_s=now_s)
    assert (token is TICKET) is kept
    assert token == (
        TICKET if kept else ticket_of(VISITOR, arrival_us=ARRIVAL_US, rules=RULES, now_s=now_s)
    )


def test_ticket_takes_the_stores_turn_and_keeps_its_arrival() -> None:
    moved = QueuePosition(ARRIVAL_US + 5, 7, is_moved=True)
    token = conclude(VISITOR, moved, TICKET, rules=RULES, now_s=NOW_S)
    assert token == TICKET._replace(own_turn_us=ARRIVAL_US + 5)
    again = conclude(VISITOR, QueuePosition(ARRIVAL_US + 5, 6), token, rules=RULES, now_s=NOW_S)
    assert again is token


def test_ticket_returned_before_a_draw_names_its_provisional_turn() -> None:
    turn_us = PROVISIONAL_US + ARRIVAL_US
    token = conclude(VISITOR, QueuePosition(turn_us, 7), TICKET, rules=RULES, now_s=NOW_S)
    assert token == TICKET._replace(own_turn_us=turn_us)
    again = conclude(VISITOR, QueuePosition(turn_us, 6), token, rules=RULES, now_s=NOW_S)
    assert again is token
    # After the draw it stands at another turn, and keeps what makes it one of the drawn.
    assert conclude(VISITOR, QueuePosition(5, 6), token, rules=RULES, now_s=NOW_S) is token


def test_ticket_returned_in_an_outage_before_a_draw_takes_part() -> None:
    turn_us = PROVISIONAL_US + ARRIVAL_US
    kept = kept_without_store(TICKET, rules=RULES, now_s=NOW_S, turn_us=turn_us)
    assert kept == TICKET._replace(own_turn_us=turn_us)
    assert kept_without_store(kept, rules=RULES, now_s=NOW_S, turn_us=turn_us) is kept
    assert kept_without_store(TICKET, rules=RULES, now_s=NOW_S, turn_us=5) is TICKET


def test_pass_of_a_turn_keeps_arrival_and_turn() -> None:
    held = TICKET._replace(own_turn_us=5)
    token = conclude(VISITOR, SlotGrant(5, confirmed=True), held, rules=RULES, now_s=NOW_S)
    assert token == FRESH._replace(own_turn_us=5)
    assert isinstance(token, Pass)
    assert renewed(token, rules=RULES, now_s=NOW_S).own_turn_us == 5


@pytest.mark.parametrize(("turn_us", "released"), [(ARRIVAL_US - 1, True), (ARRIVAL_US, False)])
def test_watermark_is_compared_with_the_turn(turn_us: int, *, released: bool) -> None:
    ticket = TICKET._replace(arrival_us=ARRIVAL_US + 7, own_turn_us=turn_us)
    decision = decide(ticket, DOWN, rules=RULES, now_s=NOW_S)
    assert decision == (EnterWithoutStore(ticket) if released else WaitWithoutStore(ticket))


@pytest.mark.parametrize("token", [TICKET, UNCONFIRMED_LATE])
def test_poll_asks_for_the_turn(token: Token) -> None:
    moved = token._replace(own_turn_us=5)
    assert decide(moved, UP, rules=RULES, now_s=NOW_S) == Poll(VISITOR, 5)


def test_ordering_gives_the_turn_of_a_token_that_names_none() -> None:
    class ReversedOrder:
        def turn_us(self, visitor: VisitorId, arrival_us: int) -> int:
            assert visitor == VISITOR
            return 2**51 - arrival_us

        drawn_turn_us = turn_us

    room = replace(UP, ordering=ReversedOrder())
    turn_us = 2**51 - ARRIVAL_US
    assert decide(TICKET, room, rules=RULES, now_s=NOW_S) == Poll(VISITOR, turn_us)
    # The order may give another turn once it is drawn, so that the ticket names none.
    token = conclude(VISITOR, QueuePosition(turn_us, 7), TICKET, rules=RULES, now_s=NOW_S)
    assert token is TICKET


def test_pass_without_slot_becomes_a_ticket() -> None:
    token = conclude(
        VISITOR, QueuePosition(ARRIVAL_US, 0), UNCONFIRMED_LATE, rules=RULES, now_s=NOW_S
    )
    assert token == TICKET


def test_claimed_ticket_becomes_a_pass() -> None:
    granted = SlotGrant(ARRIVAL_US, confirmed=True)
    assert conclude(VISITOR, granted, TICKET, rules=RULES, now_s=NOW_S) == FRESH


@pytest.mark.parametrize("left_s", [0.001, 60, 1_000_000])
def test_ticket_claimed_again_keeps_the_end_of_the_session(left_s: float) -> None:
    ends_at_us = round((NOW_S + left_s) * 1_000_000)
    granted = SlotGrant(ARRIVAL_US, confirmed=True, ends_at_us=ends_at_us)
    token = conclude(VISITOR, granted, TICKET, rules=RULES, now_s=NOW_S)
    assert isinstance(token, Pass)
    assert token.ends_at_s == pytest.approx(NOW_S + left_s, abs=1e-6)
    assert token.expires_at_s == min(token.ends_at_s, NOW_S + RULES.pass_life_s)


@pytest.mark.parametrize("held", [TICKET, FRESH._replace(ends_at_s=NOW_S), None])
def test_session_that_ended_while_the_store_was_asked_gives_no_pass(held: Token | None) -> None:
    granted = SlotGrant(ARRIVAL_US, confirmed=True, ends_at_us=round(NOW_S * 1_000_000))
    assert conclude(VISITOR, granted, held, rules=RULES, now_s=NOW_S) is None


@given(
    polls_s=st.lists(st.floats(0, 1800), max_size=20),
    claims_s=st.lists(st.floats(0, 3600), min_size=1, max_size=20),
    absolute_s=st.floats(1800, 14_400),
)
def test_ticket_gives_no_second_session_without_the_store(
    polls_s: list[float], claims_s: list[float], absolute_s: float
) -> None:
    """Whether the store had replied to the first claim or not, and though the ticket waits on in
    between: at another replica it may stand above the watermark."""
    rules = replace(RULES, session_absolute_timeout_s=absolute_s)
    ticket, now_s = TICKET, NOW_S
    for pause_s in polls_s:
        now_s += pause_s
        token = conclude(VISITOR, QueuePosition(ARRIVAL_US, 1), ticket, rules=rules, now_s=now_s)
        assert isinstance(token, Ticket)
        ticket = token
    first_end_s = now_s + absolute_s
    for pause_s in claims_s:
        now_s += pause_s
        match decide(ticket, RELEASED_DOWN, rules=rules, now_s=now_s):
            case EnterWithoutStore(ticket=Ticket()):
                end_s = session_end_without_store_s(ticket, rules=rules)
                assert now_s < end_s <= first_end_s
                assert end_s >= first_end_s - rules.ticket_renewal_s
            case decision:
                assert decision == WaitWithoutStore(ticket)
                assert now_s >= first_end_s - rules.ticket_renewal_s
        ticket = kept_without_store(ticket, rules=rules, now_s=now_s)


def test_ticket_kept_without_the_store_lives_on_and_is_no_newer() -> None:
    soon_s = NOW_S + RULES.ticket_renewal_s
    assert kept_without_store(TICKET, rules=RULES, now_s=soon_s - 0.01) is TICKET
    kept = kept_without_store(TICKET, rules=RULES, now_s=soon_s)
    assert kept == TICKET._replace(expires_at_s=soon_s + RULES.ticket_life_s)


def test_pass_admitted_on_arrival_is_unconfirmed() -> None:
    token = conclude(
        VISITOR, SlotGrant(ARRIVAL_US, confirmed=False), None, rules=RULES, now_s=NOW_S
    )
    assert isinstance(token, Pass)
    assert not token.confirmed


def test_returned_pass_is_confirmed_and_keeps_its_end() -> None:
    granted = SlotGrant(ARRIVAL_US, confirmed=True)
    token = conclude(VISITOR, granted, UNCONFIRMED_LATE, rules=RULES, now_s=NOW_S)
    assert token == UNCONFIRMED_LATE._replace(
        confirmed=True, issued_at_s=NOW_S, expires_at_s=NOW_S + RULES.pass_life_s
    )


@pytest.mark.parametrize("absolute_s", [1800, 14_400, 100_000])
def test_running_session_keeps_its_end_after_a_change_of_the_setting(absolute_s: float) -> None:
    """A shorter or longer `session_absolute_timeout` counts for sessions that begin later."""
    rules = replace(RULES, session_absolute_timeout_s=absolute_s)
    ends_at_s = FRESH.ends_at_s
    for now_s in (NOW_S, ends_at_s - RULES.pass_life_s + 5, ends_at_s - 0.001):
        pass_ = renewed(FRESH, rules=rules, now_s=now_s)
        assert (pass_.ends_at_s, pass_.expires_at_s <= ends_at_s) == (ends_at_s, True)
        granted = SlotGrant(ARRIVAL_US, confirmed=True, ends_at_us=round(ends_at_s * 1e6) + 10**9)
        token = conclude(VISITOR, granted, EXPIRED, rules=rules, now_s=EXPIRED.ends_at_s - 0.001)
        assert isinstance(token, Pass)
        assert token.expires_at_s == token.ends_at_s == EXPIRED.ends_at_s
    first = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=rules, now_s=NOW_S)
    assert first.ends_at_s == NOW_S + absolute_s


def test_absence_of_place_ttl_keeps_the_ticket_valid() -> None:
    held = TICKET
    last_poll_s = NOW_S + RULES.ticket_renewal_s - 0.001
    token = conclude(VISITOR, QueuePosition(ARRIVAL_US, 7), held, rules=RULES, now_s=last_poll_s)
    assert isinstance(token, Ticket)
    assert token.expires_at_s >= last_poll_s + RULES.place_ttl_s


@given(
    uses_s=st.lists(st.floats(0, 3600), min_size=1, max_size=50),
    session_idle_timeout_s=st.floats(1, 3600),
    limit_s=st.floats(1, 7200),
)
def test_pass_slides_with_use_up_to_its_end(
    uses_s: list[float], session_idle_timeout_s: float, limit_s: float
) -> None:
    rules = replace(
        RULES,
        session_idle_timeout_s=min(session_idle_timeout_s, limit_s),
        session_absolute_timeout_s=limit_s,
    )
    pass_ = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=False, rules=rules, now_s=NOW_S)
    ends_at_s, now_s = pass_.ends_at_s, NOW_S
    assert ends_at_s == NOW_S + limit_s
    for pause_s in uses_s:
        now_s += pause_s
        decision = decide(pass_, UP, rules=rules, now_s=now_s)
        if now_s >= pass_.ends_at_s:
            assert isinstance(decision, Refuse)
            return
        if now_s >= pass_.expires_at_s:
            assert decision == POLL
        pass_ = renewed(pass_, rules=rules, now_s=now_s)
        assert pass_.confirmed
        assert pass_.ends_at_s == ends_at_s
        assert pass_.expires_at_s == min(now_s + rules.pass_life_s, ends_at_s)


@given(pauses_s=st.lists(st.floats(0, 1800), min_size=1, max_size=40))
def test_pause_below_the_idle_timeout_never_ends_a_session(
    pauses_s: list[float],
) -> None:
    pass_ = pass_of(VISITOR, arrival_us=ARRIVAL_US, confirmed=True, rules=RULES, now_s=NOW_S)
    now_s = NOW_S
    for pause_s in pauses_s:
        now_s += pause_s
        if now_s >= pass_.ends_at_s:
            return
        decision = decide(pass_, UP, rules=RULES, now_s=now_s)
        assert isinstance(decision, Forward)
        if decision.renew:
            pass_ = renewed(pass_, rules=RULES, now_s=now_s)


@given(
    st.builds(
        Pass,
        room=st.just(ROOM),
        visitor=st.sampled_from([VISITOR, VisitorId("B" * 22)]),
        arrival_us=st.just(ARRIVAL_US),
        issued_at_s=st.integers(-200, 5).map(lambda ago_s: NOW_S + ago_s),
        expires_at_s=st.integers(-5, 5000).map(lambda left_s: NOW_S + left_s),
        ends_at_s=st.just(NOW_S + 5000),
        confirmed=st.booleans(),
    ),
    st.builds(
        RoomView,
        phase=st.sampled_from(Phase),
        watermark_us=st.just(ARRIVAL_US),
        revoked=st.sampled_from([frozenset(), frozenset({VISITOR})]),
        store_up=st.booleans(),
        born_s=st.sampled_from([0.0, NOW_S - 30, NOW_S]),
    ),
)
def test_forwarded_unchanged_agrees_with_the_decision(pass_: Pass, view: RoomView) -> None:
    decision = decide(pass_, view, rules=RULES, now_s=NOW_S)
    silent = is_forwarded_unchanged(pass_, view, rules=RULES, now_s=NOW_S)
    assert silent is (decision == Forward(pass_, renew=False))


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
        if token is EXPIRED and not up:  # decided as no token
            continue
        free = decide(token, view(store_up=up), rules=LIMITED, now_s=NOW_S)
        assert decide(token, full, rules=LIMITED, now_s=NOW_S) == free


def test_full_line_changes_nothing_for_a_request_without_a_place() -> None:
    full = view(queue_length=100)
    decision = decide(None, full, rules=LIMITED, now_s=NOW_S, creates_place=False)
    assert decision == WaitWithoutPlace("busy")
