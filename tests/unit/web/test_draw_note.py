"""The note in the public record of a draw."""

from dataclasses import replace

import pytest

from gatekeeper.policy.schedule import Drawn, Event
from gatekeeper.web.draws import note_of

EVENT = Event("sale", start_us=100, announced_us=100, prequeue_us=40)
LATE = "the beacon was late"


@pytest.mark.parametrize(
    ("drawn", "store_created_us", "is_lost"),
    [
        (Drawn("ab"), 99, False),
        (Drawn("ab"), 101, True),
        (Drawn("ab", made_us=105), 101, False),  # lost during the opening; drawn with all
        (Drawn("ab", made_us=105), 106, True),
    ],
)
def test_note_says_that_the_list_was_lost_after_the_draw(
    drawn: Drawn, store_created_us: int, is_lost: bool
) -> None:
    for note in ("", LATE):
        event = replace(EVENT, drawn=replace(drawn, note=note))
        found = note_of(event, store_created_us=store_created_us)
        assert ("list of participants was lost" in found) is is_lost
        assert found.startswith(note)


def test_planned_draw_has_no_note() -> None:
    assert note_of(EVENT, store_created_us=500) == ""
