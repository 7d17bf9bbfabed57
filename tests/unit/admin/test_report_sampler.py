"""Readings of each second become minutes, on the store's clock."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.admin.history import Reading
from gatekeeper.admin.report_sampler import MinuteSampler
from gatekeeper.policy.phase import Mode
from gatekeeper.room.worker_figures import RequestCounts
from tests.unit.admin.report_samples import RULES, SALE, START_S, figures, line, minutes_of


def changed(readings: Iterator[Reading], second: int, **state: object) -> Iterator[Reading]:
    """The readings, with other values of the state from `second` on."""
    for at, reading in enumerate(readings):
        if at < second:
            yield reading
        else:
            room = replace(reading.rooms[SALE], **state)  # type: ignore[arg-type]
            yield replace(reading, rooms={SALE: room})


def without_rooms(readings: Iterator[Reading], first: int, last: int) -> Iterator[Reading]:
    """The readings, while the store is unreachable from a second to another."""
    for at, reading in enumerate(readings):
        yield replace(reading, rooms={}) if first <= at < last else reading


def test_minutes_have_growth_and_ends() -> None:
    first, second, third = minutes_of(line(180))
    assert [each.at_s for each in (first, second, third)] == [START_S, START_S + 60, START_S + 120]
    # The first reading is the base of the first minute.
    assert (first.arrived, second.arrived, third.arrived) == (118, 120, 120)
    assert (second.released, second.admitted, second.abandoned) == (60, 60, 0)
    assert (first.queue, second.queue, second.queue_most) == (60, 120, 120)
    assert (second.forwarded, second.waiting, second.waits) == (60, 120, (60,))
    assert (second.most_released, second.rate, second.burst) == (60, 60, 10)
    assert (second.first_s, second.last_s, second.phase) == (0, 59, "running")


def test_points_are_a_quarter_of_a_minute_apart() -> None:
    [_, second] = minutes_of(line(120))
    at_s = [point.at_us // 1_000_000 - START_S for point in second.points]
    assert at_s == [60, 75, 90, 105]
    # Two a second arrive and one is released: after 61 s there are 61 in line.
    assert (second.points[0].queue_length, second.points[0].shown_wait_s) == (61, 62)


def test_no_wait_is_reported_while_the_page_shows_none() -> None:
    for held in (
        {"mode": Mode.HOLD},
        {"undrawn": 3},
        {"queue_length": 0},
        {"rate_per_minute": 0.0},
    ):
        [minute] = minutes_of(changed(line(60), 0, **held))
        assert {point.shown_wait_s for point in minute.points} == {None}, held


def test_mode_open_has_no_rate() -> None:
    [first, second, third] = minutes_of(
        replace(reading, rooms={SALE: replace(reading.rooms[SALE], mode=mode)})
        for at, reading in enumerate(line(180))
        for mode in [Mode.OPEN if at == 70 else Mode.AUTO]
    )
    assert (first.rate, second.rate) == (60, None)
    assert third.rate is None  # a window of 60 seconds began while it was open


def test_store_clock_names_the_minutes() -> None:
    """This machine is an hour behind."""
    readings = (replace(each, at_s=each.at_s - 3600) for each in line(120))
    assert [each.at_s for each in minutes_of(readings)] == [START_S, START_S + 60]


def test_unreachable_store_is_a_gap_with_origin_figures() -> None:
    minutes = minutes_of(without_rooms(line(240), 60, 130))
    assert [each.arrived for each in minutes] == [118, None, 98, 120]
    assert [each.totals for each in minutes][1] == ()
    assert minutes[1].forwarded == 60
    assert minutes[1].queue is None


def test_growth_of_a_long_pause_belongs_to_no_minute() -> None:
    readings = [*islice(line(360), 0, 60), *islice(line(360), 300, 360)]
    first, last = minutes_of(iter(readings))
    assert (first.arrived, last.arrived) == (118, 118)
    assert last.most_released == 59
    assert last.totals[0] == 720


def test_totals_of_a_new_store_count_from_its_birth() -> None:
    """The first visitors may arrive before the first reading, but not before the epoch of the
    room."""
    born = {"epoch": START_S * 1_000_000 - 500_000, "recovering_until_us": 0}
    [minute] = minutes_of(changed(line(30), 0, **born))
    assert minute.arrived == 60
    written_back = born | {"recovering_until_us": (START_S + 20) * 1_000_000}
    [minute] = minutes_of(changed(line(30), 0, **written_back))
    assert minute.arrived == 58


def test_short_restart_loses_no_visitor() -> None:
    readings = list(line(180))
    kept = minutes_of(iter(readings[:80]))
    sampler = MinuteSampler()
    sampler.resume(SALE, kept[-1])
    for reading in readings[100:120]:
        sampler.add(reading, RULES)
    assert sampler.running(RULES)[SALE].arrived == 80
    late = MinuteSampler()
    late.resume(SALE, kept[-1])
    late.add(readings[170], RULES)
    assert late.running(RULES)[SALE].arrived == 0


def test_total_that_falls_and_returns_is_counted_once() -> None:
    """After a loss the replicas write the totals back to the store."""
    [_, second, _] = minutes_of(
        replace(reading, rooms={SALE: replace(reading.rooms[SALE], arrived_total=0)})
        if 70 <= at < 75
        else reading
        for at, reading in enumerate(line(180))
    )
    assert second.arrived == 120


def test_replica_that_starts_again_counts_from_zero() -> None:
    def served(forwarded: int, **more: tuple[int, ...]) -> Reading:
        counts = RequestCounts(forwarded=forwarded, **more)  # type: ignore[arg-type]
        return Reading(START_S + 60, {}, {"one": figures("one", counts)})

    first = replace(served(100), at_s=START_S)
    [_, second] = minutes_of(iter([first, served(160), replace(served(7), at_s=START_S + 61)]))
    assert second.forwarded == 7
    [_, second] = minutes_of(
        iter([replace(served(5, origin=(9, 1)), at_s=START_S), served(5, origin=(9, 4, 2, 0))])
    )
    assert (second.forwarded, second.origin) == (0, (0, 3, 2))


def test_replica_of_another_gate_is_added_from_when_it_is_seen() -> None:
    one, two = RequestCounts(forwarded=10), RequestCounts(forwarded=1000)
    readings = [
        Reading(START_S, {}, {"one": figures("one", one)}),
        Reading(START_S + 5, {}, {"one": figures("one", one), "two": figures("two", two)}),
        Reading(
            START_S + 10,
            {},
            {
                "one": figures("one", replace(one, forwarded=11)),
                "two": figures("two", replace(two, forwarded=1002)),
            },
        ),
    ]
    [minute] = minutes_of(iter(readings))
    assert minute.forwarded == 3


def test_silent_replicas_leave_no_request_figures() -> None:
    [minute] = minutes_of(replace(each, replicas={}) for each in line(60))
    assert (minute.forwarded, minute.waiting, minute.waits) == (None, None, ())
    assert minute.arrived == 118


def test_clock_that_is_set_back_a_little_ends_no_minute() -> None:
    readings = list(line(130))
    back = [replace(each, at_s=each.at_s, rooms=each.rooms) for each in readings[50:60]]
    minutes = minutes_of(iter([*readings[:70], *back, *readings[70:]]))
    assert [each.at_s - START_S for each in minutes] == [0, 60, 120]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(0, 600))
def test_no_visitor_is_counted_twice_or_lost(counts: list[int], rate: int) -> None:
    minutes = minutes_of(
        line(len(counts), arrivals=lambda second: counts[second], rate=lambda _second: rate)
    )
    assert sum(each.arrived or 0 for each in minutes) == sum(counts[1:])
    assert minutes[-1].totals[0] == sum(counts)
    assert all((each.most_released or 0) <= rate + 1 + (each.burst or 0) for each in minutes)
