"""What `GET /admin/find` shows of a visitor: before and after a draw, and without one."""

from dataclasses import replace
from hashlib import sha256

from gatekeeper.admin.console import visitor_line
from gatekeeper.admin.support_actions import visitor_json
from gatekeeper.config.types import RoomName
from gatekeeper.policy.draw import drawn_turn_us
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.schedule import Drawn, Event, Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.standings import Whereabouts
from gatekeeper.room.state import RoomState
from tests.builders import room_state

ROOM = RoomName("sale")
ANN = VisitorId("v" * 22)
START_US, SPAN_US = 1_800_000_000_000_000, 1_800_000_000
ARRIVAL_US = START_US - 60_000_000
SECRET = "ab" * 32
EVENT = Event("autumn", start_us=START_US, announced_us=START_US, prequeue_us=START_US - SPAN_US)
DRAWN = replace(EVENT, drawn=Drawn(SECRET))


def state_with(*events: Event) -> RoomState:
    return replace(room_state(), events=Schedule.of(events).text, now_us=START_US + 5)


def test_waiting_visitor_has_position_turn_and_arrival() -> None:
    found = visitor_json(ROOM, state_with(), ANN, Whereabouts("waiting", 41, ARRIVAL_US))
    assert (found["position"], found["turn"], found["draw"]) == (42, ARRIVAL_US, None)
    assert found["arrived_at"] == "2027-01-15T07:59:00Z"
    line = f"sale: {reference_of(ANN)} {ANN}: waiting, position 42, turn {ARRIVAL_US}, arrived"
    assert visitor_line(found).startswith(line)


def test_visitor_of_a_prequeue_has_an_arrival_and_no_position() -> None:
    standing = Whereabouts("waiting", 41, PROVISIONAL_US + ARRIVAL_US)
    found = visitor_json(ROOM, state_with(EVENT), ANN, standing)
    assert (found["position"], found["turn"], found["draw"]) == (None, None, None)
    assert found["arrived_at"] == "2027-01-15T07:59:00Z"


def test_drawn_visitor_has_the_number_that_the_record_has() -> None:
    turn_us = drawn_turn_us(bytes.fromhex(SECRET), ANN, start_us=START_US, span_us=SPAN_US)
    standing = Whereabouts("waiting", 0, turn_us)
    found = visitor_json(ROOM, state_with(DRAWN), ANN, standing)
    id_hash = sha256(ANN.encode()).hexdigest()
    assert found["draw"] == {"event": "autumn", "id_hash": id_hash, "turn": turn_us}
    assert (found["position"], found["turn"], found["arrived_at"]) == (1, turn_us, None)
    assert f"drawn in autumn as {id_hash}" in visitor_line(found)
    assert SECRET not in visitor_line(found)


def test_turn_within_a_span_is_no_drawn_turn_by_itself() -> None:
    found = visitor_json(ROOM, state_with(DRAWN), ANN, Whereabouts("waiting", 0, ARRIVAL_US))
    assert found["draw"] is None
    assert found["arrived_at"] is not None


def test_admitted_visitor_has_the_end_of_the_session() -> None:
    standing = Whereabouts("admitted", until_us=START_US, ends_us=START_US + 1_000_000)
    found = visitor_json(ROOM, state_with(), ANN, standing)
    assert (found["until"], found["ends_at"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:01Z")
    assert (found["position"], found["arrived_at"]) == (None, None)
