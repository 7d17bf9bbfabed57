"""After a loss of the store, no visitor is released ahead of an honest visitor who has not returned
yet, for any order of losses, network failures, pauses, ends, starts and changes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import ROOM_TIMEOUT_S, examples
from tests.property.honest_line import HonestLine

DELAYS = st.floats(0.0, 12.0, allow_nan=False)
SPANS = st.floats(0.2, 9.0, allow_nan=False)
ATS = st.integers(0, 5)
EVENTS = st.lists(
    st.tuples(
        DELAYS,
        st.one_of(
            st.tuples(st.just("lose_line")),
            st.tuples(st.just("lose_line")),
            st.tuples(st.just("roll_back"), SPANS, st.sampled_from([0.0, 0.0, 5.0, 20.0])),
            st.tuples(st.just("cut"), SPANS),
            st.tuples(st.just("cut_one"), SPANS, ATS, st.booleans()),
            st.tuples(st.just("hang"), SPANS),
            st.tuples(st.just("pause_replica"), ATS, SPANS),
            st.tuples(st.just("end_replica"), ATS),
            st.tuples(st.just("start_replica")),
            st.tuples(st.just("set_rate"), st.sampled_from([6.0, 60.0, 600.0])),
            st.tuples(st.just("arrive"), st.integers(1, 10)),
            st.tuples(st.just("lose_and_cut"), SPANS),
        ),
    ),
    min_size=1,
    max_size=10,
)


def happen(line: HonestLine, event: tuple[Any, ...]) -> None:
    match event:
        case ("cut_one", seconds, at, hangs):
            line.cut(seconds, at=at, hangs=hangs)
        case ("hang", seconds):
            line.cut(seconds, hangs=True)
        case ("lose_and_cut", seconds):
            line.cut(seconds)
            line.lose_line()
        case (name, *arguments):
            getattr(line, name)(*arguments)


@pytest.mark.timeout(ROOM_TIMEOUT_S)
@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([6.0, 60.0, 300.0]),
    visitors=st.integers(3, 40),
    max_active=st.sampled_from([0, 0, 20]),
    age_s=st.sampled_from([0.0, 0.0, 30.0, 150.0]),
    events=EVENTS,
)
def test_no_visitor_is_released_past_one_yet_to_return(
    seed: int, rate: float, visitors: int, max_active: int, age_s: float, events: list[Any]
) -> None:
    line = HonestLine(seed=seed, rate_per_minute=rate, max_active=max_active)
    try:
        line.run(age_s)
        line.arrive(visitors)
        line.run(5.0)
        for delay_s, event in events:
            line.run(delay_s)
            happen(line, event)
        line.run(60.0)
    finally:
        line.close()
