"""The schedule of a room: phases by time, the order of a draw, events of the file and live events.

Rules: times are seconds of an imaginary day, as microseconds after BASE_US.
"""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from gatekeeper.config.event_schema import NEVER_US, EventConfig, spell_time
from gatekeeper.policy.draw import commitment_of, draw_secret, drawn_turn_us, seed_of
from gatekeeper.policy.event_order import EventOrder
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.planned_events import MARGIN_US, SigningKeys, merged
from gatekeeper.policy.schedule import NO_EVENTS, Drawn, Event, Schedule, parse_schedule
from gatekeeper.policy.tokens import VisitorId

BASE_US = 1_800_000_000_000_000
FIRST_KEY, OTHER_KEY = b"first" * 8, b"other" * 8
KEYS = SigningKeys((FIRST_KEY, OTHER_KEY))
ANN = VisitorId("ann")


def at(seconds: float) -> int:
    return BASE_US + round(seconds * 1_000_000)


def config(**values: Any) -> EventConfig:
    """An event from 100 to 200, with a prequeue from 40 on."""
    times = {"prequeue": at(40), "start": at(100), "end": at(200)} | values
    spelled = {
        key: spell_time(value) if isinstance(value, int) else value for key, value in times.items()
    }
    return EventConfig.model_validate({"name": "sale"} | spelled)


def schedule(*configs: EventConfig, known: Schedule = NO_EVENTS, **more: Any) -> Schedule:
    return merged(known, configs, room="default", keys=KEYS, **more)


def phases(of: Schedule, *seconds: float) -> list[str]:
    return [of.at(at(each)).phase.value for each in seconds]


@pytest.mark.parametrize(
    ("seconds", "values", "expected"),
    [
        (39, {}, False),
        (40, {}, True),
        (100, {}, True),
        (171, {}, True),
        (172, {}, False),
        (50, {"order": "arrival"}, False),
    ],
)
def test_opening_lasts_from_prequeue_until_all_have_polled(
    seconds: float, values: dict[str, Any], expected: bool
) -> None:
    of = schedule(config(**values))

    assert of.is_opening(at(seconds), spread_us=72_000_000) is expected
    cancelled = Schedule.of(replace(each, cancelled=True) for each in of.events)
    assert not cancelled.is_opening(at(seconds), spread_us=72_000_000)


EDGES = (0, 39.999999, 40, 99.999999, 100, 199.999999, 200, 10_000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "running running prequeue prequeue running running ended ended"),
        ({"before": "closed"}, "before before prequeue prequeue running running ended ended"),
        ({"after": "normal"}, "running running prequeue prequeue running running running running"),
        ({"prequeue": None}, "running running running running running running ended ended"),
        (
            {"prequeue": None, "before": "closed"},
            "before before before before running running ended ended",
        ),
        ({"end": None}, "running running prequeue prequeue running running running running"),
        (
            {"order": "arrival"},
            "running running prequeue prequeue running running ended ended",
        ),
    ],
)
def test_phase_follows_the_times(values: dict[str, Any], expected: str) -> None:
    assert phases(schedule(config(**values)), *EDGES) == expected.split()


def test_windows_are_without_gaps() -> None:
    second = config(name="second", prequeue=at(300), start=at(400), end=None, before="closed")
    windows = schedule(config(), second).windows
    assert (windows[0].from_us, windows[-1].until_us) == (0, NEVER_US)
    assert all(a.until_us == b.from_us for a, b in pairwise(windows))
    assert phases(schedule(second, config()), 250, 350, 450) == ["before", "prequeue", "running"]


def test_without_events_the_room_runs() -> None:
    assert phases(NO_EVENTS, *EDGES) == ["running"] * len(EDGES)
    assert (NO_EVENTS.text, NO_EVENTS.windows_text) == ("", "")
    assert NO_EVENTS.drawn_turn_us(ANN, at(50)) == at(50)


def test_cancelled_event_changes_nothing() -> None:
    [event] = schedule(config(before="closed")).events
    cancelled = Schedule.of([replace(event, cancelled=True)])
    assert phases(cancelled, *EDGES) == ["running"] * len(EDGES)
    assert cancelled.drawn_turn_us(ANN, at(50)) == at(50)
    assert cancelled.windows_text == ""
    assert cancelled.undecided(at(100)) is None


def test_settings_hold_from_the_first_moment_to_the_end() -> None:
    own = schedule(config(settings={"rate": "60/min", "burst": 3}))
    assert [bool(own.at(at(each)).settings) for each in (39, 40, 100, 199, 200)] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert [part.split()[2:] for part in own.windows_text.split(";")[:-1]] == [
        ["p", "60"], ["r", "60"], ["e", "-"],
    ]  # fmt: skip


def test_text_is_read_back_alike() -> None:
    own = schedule(
        config(settings={"title": "Sale"}),
        config(name="late", prequeue=None, start=at(500), end=None),
    )
    [first, second] = own.events
    drawn = own.with_event(replace(first, drawn=Drawn("00" * 32, 7, "ff", "late beacon")))
    assert parse_schedule(drawn.text) == drawn
    assert parse_schedule(drawn.text).events[1] == second
    newer = [{"of_tomorrow": 1, **each} for each in json.loads(own.text)]
    assert parse_schedule(json.dumps(newer)) == own


@pytest.mark.parametrize(
    "text",
    [
        "x", "{}", "[1]", "[{}]", '[{"name": "a"}]', "[" * 100_000, '"' + "a" * 50_000 + '"',
        '[{"name":"a","start_us":1.5,"announced_us":1}]',
        '[{"name":"a","start_us":5,"announced_us":1,"end_us":4}]',
        '[{"name":"a","start_us":5,"announced_us":1,"prequeue_us":6}]',
        '[{"name":"a","start_us":5,"announced_us":1,"order":"lottery"}]',
        '[{"name":"a","start_us":5,"announced_us":1,"settings":{"rate":"fast"}}]',
        '[{"name":"a","start_us":5,"announced_us":1,"drawn":{"secret":"xyz"}}]',
        '[{"name":1,"start_us":5,"announced_us":1}]',
    ],
)  # fmt: skip
def test_malformed_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"xpect|fromhex|rate"):
        parse_schedule(text)


# The draw.


def test_turn_is_provisional_until_the_draw() -> None:
    before = schedule(config())
    [event] = before.events
    secret = draw_secret(FIRST_KEY, room="default", event="sale", announced_us=at(100))
    assert event.commitment == commitment_of(secret)
    assert KEYS.secret_of(event, room="default") == secret

    assert before.drawn_turn_us(ANN, at(40)) == PROVISIONAL_US + at(40)
    after = before.with_event(replace(event, drawn=Drawn(secret.hex(), 5, "0a")))
    turn_us = after.drawn_turn_us(ANN, at(40))
    seed = seed_of(secret, b"\n")
    assert turn_us == drawn_turn_us(seed, ANN, start_us=at(100), span_us=60_000_000)
    assert at(40) <= turn_us < at(100)
    assert after.drawn_turn_us(ANN, at(99.999999)) == turn_us  # for any arrival
    for arrival_us in (at(39.999999), at(100), at(150)):
        assert before.drawn_turn_us(ANN, arrival_us) == arrival_us
        assert after.drawn_turn_us(ANN, arrival_us) == arrival_us


def test_only_tickets_returned_before_the_opening_take_part() -> None:
    """Otherwise the best of many unreturned tickets could be chosen when the order is known."""
    before = schedule(config())
    [event] = before.events
    gathering = EventOrder.of(before, before.at(at(99)))
    assert gathering.turn_us(ANN, at(50)) == PROVISIONAL_US + at(50)
    opened = EventOrder.of(before, before.at(at(100)))
    drawn = before.with_event(replace(event, drawn=Drawn("ab" * 32)))
    after = EventOrder.of(drawn, drawn.at(at(101)))
    for order in (opened, after):
        assert order.turn_us(ANN, at(50)) == at(100)  # after every drawn turn
        assert order.turn_us(ANN, at(39)) == at(39)
        assert order.turn_us(ANN, at(120)) == at(120)
    assert opened.drawn_turn_us(ANN, at(50)) == PROVISIONAL_US + at(50)
    assert after.drawn_turn_us(ANN, at(50)) == drawn.drawn_turn_us(ANN, at(50)) < at(100)


def test_event_in_order_of_arrival_has_no_draw() -> None:
    own = schedule(config(order="arrival"), config(name="b", prequeue=None, start=at(300)))
    assert [event.commitment for event in own.events] == ["", ""]
    assert own.drawn_turn_us(ANN, at(50)) == at(50)
    assert own.undecided(at(1000)) is None


def test_draw_is_due_from_the_start_on_until_it_is_made() -> None:
    own = schedule(config())
    assert own.undecided(at(99.999999)) is None
    event = own.undecided(at(100))
    assert event is not None
    assert own.undecided(at(10_000)) == event
    assert own.with_event(replace(event, drawn=Drawn("00"))).undecided(at(100)) is None


# The file's events and the live ones.


def test_delay_outlives_a_restart_and_keeps_the_secret() -> None:
    own = schedule(config())
    [event] = own.events
    delayed = own.with_event(replace(event, start_us=at(150)))
    again = schedule(config(), known=delayed, now_us=at(90))
    assert again == delayed
    # A delay by the file, of an entry that was announced before.
    changed = config(start=at(160))
    assert schedule(changed, known=delayed, now_us=at(90)) == delayed, "by a start, in the prequeue"
    [moved] = schedule(changed, known=delayed, now_us=at(90), reloads=True).events
    assert (moved.start_us, moved.announced_us) == (at(160), at(100))
    assert moved.commitment == event.commitment


def test_second_sale_of_the_name_has_another_secret() -> None:
    own = schedule(config())
    later = config(prequeue=at(1000), start=at(1100), end=at(1200))
    [second] = schedule(later, known=own, now_us=at(500)).events
    assert second.announced_us == at(1100)
    assert second.commitment != own.events[0].commitment


def test_cancelled_file_event_stays_cancelled_after_a_restart() -> None:
    own = schedule(config())
    cancelled = own.with_event(replace(own.events[0], cancelled=True))
    assert schedule(config(), known=cancelled, now_us=at(10)) == cancelled
    assert not schedule(config(start=at(101)), known=cancelled, now_us=at(10)).events[0].cancelled
    assert schedule(known=cancelled, now_us=at(10)) == cancelled
    assert schedule(known=cancelled, now_us=at(10), reloads=True) == NO_EVENTS


@pytest.mark.parametrize("seconds", [10, 50, 150, 300])
def test_replica_that_starts_with_an_older_file_removes_no_event(seconds: float) -> None:
    own = schedule(config())
    assert schedule(known=own, now_us=at(seconds)) == own


@pytest.mark.parametrize(
    ("seconds", "is_kept"), [(10, False), (50, True), (150, True), (300, True)]
)
def test_reload_removes_only_what_has_not_begun(seconds: float, *, is_kept: bool) -> None:
    """Without the earlier draw a room would order the same visitors in two ways."""
    own = schedule(config())
    after = schedule(known=own, now_us=at(seconds), reloads=True)
    assert (after.find("sale") is not None) is is_kept


def test_reload_of_a_changed_entry_keeps_the_draw_that_was_made() -> None:
    own = schedule(config())
    [event] = own.events
    drawn = own.with_event(replace(event, start_us=at(120), drawn=Drawn("ab" * 32)))
    changed = config(start=at(110), end=at(500), settings={"rate": "60/min"})
    [after] = schedule(changed, known=drawn, now_us=at(130), reloads=True).events
    assert (after.start_us, after.prequeue_us, after.end_us) == (at(120), at(40), at(500))
    assert (after.drawn, after.commitment) == (Drawn("ab" * 32), event.commitment)
    assert after.settings == {"rate": "60/min"}


def test_live_events_stay_when_the_file_is_read_again() -> None:
    [live] = schedule(config(name="live", prequeue=None, start=at(300))).events
    known = Schedule.of([replace(live, file="")])
    assert {each.name for each in schedule(config(), known=known, now_us=0).events} == {
        "live", "sale",
    }  # fmt: skip


def test_new_events_prequeue_begins_no_earlier_than_now() -> None:
    assert schedule(config(), now_us=at(50)).events[0].prequeue_us == at(50) + MARGIN_US
    assert schedule(config(), now_us=at(500)).events[0].prequeue_us == at(100)
    assert schedule(config()).events[0].prequeue_us == at(40)


def test_rotated_key_still_makes_the_secret_until_it_is_removed() -> None:
    [event] = schedule(config()).events
    rotated = SigningKeys((OTHER_KEY, FIRST_KEY))
    assert rotated.secret_of(event, room="default") == KEYS.secret_of(event, room="default")
    assert rotated.committed(event, room="default") == event
    assert SigningKeys((OTHER_KEY,)).secret_of(event, room="default") is None
    assert rotated.secret_of(event, room="other") != KEYS.secret_of(event, room="default")


def test_room_opens_by_the_next_event() -> None:
    own = schedule(config(), config(name="b", prequeue=None, start=at(300), end=None))
    opening = [own.next_start(at(each)) for each in (0, 99, 100, 300)]
    assert [each and each.name for each in opening] == ["sale", "sale", "b", None]
    assert [own.at(at(each)).phase for each in (50, 150)] == [Phase.PREQUEUE, Phase.RUNNING]
    assert isinstance(own.events[0], Event)
