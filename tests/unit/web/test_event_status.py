"""The event that a visitor sees: which one, the time left, and the participation in its draw."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.pages.event_view import EventView, renewal_s
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.draw import drawn_turn_us, id_hash, seed_of
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from gatekeeper.policy.tokens import Ticket
from gatekeeper.room.state import RoomState
from gatekeeper.web.event_status import event_view_of
from gatekeeper.web.waiting_status import (
    WaitingStatus,
    event_json,
    rfc3339,
    waiting_status_of,
)
from tests.builders import TICKET, room_state

NOON_S = 1_796_126_400  # 2026-12-01T12:00:00Z
NOON_US = NOON_S * 1_000_000
SECRET = "5e" * 32
SALE = Event(
    name="sale",
    start_us=NOON_US,
    announced_us=NOON_US,
    prequeue_us=NOON_US - 1_800_000_000,
    end_us=NOON_US + 3_600_000_000,
    commitment="9f" * 32,
)
NEXT = Event(name="next", start_us=NOON_US + 10**11, announced_us=NOON_US + 10**11, order="arrival")


def state_with(*events: Event) -> RoomState:
    return replace(room_state(), events=Schedule.of(events).text)


def seen(state: RoomState, seconds: float, ticket: Ticket | None = None) -> EventView:
    view = event_view_of(state, now_s=NOON_S + seconds, ticket=ticket)
    assert view is not None
    return view


def test_room_without_events_shows_none() -> None:
    assert event_view_of(room_state(), now_s=NOON_S) is None
    assert event_view_of(None, now_s=NOON_S) is None


def test_event_ahead_has_its_times_by_the_clock_of_the_store() -> None:
    view = seen(state_with(SALE), -2000.5)
    assert view.starts_at == "2026-12-01T12:00:00Z"
    assert view.prequeue_at == "2026-12-01T11:30:00Z"
    assert (view.starts_in_s, view.prequeue_in_s, view.joins_in_s) == (2000.5, 200.5, 200.5)
    assert view.commitment == "9f" * 32
    assert view.draw is None


def test_prequeue_has_begun_and_the_start_is_ahead() -> None:
    view = seen(state_with(SALE), -60)
    assert (view.prequeue_at, view.prequeue_in_s, view.starts_in_s) == ("", None, 60)


@given(
    st.floats(-2000, -0.001), st.sampled_from([1.0, 36.0, 300.0]), st.floats(0, 1, exclude_max=True)
)
def test_open_page_returns_in_time_for_the_draw(
    seconds: float, spread_s: float, share: float
) -> None:
    """Also right after the begin of the prequeue, which its replica may not know yet."""
    for prequeue_s in (1800, 90, 20, 4):
        prequeue_us = SALE.start_us - prequeue_s * 1_000_000
        view = seen(state_with(replace(SALE, prequeue_us=prequeue_us)), seconds)
        until_start_s = -seconds
        again_s = renewal_s(view.joins_in_s, spread_s=view.joining_spread_s(spread_s), share=share)
        if view.prequeue_in_s is None:
            assert again_s <= 3
        else:
            assert again_s <= until_start_s
            assert again_s >= min(view.prequeue_in_s, 300)


@pytest.mark.parametrize(("seconds", "again_s"), [(-60, 96), (0.0, 3)])
def test_page_without_prequeue_reloads_at_the_start(seconds: float, again_s: float) -> None:
    view = seen(state_with(replace(SALE, prequeue_us=None, order="arrival")), seconds)
    spread_s = view.joining_spread_s(36)
    assert renewal_s(view.joins_in_s, spread_s=spread_s, share=0.999) == again_s


def test_event_that_runs_has_no_time_until_its_start() -> None:
    view = seen(state_with(SALE, NEXT), 60)
    assert (view.name, view.starts_in_s, view.ends_in_s) == ("sale", None, 3540)


@pytest.mark.parametrize(
    ("seconds", "name"), [(-10_000, "sale"), (0, "sale"), (3600, "next"), (200_000, "next")]
)
def test_next_event_is_seen_after_the_end_of_one(seconds: float, name: str) -> None:
    assert seen(state_with(SALE, NEXT), seconds).name == name


def test_cancelled_event_is_not_seen() -> None:
    state = state_with(replace(SALE, cancelled=True))
    assert event_view_of(state, now_s=NOON_S - 60) is None


DRAWN = replace(SALE, drawn=Drawn(SECRET))
# Returned before the opening.
COVERED = replace(TICKET, arrival_us=NOON_US - 1, own_turn_us=PROVISIONAL_US + NOON_US - 1)


def test_visitor_of_the_prequeue_sees_their_number_and_turn() -> None:
    view = seen(state_with(DRAWN), 1, COVERED)
    assert view.draw is not None
    assert view.draw.id_hash == id_hash(COVERED.visitor).hex()
    seed = seed_of(bytes.fromhex(SECRET))
    turn_us = drawn_turn_us(seed, COVERED.visitor, start_us=NOON_US, span_us=1_800_000_000)
    assert view.draw.turn == turn_us


@pytest.mark.parametrize("arrival_us", [NOON_US - 1_800_000_001, NOON_US, NOON_US + 5])
def test_visitor_outside_of_the_prequeue_has_no_number(arrival_us: int) -> None:
    assert seen(state_with(DRAWN), 1, replace(TICKET, arrival_us=arrival_us)).draw is None


def test_ticket_returned_after_the_opening_has_no_number() -> None:
    assert seen(state_with(DRAWN), 1, replace(COVERED, own_turn_us=None)).draw is None


def test_nobody_sees_a_turn_before_the_draw() -> None:
    """Neither the turn nor any value that reveals it."""
    view = seen(state_with(SALE), 1, COVERED)
    assert view.draw is None
    assert "draw" not in event_json(view)
    assert SECRET not in json.dumps(event_json(view))


def test_json_of_an_event_has_the_remaining_time() -> None:
    shown = event_json(seen(state_with(SALE), -60.0004))
    assert shown == {"event": "sale", "starts_in_seconds": 60.0, "commitment": "9f" * 32}
    assert event_json(seen(state_with(SALE), 5))["starts_in_seconds"] is None
    drawn = event_json(seen(state_with(DRAWN), 5, COVERED))
    assert drawn["draw"] == {
        "id_hash": id_hash(COVERED.visitor).hex(),
        "turn": DRAWN.turn_us(COVERED.visitor, COVERED.arrival_us),
    }
    assert event_json(None) == {}


def test_event_by_arrival_has_no_commitment_in_its_json() -> None:
    assert "commitment" not in event_json(seen(state_with(NEXT), 0))


# The position before a draw.

RULES = Rules.of(RoomConfig())
PLACE = QueuePosition(NOON_US, 41)
EARLIER, LATER = NOON_US - 1_800_000_001, NOON_US - 5


def status_at(
    seconds: float, *, mode: Mode = Mode.AUTO, undrawn: int = 0, arrival_us: int = LATER
) -> WaitingStatus:
    state = replace(
        state_with(SALE),
        mode=mode,
        undrawn=undrawn,
        now_us=NOON_US + round(seconds * 1_000_000),
    )
    ticket = replace(TICKET, arrival_us=arrival_us)
    return waiting_status_of(ticket, PLACE, state, rules=RULES)


@pytest.mark.parametrize(
    ("seconds", "name", "starts_at"),
    [
        (-60, "sale", "2026-12-01T12:00:00Z"),
        (60, "sale", None),  # not that of the next event
        (3600, "next", rfc3339(NEXT.start_us / 1_000_000)),
    ],
)
def test_start_of_a_status_is_that_of_its_event(
    seconds: float, name: str, starts_at: str | None
) -> None:
    state = replace(state_with(SALE, NEXT), now_us=NOON_US + round(seconds * 1_000_000))
    event = seen(state, seconds)
    status = waiting_status_of(TICKET, PLACE, state, rules=RULES, event=event)
    assert (event.name, status.starts_at) == (name, starts_at)
    assert (status.json["event"], status.json["starts_at"]) == (name, starts_at)
    assert (status.json["starts_in_seconds"] is None) == (starts_at is None)


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.HOLD])
def test_position_is_unknown_before_the_draw(mode: Mode) -> None:
    """Also while an operator holds the room: a position by arrival would mislead."""
    status = status_at(-60, mode=mode)
    assert (status.position, status.ahead, status.reason) == (None, None, "prequeue")


def test_place_from_before_the_prequeue_is_real() -> None:
    assert status_at(-60, arrival_us=EARLIER).position == 42


@pytest.mark.parametrize("arrival_us", [EARLIER, LATER, NOON_US + 5])
def test_no_place_is_known_during_the_draw(arrival_us: int) -> None:
    status = status_at(1, undrawn=7, arrival_us=arrival_us)
    assert (status.position, status.reason) == (None, "draw")


def test_place_is_known_after_the_draw() -> None:
    assert status_at(1).position == 42
