"""The calendar file of an event: the event that it names, and its title."""

from dataclasses import replace

import pytest

from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.facts import Client, RequestFacts
from gatekeeper.policy.schedule import Event, Schedule
from gatekeeper.web.calendar_entries import calendar_of
from tests.builders import room_state

NOON_S = 1_796_126_400  # 2026-12-01T12:00:00Z
SALE = Event("sale", start_us=NOON_S * 1_000_000, announced_us=NOON_S * 1_000_000)
FACTS = RequestFacts(Client("192.0.2.1", "https", "shop.example"), "GET", "/")


def file_of(event: Event, room: RoomConfig) -> str | None:
    state = replace(room_state(), events=Schedule.of([event]).text)
    file = calendar_of("sale", state, facts=FACTS, room=room, now_s=NOON_S - 60)
    return None if file is None else file.decode()


@pytest.mark.parametrize(
    ("own", "of_room", "summary"),
    [
        ({"title": "Autumn sale"}, "Tickets", "Autumn sale"),
        ({"title": "Autumn sale"}, None, "Autumn sale"),
        ({"title": "You are in line"}, "Tickets", "sale"),
        ({"rate": "5/min"}, "Tickets", "Tickets"),
        ({}, None, "sale"),
    ],
)
def test_entry_has_the_title_that_the_event_will_have(
    own: dict[str, str], of_room: str | None, summary: str
) -> None:
    """The title of an event applies from its begin on, but visitors download the file earlier."""
    room = RoomConfig(title=of_room) if of_room else RoomConfig()
    file = file_of(replace(SALE, settings=own), room)
    assert file is not None
    assert f"SUMMARY:{summary}: Opening\r\n" in file


def test_cancelled_event_has_no_entry() -> None:
    assert file_of(replace(SALE, cancelled=True), RoomConfig()) is None
