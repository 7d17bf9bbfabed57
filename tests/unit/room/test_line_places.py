"""The places of visitors in line while the store is unreachable."""

import pytest

from gatekeeper.room.line_places import LinePlaces

LENGTH = 40_000
START_US = 1_800_000_000_000_000


def turn_of(place: int) -> int:
    """Arrivals become more frequent, then less frequent."""
    return START_US + place * 1000 + place * place // 100


def line(length: int = LENGTH, *, released: int = 0) -> LinePlaces:
    places = LinePlaces()
    for place in range(0, length, 7):
        places.note(turn_of(place + released), place, released_total=released, now_us=0)
    return places


@pytest.mark.parametrize("place", [0, 7, 20, 100, 999, 5432, 20_000, LENGTH - 100])
def test_place_is_within_a_tenth(place: int) -> None:
    estimate = line().ahead_of(turn_of(place), released_total=0)
    assert estimate is not None
    assert abs(estimate - place) <= max(place / 10, 7)


def test_releases_since_are_subtracted() -> None:
    places = line()
    before = places.ahead_of(turn_of(5000), released_total=0)
    after = places.ahead_of(turn_of(5000), released_total=1000)
    assert before is not None
    assert after == before - 1000
    assert places.ahead_of(turn_of(500), released_total=1000) == 0


def test_newest_place_of_a_step_counts() -> None:
    places = line()
    for place in range(0, LENGTH - 10_000, 7):  # 10,000 were released
        places.note(turn_of(place + 10_000), place, released_total=10_000, now_us=1)
    estimate = places.ahead_of(turn_of(15_000), released_total=10_000)
    assert estimate is not None
    assert abs(estimate - 5000) <= 500


def test_place_of_long_ago_is_forgotten() -> None:
    """Most of a line left: a place that no visitor has had since gives no information."""
    places = line()
    for place in range(0, 100, 7):
        places.note(turn_of(place * 300), place, released_total=0, now_us=120_000_000)
    estimate = places.ahead_of(turn_of(29_000), released_total=0)
    assert estimate is not None
    assert estimate <= 100


def test_turn_behind_all_places_is_at_the_end() -> None:
    estimate = line().ahead_of(turn_of(LENGTH * 2), released_total=0)
    assert estimate is not None
    assert estimate >= LENGTH - 7


def test_unknown_line_has_no_places() -> None:
    assert LinePlaces().ahead_of(START_US, released_total=0) is None


def test_memory_is_bounded() -> None:
    assert len(line(200_000)._places) < 150
