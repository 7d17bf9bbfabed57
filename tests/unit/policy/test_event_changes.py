"""Changes of events by operators: which are allowed at which stage, and which are refused."""

from dataclasses import replace

import pytest

from gatekeeper.config.event_schema import EventConfig, overlaps, spell_time
from gatekeeper.errors import ConfigError, Conflict, NotFound
from gatekeeper.policy.event_changes import (
    NewStart,
    stage_of,
    with_added,
    with_cancelled,
    with_settings,
    with_start,
)
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.planned_events import SigningKeys, forgetting, merged
from gatekeeper.policy.schedule import NO_EVENTS, Drawn, Event, Schedule, parse_schedule
from gatekeeper.policy.tokens import VisitorId

S = 1_000_000
NOW = 1_800_000_000 * S
MINUTE, DAY = 60 * S, 86_400 * S
KEYS = SigningKeys([b"a secret of the tests, longer than 32 bytes"])


def event(
    name: str = "sale",
    *,
    start: int = 60,
    prequeue: int | None = 30,
    end: int | None = 120,
    file: str = "",
) -> Event:
    """An event with a draw; times are minutes from NOW."""
    return KEYS.committed(
        Event(
            name=name,
            start_us=NOW + start * MINUTE,
            announced_us=NOW + start * MINUTE,
            prequeue_us=None if prequeue is None else NOW + prequeue * MINUTE,
            end_us=None if end is None else NOW + end * MINUTE,
            file=file,
        ),
        room="default",
    )


PLANNED = Schedule.of([event()])


def at(minutes: float) -> int:
    return NOW + round(minutes * MINUTE)


def test_stage_follows_the_times() -> None:
    stages = [stage_of(event(), at(minutes)) for minutes in (29, 30, 59, 60, 119, 120)]
    assert stages == ["planned", "prequeue", "prequeue", "running", "running", "ended"]
    assert stage_of(replace(event(), cancelled=True), NOW) == "cancelled"


# Add.


def test_added_event_is_in_the_schedule_with_its_commitment() -> None:
    [added] = with_added(NO_EVENTS, event(), now_us=NOW).events
    assert added == event()
    assert len(added.commitment) == 64


def test_prequeue_in_the_past_begins_in_a_moment() -> None:
    [added] = with_added(NO_EVENTS, event(prequeue=-5), now_us=NOW).events
    assert added.prequeue_us == NOW + 2 * S
    [added] = with_added(NO_EVENTS, event(prequeue=0), now_us=NOW).events
    assert added.prequeue_us == NOW + 2 * S


def test_prequeue_without_time_to_begin_is_refused() -> None:
    late = replace(event(prequeue=-5), start_us=NOW + S)
    with pytest.raises(ConfigError, match="prequeue: it would end before it begins"):
        with_added(NO_EVENTS, late, now_us=NOW)


@pytest.mark.parametrize("start", [0, -1, -1000])
def test_added_start_in_the_past_is_refused(start: int) -> None:
    with pytest.raises(ConfigError, match=r"start: .* is not in the future"):
        with_added(NO_EVENTS, event(start=start, prequeue=None), now_us=NOW)


@pytest.mark.parametrize(
    ("prequeue", "start", "end"),
    [(None, 30, None), (90, 100, 110), (10, 40, 50), (119, 130, 140), (1, 2, None)],
)
def test_overlapping_event_is_refused(prequeue: int | None, start: int, end: int | None) -> None:
    other = event("other", prequeue=prequeue, start=start, end=end)
    with pytest.raises(Conflict, match='"other" overlaps with "sale"'):
        with_added(PLANNED, other, now_us=NOW)


@pytest.mark.parametrize(("prequeue", "start", "end"), [(10, 20, 30), (120, 130, None)])
def test_adjacent_event_is_accepted(prequeue: int, start: int, end: int | None) -> None:
    other = event("other", prequeue=prequeue, start=start, end=end)
    assert len(with_added(PLANNED, other, now_us=NOW).events) == 2


def test_cancelled_and_ended_events_are_in_nobodys_way() -> None:
    cancelled = Schedule.of([replace(event(), cancelled=True)])
    assert len(with_added(cancelled, event("other"), now_us=NOW).events) == 2
    ended = Schedule.of([event(prequeue=-60, start=-30, end=-1)])
    assert len(with_added(ended, event("other"), now_us=NOW).events) == 2


@pytest.mark.parametrize("cancelled", [False, True])
def test_name_in_use_is_refused(cancelled: bool) -> None:
    known = Schedule.of([replace(event(), cancelled=cancelled)])
    later = event(prequeue=200, start=210, end=220)
    with pytest.raises(Conflict, match='the event "sale" exists'):
        with_added(known, later, now_us=NOW)


def test_twenty_events_to_come_are_the_most() -> None:
    schedule = NO_EVENTS
    for number in range(20):
        added = event(f"e{number}", prequeue=None, start=10 + number * 10, end=15 + number * 10)
        schedule = with_added(schedule, added, now_us=NOW)
    with pytest.raises(Conflict, match="expected at most 20"):
        with_added(schedule, event("more", prequeue=None, start=999, end=1000), now_us=NOW)


def test_forty_events_are_kept_at_most() -> None:
    over = [event(f"e{n}", prequeue=None, start=-100 + n, end=-99 + n) for n in range(40)]
    with pytest.raises(Conflict, match="40 including those of the last week"):
        with_added(Schedule.of(over), event(), now_us=NOW)


def test_too_much_text_is_refused() -> None:
    long = replace(event(), settings={"message": "ä" * 11_000})
    with pytest.raises(Conflict, match="too much text"):
        with_added(NO_EVENTS, long, now_us=NOW)


# Move.


def test_delay_keeps_prequeue_secret_and_end() -> None:
    [moved] = with_start(PLANNED, "sale", NewStart(by_us=10 * MINUTE), now_us=at(45)).events
    assert moved == replace(event(), start_us=at(70))
    assert moved.announced_us == at(60)
    assert moved.span_us == 40 * MINUTE
    assert KEYS.secret_of(moved, room="default") == KEYS.secret_of(event(), room="default")


def test_start_may_move_to_an_earlier_time() -> None:
    [moved] = with_start(PLANNED, "sale", NewStart(at_us=at(40)), now_us=NOW).events
    assert moved.start_us == at(40)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (NewStart(at_us=at(-1)), "is not in the future"),
        (NewStart(at_us=at(0)), "is not in the future"),
        (NewStart(at_us=NOW + S), "is not in the future"),
        (NewStart(at_us=at(30)), "not after the prequeue"),
        (NewStart(at_us=at(29)), "not after the prequeue"),
        (NewStart(at_us=at(120)), "not before the end"),
        (NewStart(by_us=60 * MINUTE), "not before the end"),
    ],
)
def test_senseless_start_is_refused(start: NewStart, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"start: .*{problem}"):
        with_start(PLANNED, "sale", start, now_us=NOW)


def test_start_beyond_every_turn_is_refused() -> None:
    endless = Schedule.of([event(end=None)])
    with pytest.raises(ConfigError, match="too far in the future"):
        with_start(endless, "sale", NewStart(at_us=4_000_000_000_000_000), now_us=NOW)


def test_move_into_another_event_is_refused() -> None:
    both = Schedule.of([event(end=None), event("next", prequeue=200, start=210, end=220)])
    with pytest.raises(Conflict, match='"sale" overlaps with "next"'):
        with_start(both, "sale", NewStart(at_us=at(205)), now_us=NOW)


@pytest.mark.parametrize("start", [NewStart(), NewStart(by_us=MINUTE), NewStart(at_us=at(90))])
@pytest.mark.parametrize(
    ("minutes", "problem"), [(60, "has started"), (119, "has started"), (120, "has ended")]
)
def test_move_after_the_start_is_refused(minutes: int, problem: str, start: NewStart) -> None:
    with pytest.raises(Conflict, match=problem):
        with_start(PLANNED, "sale", start, now_us=at(minutes))


def test_move_of_a_drawn_or_cancelled_event_is_refused() -> None:
    drawn = Schedule.of([replace(event(), drawn=Drawn("00" * 32))])
    with pytest.raises(Conflict, match="has started"):
        with_start(drawn, "sale", NewStart(by_us=MINUTE), now_us=at(61))
    cancelled = Schedule.of([replace(event(), cancelled=True)])
    with pytest.raises(Conflict, match="is cancelled"):
        with_start(cancelled, "sale", NewStart(), now_us=NOW)


def test_move_in_the_last_two_seconds_is_refused() -> None:
    for start in (NewStart(by_us=MINUTE), NewStart(at_us=at(90))):
        with pytest.raises(Conflict, match="about to start"):
            with_start(PLANNED, "sale", start, now_us=at(60) - 2 * S)
    assert with_start(PLANNED, "sale", NewStart(), now_us=at(60) - 2 * S) != PLANNED


@pytest.mark.parametrize("name", ["other", "", "SALE"])
def test_unknown_event_is_refused(name: str) -> None:
    with pytest.raises(NotFound, match="which has sale"):
        with_start(PLANNED, name, NewStart(), now_us=NOW)
    with pytest.raises(NotFound):
        with_cancelled(PLANNED, name, now_us=NOW)


# Open now.


def test_open_now_in_the_prequeue_draws_its_visitors() -> None:
    after = with_start(PLANNED, "sale", NewStart(), now_us=at(45))
    [opened] = after.events
    assert opened == replace(event(), start_us=at(45))
    assert opened.has_draw
    assert after.at(at(45)).phase is Phase.RUNNING
    assert after.undecided(at(45)) == opened


@pytest.mark.parametrize("minutes", [10, 30])
def test_open_now_before_the_prequeue_draws_nobody(minutes: int) -> None:
    after = with_start(PLANNED, "sale", NewStart(), now_us=at(minutes))
    [opened] = after.events
    assert (opened.start_us, opened.prequeue_us, opened.commitment) == (at(minutes), None, "")
    assert not opened.has_draw
    assert after.at(at(minutes)).phase is Phase.RUNNING


def test_open_now_during_another_event_is_refused() -> None:
    both = Schedule.of([event(), event("next", prequeue=200, start=210, end=220)])
    with pytest.raises(Conflict, match='"next" overlaps with "sale"'):
        with_start(both, "next", NewStart(), now_us=at(70))


# Cancel.


def test_cancelled_live_event_is_gone_before_its_prequeue() -> None:
    assert with_cancelled(PLANNED, "sale", now_us=NOW) == NO_EVENTS


def test_cancelled_event_of_the_file_stays_as_cancelled() -> None:
    [kept] = with_cancelled(Schedule.of([event(file="f")]), "sale", now_us=NOW).events
    assert kept == replace(event(file="f"), cancelled=True)


def test_cancelled_event_in_its_prequeue_stays_for_those_in_line() -> None:
    after = with_cancelled(PLANNED, "sale", now_us=at(45))
    [kept] = after.events
    assert kept.cancelled
    assert after.at(at(45)).phase is Phase.RUNNING
    assert after.covering(at(40)) is None, "they stand at their arrival"
    assert forgetting(after, now_us=at(60) + DAY - 1) == after
    assert forgetting(after, now_us=at(60) + DAY) == NO_EVENTS


def test_cancelled_running_event_ends_and_keeps_its_turns() -> None:
    drawn = Schedule.of([replace(event(), drawn=Drawn("00" * 32))])
    after = with_cancelled(drawn, "sale", now_us=at(70))
    [ended] = after.events
    assert (ended.end_us, ended.after, ended.cancelled) == (at(70), "normal", False)
    assert after.at(at(70)).phase is Phase.RUNNING
    assert after.at(at(70)).settings == {}
    visitor = VisitorId("v" * 22)
    assert after.drawn_turn_us(visitor, at(40)) == drawn.drawn_turn_us(visitor, at(40))


@pytest.mark.parametrize("file", ["", "f"])
def test_second_cancellation_is_refused(file: str) -> None:
    cancelled = Schedule.of([replace(event(file=file), cancelled=True)])
    with pytest.raises(Conflict, match="is cancelled"):
        with_cancelled(cancelled, "sale", now_us=NOW)
    with pytest.raises(Conflict, match="has ended"):
        with_cancelled(PLANNED, "sale", now_us=at(120))


def test_ended_event_is_kept_until_its_secret_cannot_return() -> None:
    """A second event with that name and start would have the secret that was published."""
    opened = with_start(PLANNED, "sale", NewStart(), now_us=at(45))
    ended = with_cancelled(opened, "sale", now_us=at(46))
    assert forgetting(ended, now_us=at(60) + 7 * DAY - 1) == ended
    assert forgetting(ended, now_us=at(60) + 7 * DAY) == NO_EVENTS


# Settings.


def test_settings_of_an_event_change_nothing_else() -> None:
    [changed] = with_settings(PLANNED, "sale", {"rate": "9/min"}).events
    assert changed == replace(event(), settings={"rate": "9/min"})
    assert changed.rate_per_minute == 9


def test_longest_events_of_file_and_operators_can_be_read_again() -> None:
    """The events that each side accepts are together a schedule that replicas can parse."""
    message, schedule = "\N{PARTY POPPER}" * 500, NO_EVENTS
    for number in range(20):
        live = event(f"live{number}", prequeue=None, start=10 + number * 10, end=15 + number * 10)
        try:
            schedule = with_added(
                schedule, replace(live, settings={"message": message}), now_us=NOW
            )
        except Conflict:
            break
    assert len(schedule.events) > 5
    configs = [
        EventConfig.model_validate(
            {
                "name": f"file{number}",
                "start": spell_time(NOW + number * MINUTE),
                "end": spell_time(NOW + number * MINUTE + S),
                "settings": {"message": message},
            }
        )
        for number in range(20)
    ]
    while any("characters" in problem for problem in overlaps(configs)):
        configs.pop()
    assert len(configs) > 5
    joined = merged(schedule, configs, room="default", keys=KEYS, now_us=NOW, reloads=True)
    assert parse_schedule(joined.text) == joined
