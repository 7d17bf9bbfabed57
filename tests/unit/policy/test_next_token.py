"""The visitor's next token after the store's reply."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.policy.decision import (
    EnterWithoutStore,
    Forward,
    Poll,
    QueuePosition,
    Refuse,
    RoomView,
    SlotGrant,
    VoidToken,
    WaitWithoutStore,
    decide,
    is_forwarded_unchanged,
    session_end_without_store_s,
)
from gatekeeper.policy.next_token import conclude, kept_without_store, pass_of, renewed, ticket_of
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId
from tests.unit.policy.decision_scene import (
    ARRIVAL_US,
    DOWN,
    EVERY_TOKEN,
    EXPIRED,
    FRESH,
    NOW_S,
    POLL,
    RELEASED_DOWN,
    ROOM,
    RULES,
    TICKET,
    UNCONFIRMED_LATE,
    UP,
    VISITOR,
)

# The visitor's next token


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


def test_renewed_ticket_keeps_its_reference() -> None:
    held = replace(TICKET, reference="4Q7K-92ZD")
    token = conclude(VISITOR, QueuePosition(ARRIVAL_US, 7), held, rules=RULES, now_s=NOW_S + 600)
    assert isinstance(token, Ticket)
    assert (token.reference, token.issued_at_s) == ("4Q7K-92ZD", NOW_S + 600)


def test_ticket_takes_the_stores_turn_and_keeps_its_arrival() -> None:
    moved = QueuePosition(ARRIVAL_US + 5, 7, is_moved=True)
    token = conclude(VISITOR, moved, TICKET, rules=RULES, now_s=NOW_S)
    assert token == replace(TICKET, own_turn_us=ARRIVAL_US + 5)
    again = conclude(VISITOR, QueuePosition(ARRIVAL_US + 5, 6), token, rules=RULES, now_s=NOW_S)
    assert again is token


def test_ticket_returned_before_a_draw_has_a_provisional_turn() -> None:
    turn_us = PROVISIONAL_US + ARRIVAL_US
    token = conclude(VISITOR, QueuePosition(turn_us, 7), TICKET, rules=RULES, now_s=NOW_S)
    assert token == replace(TICKET, own_turn_us=turn_us)
    again = conclude(VISITOR, QueuePosition(turn_us, 6), token, rules=RULES, now_s=NOW_S)
    assert again is token
    # After the draw it has another turn, and keeps the mark of a participant.
    assert conclude(VISITOR, QueuePosition(5, 6), token, rules=RULES, now_s=NOW_S) is token


def test_ticket_returned_in_an_outage_before_a_draw_takes_part() -> None:
    turn_us = PROVISIONAL_US + ARRIVAL_US
    kept = kept_without_store(TICKET, rules=RULES, now_s=NOW_S, turn_us=turn_us)
    assert kept == replace(TICKET, own_turn_us=turn_us)
    assert kept_without_store(kept, rules=RULES, now_s=NOW_S, turn_us=turn_us) is kept
    assert kept_without_store(TICKET, rules=RULES, now_s=NOW_S, turn_us=5) is TICKET


def test_pass_of_a_turn_keeps_arrival_and_turn() -> None:
    held = replace(TICKET, own_turn_us=5)
    token = conclude(VISITOR, SlotGrant(5, confirmed=True), held, rules=RULES, now_s=NOW_S)
    assert token == replace(FRESH, own_turn_us=5)
    assert isinstance(token, Pass)
    assert renewed(token, rules=RULES, now_s=NOW_S).own_turn_us == 5


@pytest.mark.parametrize(("turn_us", "released"), [(ARRIVAL_US - 1, True), (ARRIVAL_US, False)])
def test_watermark_is_compared_with_the_turn(turn_us: int, *, released: bool) -> None:
    ticket = replace(TICKET, arrival_us=ARRIVAL_US + 7, own_turn_us=turn_us)
    decision = decide(ticket, DOWN, rules=RULES, now_s=NOW_S)
    assert decision == (EnterWithoutStore(ticket) if released else WaitWithoutStore(ticket))


@pytest.mark.parametrize("token", [TICKET, UNCONFIRMED_LATE])
def test_poll_asks_for_the_turn(token: Token) -> None:
    moved = replace(token, own_turn_us=5)
    assert decide(moved, UP, rules=RULES, now_s=NOW_S) == Poll(VISITOR, 5)


def test_ordering_gives_the_turn_of_a_token_that_names_none() -> None:
    class ReversedOrder:
        def turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:
            assert (visitor, lane) == (VISITOR, "")
            return 2**51 - arrival_us

        drawn_turn_us = turn_us

    room = replace(UP, ordering=ReversedOrder())
    turn_us = 2**51 - ARRIVAL_US
    assert decide(TICKET, room, rules=RULES, now_s=NOW_S) == Poll(VISITOR, turn_us)
    # The draw may give another turn, so the ticket names none.
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


@pytest.mark.parametrize("held", [TICKET, replace(FRESH, ends_at_s=NOW_S), None])
def test_session_that_ends_during_the_store_call_gives_no_pass(held: Token | None) -> None:
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
    """Whether or not the store had replied to the first claim, and also if the ticket waits again
    in between: at another replica it may be above the watermark."""
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
    assert kept == replace(TICKET, expires_at_s=soon_s + RULES.ticket_life_s)


def test_pass_admitted_on_arrival_is_unconfirmed() -> None:
    token = conclude(
        VISITOR, SlotGrant(ARRIVAL_US, confirmed=False), None, rules=RULES, now_s=NOW_S
    )
    assert isinstance(token, Pass)
    assert not token.confirmed


def test_returned_pass_is_confirmed_and_keeps_its_end() -> None:
    granted = SlotGrant(ARRIVAL_US, confirmed=True)
    token = conclude(VISITOR, granted, UNCONFIRMED_LATE, rules=RULES, now_s=NOW_S)
    assert token == replace(
        UNCONFIRMED_LATE, confirmed=True, issued_at_s=NOW_S, expires_at_s=NOW_S + RULES.pass_life_s
    )


@pytest.mark.parametrize("absolute_s", [1800, 14_400, 100_000])
def test_running_session_keeps_its_end_after_a_setting_change(absolute_s: float) -> None:
    """Another `session_absolute_timeout` applies to sessions that begin later."""
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
        store_created_s=st.sampled_from([0.0, NOW_S - 30, NOW_S]),
    ),
)
def test_forwarded_unchanged_agrees_with_the_decision(pass_: Pass, view: RoomView) -> None:
    decision = decide(pass_, view, rules=RULES, now_s=NOW_S)
    silent = is_forwarded_unchanged(pass_, view, rules=RULES, now_s=NOW_S)
    assert silent is (decision == Forward(pass_, renew=False))
