"""Lanes in a draw: their ranges of turns, the public record, and invalid records of lanes."""

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.types import RoomName
from gatekeeper.policy.draw import (
    LaneSpan,
    commitment_of,
    draw_secret,
    id_hash,
    lane_spans,
    participant_of,
)
from gatekeeper.policy.draw_record import DrawRecord, DrawRecordError, parse_record
from gatekeeper.policy.draw_verification import DrawVerification
from gatekeeper.policy.event_order import EventOrder
from gatekeeper.policy.lanes import turn_ahead_us
from gatekeeper.policy.ordering import PROVISIONAL_US, turn_of
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.schedule import (
    NO_EVENTS,
    Drawn,
    Event,
    Schedule,
    parse_schedule,
)
from gatekeeper.policy.tokens import Ticket, VisitorId

START_US, SPAN_US = 1_796_115_600_000_000, 1_800_000_000
PREQUEUE_US = START_US - SPAN_US
MINUTE_US = 60_000_000
SECRET = draw_secret(b"s" * 32, room="r", event="e", announced_us=START_US)
MEMBERS = LaneSpan("members", PREQUEUE_US - 30 * MINUTE_US, 20 * MINUTE_US)
FRIENDS = LaneSpan("friends", PREQUEUE_US - 10 * MINUTE_US, 10 * MINUTE_US)
VISITORS = [f"visitor-{number:014}" for number in range(60)]
LANE_OF = {name: ("members", "friends", "")[at % 3] for at, name in enumerate(VISITORS)}
RECORD = DrawRecord(
    "e",
    "r",
    "drawn",
    commitment_of(SECRET),
    START_US,
    SPAN_US,
    secret=SECRET.hex(),
    participants=len(VISITORS),
    lanes=(MEMBERS, FRIENDS),
)
DRAWN = Drawn(SECRET.hex(), lanes=(MEMBERS, FRIENDS))
EVENT = Event(
    "e", start_us=START_US, announced_us=START_US, prequeue_us=PREQUEUE_US, commitment="c"
)


# The ranges.


def test_spans_begin_by_the_head_starts_and_end_at_the_prequeue() -> None:
    head_starts_us = {"friends": 10 * MINUTE_US, "members": 30 * MINUTE_US}
    assert lane_spans(head_starts_us, prequeue_us=PREQUEUE_US, released_us=0) == (MEMBERS, FRIENDS)


def test_room_without_lanes_has_no_spans() -> None:
    assert lane_spans({}, prequeue_us=PREQUEUE_US, released_us=0) == ()


def test_lanes_of_one_head_start_share_a_span() -> None:
    spans = lane_spans({"b": MINUTE_US, "a": MINUTE_US}, prequeue_us=PREQUEUE_US, released_us=0)
    assert [each.lane for each in spans] == ["a", "b"]
    assert spans[0][1:] == spans[1][1:] == (PREQUEUE_US - MINUTE_US, MINUTE_US)


@given(
    head_starts_us=st.dictionaries(
        st.sampled_from("abcdefgh"), st.integers(1_000_000, 86_400_000_000), min_size=1
    ),
    before_us=st.integers(20, 10**11),
)
def test_spans_are_apart_before_everyone_and_behind_the_released(
    head_starts_us: dict[str, int], before_us: int
) -> None:
    released_us = PREQUEUE_US - before_us
    spans = lane_spans(head_starts_us, prequeue_us=PREQUEUE_US, released_us=released_us)
    assert {each.lane for each in spans} == head_starts_us.keys()
    end_us = PREQUEUE_US
    for first_us, span_us in sorted({each[1:] for each in spans}, reverse=True):
        assert span_us >= 1
        assert released_us < first_us
        assert first_us + span_us == end_us
        end_us = first_us
    for one in spans:
        for other in spans:
            longer = head_starts_us[one.lane] > head_starts_us[other.lane]
            assert not longer or one.last_us < other.first_us


@pytest.mark.parametrize("released_us", [PREQUEUE_US - 1, PREQUEUE_US, PREQUEUE_US + MINUTE_US])
def test_spans_stay_apart_where_there_is_no_room(released_us: int) -> None:
    spans = lane_spans(
        {"a": MINUTE_US, "b": MINUTE_US - 1}, prequeue_us=PREQUEUE_US, released_us=released_us
    )
    assert spans == (LaneSpan("a", PREQUEUE_US - 2, 1), LaneSpan("b", PREQUEUE_US - 1, 1))


# The turns.


def turn_by_hand(visitor: str, lane: str) -> int:
    digest = hmac.digest(SECRET, hashlib.sha256(visitor.encode()).digest(), "sha256")
    first_us, span_us = {
        "members": MEMBERS[1:],
        "friends": FRIENDS[1:],
        "": (PREQUEUE_US, SPAN_US),
    }[lane]
    return first_us + int.from_bytes(digest, "big") % span_us


def ticket(lane: str, *, turn_us: int | None = PROVISIONAL_US + PREQUEUE_US + 5) -> Ticket:
    return Ticket(
        RoomName("r"), VisitorId(VISITORS[0]), PREQUEUE_US + 5, 0.0, 1.0, turn_us, lane=lane
    )


def order(*, drawn: Drawn | None, phase: Phase = Phase.RUNNING) -> EventOrder:
    schedule = Schedule.of([replace(EVENT, drawn=drawn)])
    now_us = START_US if phase is Phase.RUNNING else PREQUEUE_US
    return EventOrder.of(schedule, schedule.at(now_us))


@pytest.mark.parametrize("lane", ["members", "friends", ""])
def test_ticket_is_worth_the_turn_of_its_lane(lane: str) -> None:
    found = turn_of(ticket(lane), order(drawn=DRAWN))
    assert found == turn_by_hand(VISITORS[0], lane)


def test_ticket_of_an_unknown_lane_is_drawn_with_everyone() -> None:
    assert turn_of(ticket("gone"), order(drawn=DRAWN)) == turn_by_hand(VISITORS[0], "")


def test_ticket_of_a_lane_is_provisional_before_the_draw() -> None:
    provisional_us = PROVISIONAL_US + PREQUEUE_US + 5
    for phase in (Phase.PREQUEUE, Phase.RUNNING):
        found = turn_of(ticket("members", turn_us=None), order(drawn=None, phase=phase))
        assert found == provisional_us


@pytest.mark.parametrize(
    ("lane", "expected_us"),
    [("members", MEMBERS.last_us), ("friends", FRIENDS.last_us), ("", START_US), ("x", START_US)],
)
def test_ticket_that_was_not_returned_stands_behind_its_lane(lane: str, expected_us: int) -> None:
    assert turn_of(ticket(lane, turn_us=None), order(drawn=DRAWN)) == expected_us


def test_schedule_keeps_the_lanes_of_a_draw() -> None:
    schedule = Schedule.of([replace(EVENT, drawn=DRAWN)])
    assert parse_schedule(schedule.text).events[0].drawn == DRAWN


def test_schedule_of_a_draw_without_lanes_is_spelled_as_before() -> None:
    schedule = Schedule.of([replace(EVENT, drawn=Drawn(SECRET.hex()))])
    assert "lanes" not in schedule.text
    assert parse_schedule(schedule.text) == schedule


@pytest.mark.parametrize(
    "lanes", ['[["a",1]]', '[["a",1,0]]', '[["a","1",2]]', "[[1,2,3]]", "[1]", '[["a",1,2,3]]']
)
def test_strange_lanes_are_no_schedule(lanes: str) -> None:
    text = Schedule.of([replace(EVENT, drawn=DRAWN)]).text
    spelled = '"lanes":' + text.partition('"lanes":')[2].partition("]]")[0] + "]]"
    with pytest.raises(ValueError, match="expected"):
        parse_schedule(text.replace(spelled, f'"lanes":{lanes}'))


# A newcomer without the store.


@pytest.mark.parametrize(
    ("arrival_us", "lowest_us", "expected_us"),
    [
        (5 * MINUTE_US, 0, 4 * MINUTE_US),
        (5 * MINUTE_US, 4 * MINUTE_US + 7, 4 * MINUTE_US + 7),
        (5 * MINUTE_US, 9 * MINUTE_US, 5 * MINUTE_US),
    ],
)
def test_turn_is_the_head_start_before_the_arrival(
    arrival_us: int, lowest_us: int, expected_us: int
) -> None:
    found = turn_ahead_us(arrival_us, MINUTE_US, lowest_us=lowest_us, schedule=NO_EVENTS)
    assert found == expected_us


def test_head_start_waits_for_a_draw_and_ends_at_its_prequeue() -> None:
    schedule = Schedule.of([EVENT])

    def found(arrival_us: int) -> int:
        return turn_ahead_us(arrival_us, 120 * MINUTE_US, lowest_us=0, schedule=schedule)

    assert found(PREQUEUE_US + 1) == PREQUEUE_US + 1
    assert found(START_US + 1) == PREQUEUE_US
    assert found(PREQUEUE_US - 1) == PREQUEUE_US - 1 - 120 * MINUTE_US


# The record.


def lines() -> list[str]:
    return sorted(participant_of(name, lane=lane) for name, lane in LANE_OF.items())


def verify(record: DrawRecord, listed: list[str], **named: Any) -> DrawVerification:
    verification = DrawVerification(record, **named)
    for line in listed:
        verification.line(line)
    return verification


def test_record_with_lanes_parses_to_the_same() -> None:
    assert parse_record(RECORD.json) == RECORD
    assert parse_record(RECORD.json).json == RECORD.json


@pytest.mark.parametrize(
    ("lanes", "problem"),
    [
        ([], "lanes: not a list"),
        ({}, "lanes: not a list"),
        ([1], "lanes[0].name: missing"),
        ([{"name": "Members", "first_us": 1, "span_us": 1}], "lanes[0].name: 'Members'"),
        ([{"name": "m", "first_us": 0, "span_us": 1}], "lanes[0].first_us: '0'"),
        ([{"name": "m", "first_us": 1, "span_us": 0}], "lanes[0].span_us: '0'"),
        ([{"name": "m", "first_us": 1, "span_us": 1}] * 2, 'lanes: "m" is listed twice'),
        ([{"name": "m", "first_us": PREQUEUE_US, "span_us": 1}], "lanes: the turns from"),
        (
            [
                {"name": "m", "first_us": 5, "span_us": 10},
                {"name": "n", "first_us": 10, "span_us": 10},
            ],
            "lanes: the turns from 5 on end at 15",
        ),
        ([{"name": f"m{n}", "first_us": 5, "span_us": 1} for n in range(21)], "lanes: not a list"),
    ],
)
def test_bad_lanes_are_named(lanes: object, problem: str) -> None:
    with pytest.raises(DrawRecordError) as raised:
        parse_record(RECORD.json | {"lanes": lanes})
    assert any(each.startswith(problem) for each in raised.value.problems)


def test_lanes_before_the_draw_are_a_problem() -> None:
    committed = {"state": "committed", "secret": None, "participants": None}
    with pytest.raises(DrawRecordError, match="null before the draw"):
        parse_record(RECORD.json | committed)


def test_honest_draw_with_lanes_has_no_problem() -> None:
    assert verify(RECORD, lines()).problems() == []


@pytest.mark.parametrize("name", VISITORS[:6])
def test_place_is_counted_with_lanes(name: str) -> None:
    turns_us = {each: turn_by_hand(each, lane) for each, lane in LANE_OF.items()}
    place = verify(RECORD, lines(), visitor=name, turn_us=turns_us[name]).place()
    assert place is not None
    ahead = sum(us < turns_us[name] for us in turns_us.values())
    expected = (id_hash(name).hex(), turns_us[name], LANE_OF[name], ahead + 1)
    assert (place.id_hash, place.turn_us, place.lane, place.place) == expected


def test_visitor_listed_in_another_lane_is_a_problem() -> None:
    """The visitor was shown the turn of the lane, but the list has no lane."""
    name = VISITORS[0]
    listed = sorted(participant_of(each) for each in VISITORS)
    told_us = turn_by_hand(name, "members")
    found = verify(RECORD, listed, visitor=name, turn_us=told_us).problems()
    assert found == [f"visitor: turn {told_us}; expected {turn_by_hand(name, '')}"]


def test_visitor_in_two_lanes_is_a_problem() -> None:
    listed = sorted([*lines(), participant_of(VISITORS[0], lane="friends")])
    record = replace(RECORD, participants=len(listed))
    assert any("each participant once" in each for each in verify(record, listed).problems())


@pytest.mark.parametrize(
    "spelling", ["{hash} vip", "{hash} ", "{hash}  members", "{hash}\tmembers"]
)
def test_line_of_no_lane_of_the_record_is_a_problem(spelling: str) -> None:
    line = spelling.format(hash=id_hash("v").hex())
    found = verify(replace(RECORD, participants=1), [line]).problems()
    assert len(found) == 1
    assert found[0].startswith("participants: line 1:")


def test_turn_of_a_lane_is_verified_without_a_list() -> None:
    name = VISITORS[0]
    told_us = turn_by_hand(name, "members")
    verification = DrawVerification(RECORD, visitor=name, turn_us=told_us, has_list=False)
    place = verification.place()
    assert verification.problems() == []
    assert place is not None
    assert (place.turn_us, place.lane, place.place) == (told_us, "members", None)
