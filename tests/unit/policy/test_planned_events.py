"""Entries of the file that change or are removed, before, during and after their events."""

from dataclasses import replace

import pytest

from gatekeeper.config.event_schema import EventConfig, spell_time
from gatekeeper.policy.event_changes import NewStart, with_start
from gatekeeper.policy.planned_events import merged, new_overlaps, refusals
from gatekeeper.policy.schedule import NO_EVENTS, Drawn, Event, Schedule, parse_schedule
from gatekeeper.policy.tokens import VisitorId
from tests.unit.policy.test_event_changes import KEYS, MINUTE, NOW, S, at, event


def config_of(planned: Event, **keys: object) -> EventConfig:
    table: dict[str, object] = {
        "name": planned.name,
        "prequeue": spell_time(planned.first_us),
        "start": spell_time(planned.start_us),
        "end": spell_time(planned.last_us),
    }
    return EventConfig.model_validate(table | keys)


def read_again(known: Schedule, *configs: EventConfig, minutes: float) -> Schedule:
    """The schedule after a reload; the second entry is that of the previous file."""
    return merged(
        known,
        configs[:1],
        room="default",
        keys=KEYS,
        now_us=at(minutes),
        reloads=True,
        previous=configs[1:],
    )


def refused(known: Schedule, *configs: EventConfig, minutes: float) -> list[str]:
    return refusals(known, configs[:1], now_us=at(minutes), previous=configs[1:])


FILE = merged(NO_EVENTS, [config_of(event())], room="default", keys=KEYS)


def test_removed_entry_leaves_nothing_before_its_prequeue() -> None:
    assert read_again(FILE, minutes=29) == NO_EVENTS


@pytest.mark.parametrize("minutes", [29.99, 30, 45])
def test_removed_entry_in_its_prequeue_stays_for_those_in_line(minutes: float) -> None:
    """Otherwise they would stay at their provisional turns."""
    [kept] = read_again(FILE, minutes=minutes).events
    assert (kept.cancelled, kept.file) == (True, "")


def test_removed_entry_of_a_running_event_ends_it_with_its_draw() -> None:
    [planned] = FILE.events
    drawn = Schedule.of([replace(planned, drawn=Drawn("00" * 32))])
    after = read_again(drawn, minutes=70)
    [ended] = after.events
    assert (ended.end_us, ended.after, ended.file) == (at(70), "normal", "")
    visitor = VisitorId("v" * 22)
    assert after.drawn_turn_us(visitor, at(40)) == drawn.drawn_turn_us(visitor, at(40))
    assert read_again(after, minutes=71) == after, "and its record stays"


def test_changed_entry_of_a_running_event_keeps_its_draw() -> None:
    [planned] = FILE.events
    [delayed] = with_start(FILE, "sale", NewStart(by_us=5 * MINUTE), now_us=at(31)).events
    drawn = Schedule.of([replace(delayed, drawn=Drawn("00" * 32))])
    config = config_of(planned, settings={"rate": "9/min"}, end=spell_time(at(200)))
    [changed] = read_again(drawn, config, minutes=70).events
    assert (changed.rate_per_minute, changed.end_us) == (9, at(200))
    kept = replace(changed, settings={}, end_us=delayed.end_us, file=delayed.file)
    assert kept == drawn.events[0]


def test_later_start_of_an_ended_entry_makes_a_new_event() -> None:
    [planned] = FILE.events
    drawn = Schedule.of([replace(planned, drawn=Drawn("00" * 32))])
    next_ = event(prequeue=1030, start=1060, end=1120)
    over_min = (planned.last_us - NOW) / MINUTE
    [changed] = read_again(drawn, config_of(next_), minutes=over_min + 1).events
    assert (changed.start_us, changed.drawn) == (at(1060), None)
    assert changed.commitment == next_.commitment != planned.commitment
    assert refused(drawn, config_of(next_), minutes=over_min + 1) == []
    # While it runs, its draw is final.
    [kept] = read_again(drawn, config_of(next_), minutes=70).events
    assert (kept.start_us, kept.drawn) == (planned.start_us, Drawn("00" * 32))
    [problem] = refused(drawn, config_of(next_), minutes=70)
    assert problem.startswith('event "sale": it has started')
    assert refused(drawn, config_of(next_), config_of(next_), minutes=70) == []


@pytest.mark.parametrize(
    ("prequeue", "start", "minutes", "problem"),
    [
        (-60, -30, 45, "is not in the future"),  # the hour is wrong
        (-60, 44, 45, "is not in the future"),
        (10, 20, 29, "is not in the future"),
        (30, 60, 45, ""),
        (50, 61, 45, ""),
        (10, 60, 20, ""),
        (70, 80, 45, ""),
    ],
)
def test_changed_times_leave_events_that_replicas_can_read(
    prequeue: int, start: int, minutes: float, problem: str
) -> None:
    config = config_of(event(prequeue=prequeue, start=start, end=200))
    after = read_again(FILE, config, minutes=minutes)
    assert parse_schedule(after.text) == after
    found = refused(FILE, config, minutes=minutes)
    assert [problem in each for each in found] == [True] * bool(problem)
    assert (after == FILE) is bool(problem) or config.start == FILE.events[0].start_us


def test_start_before_a_prequeue_that_has_begun_is_refused() -> None:
    [planned] = FILE.events
    late = FILE.with_event(replace(planned, prequeue_us=at(50)))
    config = config_of(event(prequeue=47, start=49, end=200))
    assert "is not in the future" in refused(late, config, minutes=51)[0]
    assert read_again(late, config, minutes=51) == late


def test_times_that_the_file_has_as_before_stay_as_they_are_now() -> None:
    """A delay remains after a change of the rate."""
    [planned] = FILE.events
    delayed = with_start(FILE, "sale", NewStart(by_us=5 * MINUTE), now_us=at(31))
    config = config_of(planned, settings={"rate": "9/min"})
    for minutes in (40, 62):
        [changed] = read_again(delayed, config, config_of(planned), minutes=minutes).events
        assert (changed.start_us, changed.rate_per_minute) == (planned.start_us + 5 * MINUTE, 9)
        assert refused(delayed, config, config_of(planned), minutes=minutes) == []
    moved = config_of(planned, start=spell_time(at(75)))
    [changed] = read_again(delayed, moved, config_of(planned), minutes=40).events
    assert changed.start_us == at(75)


def test_end_before_a_delayed_start_is_refused() -> None:
    [planned] = FILE.events
    delayed = with_start(FILE, "sale", NewStart(by_us=30 * MINUTE), now_us=at(31))
    config = config_of(planned, end=spell_time(at(80)))
    assert "is not after its start" in refused(delayed, config, config_of(planned), minutes=40)[0]
    assert read_again(delayed, config, config_of(planned), minutes=40) == delayed


def test_prequeue_moved_into_the_past_begins_in_a_moment() -> None:
    """Visitors who are already in line stay ahead of it, and do not take part in the draw."""
    [planned] = FILE.events
    config = config_of(planned, prequeue=spell_time(at(1)))
    [changed] = read_again(FILE, config, minutes=20).events
    assert at(20) < changed.first_us <= at(20) + 5 * S


def test_file_event_that_overlaps_with_a_live_one_is_a_problem() -> None:
    """One of the two would open the room while the other closes it."""
    live = replace(event("live", prequeue=150, start=160, end=200), file="")
    known = FILE.with_event(live)
    longer = config_of(FILE.events[0], end=spell_time(at(151)))
    after = read_again(known, longer, minutes=20)
    [problem] = new_overlaps(known, after, now_us=at(20))
    assert '"sale"' in problem
    assert '"live"' in problem
    assert new_overlaps(after, after, now_us=at(20)) == []
    assert new_overlaps(known, after, now_us=at(201)) == []
    cancelled = after.with_event(replace(live, cancelled=True))
    assert new_overlaps(known, cancelled, now_us=at(20)) == []
