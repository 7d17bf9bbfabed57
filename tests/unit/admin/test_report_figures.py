"""Figures of a period: gaps, the maximum in any minute, and the quality of the estimates."""

from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.admin.history import quantile
from gatekeeper.admin.report_estimates import EstimateQuality, estimates, quality_of
from gatekeeper.admin.report_figures import Counts, ReportFigures, Span, figures_of, gaps_of
from gatekeeper.admin.report_minutes import MINUTE_S, Minute, MinutePoint
from gatekeeper.policy.schedule import NO_EVENTS, Event, Schedule
from tests.profiles import examples
from tests.unit.admin.report_samples import START_S, line, minutes_of


def figures(minutes: list[Minute], *, seconds: int | None = None) -> ReportFigures:
    until_s = minutes[-1].at_s + 60 if seconds is None else START_S + seconds
    return figures_of(minutes, Span(START_S, until_s), schedule=NO_EVENTS)


def test_figures_of_a_quiet_room_are_zeros_and_unknowns() -> None:
    found = figures(minutes_of(line(120, arrivals=lambda _second: 0)))
    assert found.counts == Counts(0, 0, 0, 0, 0)
    assert (found.waits.p50, found.origin.p99, found.failed_share) == (None, None, None)
    assert found.gaps == ()
    assert found.estimate == EstimateQuality(0)


def test_figures_without_minutes_are_one_gap() -> None:
    found = figures_of([], Span(START_S, START_S + 600), schedule=NO_EVENTS)
    assert found.gaps == (Span(START_S, START_S + 600),)
    assert (found.queue_most, found.most_released) == (None, None)


def test_left_is_without_no_shows() -> None:
    minutes = [Minute(START_S, abandoned=5, no_shows=2), Minute(START_S + 60, abandoned=1)]
    assert figures(minutes).counts == Counts(0, 0, 0, 4, 2)


def test_most_in_any_minute_is_named_with_what_was_allowed() -> None:
    minutes = [
        Minute(START_S, most_released=7, most_admitted=3, rate=6.0, burst=2),
        Minute(START_S + 60, most_released=9, most_admitted=3, rate=None, burst=2),
    ]
    found = figures(minutes)
    assert found.most_released == (9, START_S + 60, None)
    assert found.most_admitted == (3, START_S, 8.0)


@given(st.sets(st.integers(0, 59)))
def test_gaps_are_the_minutes_that_are_missing(kept: set[int]) -> None:
    minutes = [Minute(START_S + MINUTE_S * index, totals=(0,) * 4) for index in sorted(kept)]
    gaps = gaps_of(minutes, Span(START_S, START_S + 3600))
    missing = {
        (at_s - START_S) // MINUTE_S
        for gap in gaps
        for at_s in range(gap.since_s, gap.until_s, MINUTE_S)
    }
    assert missing == set(range(60)) - kept
    assert all(one.until_s < other.since_s for one, other in pairwise(gaps))


def test_minute_without_the_store_is_a_gap() -> None:
    minutes = [Minute(START_S, totals=(0,) * 4), Minute(START_S + 60, forwarded=4)]
    assert gaps_of(minutes, Span(START_S, START_S + 120)) == (Span(START_S + 60, START_S + 120),)


def test_running_minute_is_no_gap() -> None:
    assert gaps_of([Minute(START_S, totals=(0,) * 4)], Span(START_S, START_S + 90)) == ()


def test_growth_in_a_gap_is_known_as_a_sum() -> None:
    minutes = minutes_of(line(600))
    cut = [*minutes[:3], *minutes[7:]]
    found = figures(cut)
    assert found.gaps == (Span(START_S + 180, START_S + 420),)
    assert found.unobserved == Counts(4 * 120, 4 * 60, 4 * 60, 0, 0)
    assert found.counts.arrived + found.unobserved.arrived == figures(minutes).counts.arrived


def test_totals_that_a_store_lost_are_no_growth() -> None:
    minutes = minutes_of(line(120))
    lost = replace(minutes[1], totals=(1, 1, 1, 0))
    assert figures([minutes[0], lost]).unobserved == Counts(0, 0, 0, 0, 0)


# Estimates


def quality_after_change(seconds: int, *, arrivals: int, rate: float) -> EstimateQuality:
    """For ten minutes `arrivals` visitors a second arrive, and one a second is released. Then no
    visitor arrives, and `rate` are released a minute."""
    readings = line(
        seconds,
        arrivals=lambda second: arrivals if second < 600 else 0,
        rate=lambda second: 60 if second < 600 else rate,
    )
    return quality_of(minutes_of(readings), NO_EVENTS)


def test_estimate_of_a_steady_line_is_right() -> None:
    """Two visitors a second arrive for ten minutes; one a second is released until the line is
    empty."""
    quality = quality_after_change(1500, arrivals=2, rate=60)
    assert 1150 <= quality.visitors <= 1200
    assert quality.within == 1
    assert quality.error_p90_s is not None
    assert quality.error_p90_s < 10


def test_rate_that_is_halved_makes_waits_longer() -> None:
    quality = quality_after_change(2400, arrivals=2, rate=30)
    assert quality.longer is not None
    assert quality.longer > 0.4
    assert quality.shorter == 0
    assert quality.within == pytest.approx(1 - quality.longer, abs=1e-3)


def test_rate_that_is_doubled_makes_waits_shorter() -> None:
    quality = quality_after_change(1500, arrivals=4, rate=240)
    assert quality.shorter is not None
    assert quality.shorter > 0.4
    assert quality.longer == 0


def test_visitors_whose_turn_has_not_come_are_left_out() -> None:
    minutes = minutes_of(line(600))
    whole = sum(each.visitors for each in estimates(minutes))
    assert 0.4 * 1200 < whole < 0.6 * 1200


def test_release_within_a_gap_is_unknown() -> None:
    minutes = minutes_of(line(1500, arrivals=lambda second: 2 if second < 600 else 0))
    cut = [*minutes[:6], *minutes[16:]]
    known = sum(each.visitors for each in estimates(cut))
    assert 0 < known < sum(each.visitors for each in estimates(minutes))
    assert quality_of(cut, NO_EVENTS).within == 1  # the cut makes none of them wrong


def test_participants_of_a_draw_are_judged_from_the_draw_on() -> None:
    """600 arrive in ten minutes; one a second is released from the start on, two if `faster`."""
    event = Event(
        "sale",
        start_us=(START_S + 600) * 1_000_000,
        announced_us=1,
        prequeue_us=START_S * 1_000_000,
    )
    schedule = Schedule.of([event])

    def at(second: int, *, faster: int) -> MinutePoint:
        now_us = (START_S + second) * 1_000_000
        if second < 600:
            return MinutePoint(now_us, second, 0, None, second, 0.0)
        gone = min((second - 600) * faster, 600)
        watermark_us = event.first_us + event.span_us * gone // 600
        return MinutePoint(now_us, 600 - gone, watermark_us if gone else 0, None, 0, 60.0)

    def drawn(faster: int) -> EstimateQuality:
        minutes = [
            Minute(
                START_S + 60 * index,
                arrived=60 if index < 10 else 0,
                points=tuple(at(60 * index + 15 * part, faster=faster) for part in range(4)),
            )
            for index in range(22)
        ]
        return quality_of(minutes, schedule)

    right = drawn(1)
    assert (right.visitors, right.within) == (585, 1)  # by the last reading before the start
    faster = drawn(2)
    assert faster.shorter is not None
    assert faster.shorter > 0.7


@settings(max_examples=examples(20))
@given(
    st.lists(st.integers(0, 3), min_size=20, max_size=60),
    st.lists(st.sampled_from([0.0, 30.0, 90.0]), min_size=20, max_size=60),
    st.sets(st.integers(0, 6)),
)
def test_estimates_are_of_real_visitors(
    counts: list[int], rates: list[float], lost: set[int]
) -> None:
    """For any changes of the line and of the files."""
    readings = islice(
        line(
            400,
            arrivals=lambda second: counts[second % len(counts)],
            rate=lambda second: rates[second % len(rates)],
        ),
        400,
    )
    minutes = [each for index, each in enumerate(minutes_of(readings)) if index not in lost]
    found = list(estimates(minutes))
    assert all(each.took_s >= 0 and each.shown_wait_s > 0 for each in found)
    assert sum(each.visitors for each in found) <= sum(each.arrived or 0 for each in minutes)
    quality = quality_of(minutes, NO_EVENTS)
    if quality.within is not None and quality.longer is not None and quality.shorter is not None:
        assert quality.within + quality.longer + quality.shorter == pytest.approx(1, abs=1e-3)


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.floats(0.01, 0.99))
def test_quantiles_are_in_their_bucket(counts: list[int], share: float) -> None:
    found = quantile((1.0, 2.0, float("inf")), counts, share)
    assert (found is None) == (sum(counts) == 0)
    assert found is None or 0 <= found <= 2
