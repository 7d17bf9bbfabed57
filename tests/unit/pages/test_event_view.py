"""The countdown of an event, and when pages without a place are loaded again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.pages.event_view import DrawNumber, EventView, renewal_s, retry_s
from gatekeeper.pages.languages import language_by_code, languages

EVENT = EventView(name="sale", starts_at="2026-12-01T09:00:00Z", starts_in_s=0.0)
shares = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("seconds", "days", "clock"),
    [
        (0.0, 0, "00:00:00"),
        (0.001, 0, "00:00:01"),
        (59.0, 0, "00:00:59"),
        (3599.2, 0, "01:00:00"),
        (86_399.5, 1, "00:00:00"),
        (3 * 86_400 + 7261.0, 3, "02:01:01"),
    ],
)
def test_countdown_has_days_and_a_clock_rounded_up(seconds: float, days: int, clock: str) -> None:
    event = replace(EVENT, starts_in_s=seconds)
    assert (event.days_left, event.clock_left) == (days, clock)
    assert event.starts_in_ms is not None
    assert event.starts_in_ms >= seconds * 1000


def test_event_that_has_started_has_no_remaining_time() -> None:
    event = replace(EVENT, starts_in_s=None)
    assert (event.starts_in_ms, event.days_left, event.clock_left) == (None, 0, "00:00:00")


def test_number_in_a_draw_is_its_first_digits() -> None:
    assert DrawNumber("3f2a91c4" + "0" * 56, 7).short == "3f2a 91c4"


@given(st.floats(0, 600), st.floats(1, 60), shares)
def test_renewal_is_never_before_the_opening(left_s: float, spread_s: float, share: float) -> None:
    again_s = renewal_s(left_s, spread_s=spread_s, share=share)
    assert again_s >= max(left_s, 1)
    assert again_s <= left_s + spread_s + 1


@given(st.floats(600.5, 4e7), shares)
def test_long_wait_is_cut_into_parts(left_s: float, share: float) -> None:
    again_s = renewal_s(left_s, spread_s=36, share=share)
    assert 300 <= again_s <= 600
    assert again_s <= left_s / 2 + 1


def test_renewals_of_one_opening_are_spread_evenly() -> None:
    """Of 100,000 pages at most 1.2 times their share returns in any second."""
    count = 100_000
    again = [renewal_s(300, spread_s=36, share=number / count) for number in range(count)]
    per_second = [again.count(second) for second in range(300, 338)]
    assert sum(per_second) == count
    assert max(per_second) <= count / 36 * 1.2


@given(shares)
def test_full_line_is_tried_again_politely(share: float) -> None:
    assert 36 <= retry_s(spread_s=36, share=share) <= 72


@pytest.mark.parametrize("lang", [each.code for each in languages().values()])
def test_moment_and_days_are_in_the_language(lang: str) -> None:
    language = language_by_code(lang)
    moment = language.moment("2026-12-01T09:05:00Z")
    assert "2026" in moment
    assert "09:05" in moment or "9:05" in moment
    assert "{" not in moment
    assert "30" in language.days(30)


def test_days_have_their_plural_form() -> None:
    russian = language_by_code("ru")
    assert [russian.days(n).split()[-1] for n in (1, 3, 11)] == ["день", "дня", "дней"]
