"""The status of a waiting visitor: poll interval, estimate and JSON."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.pages.event_view import DrawNumber, EventView
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.phase import Mode, Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.web.waiting_status import WaitingStatus, rfc3339, waiting_status_of
from tests.builders import TICKET, room_state

numbers = st.none() | st.integers(0, 2**53)
reasons = st.sampled_from(["line", "held", "full", "ended", "reconnecting"])
draws = st.builds(
    DrawNumber, st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 2**53)
)
events = st.builds(
    EventView,
    name=st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    starts_at=st.floats(0, 2**33).map(rfc3339),
    starts_in_s=st.none() | st.floats(0, 2**33),
    commitment=st.sampled_from(["", "9f" * 32]),
    draw=st.none() | draws,
)
places = st.builds(
    WaitingStatus,
    room=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True).map(RoomName),
    phase=st.none() | st.sampled_from(Phase),
    position=numbers,
    ahead=numbers,
    queue_length=numbers,
    eta_seconds=numbers,
    rate_per_minute=st.floats(0, 60_000_000) | st.integers(0, 60_000_000),
    refresh_seconds=st.integers(1, 3600),
    arrived_at=st.floats(0, 2**33).map(rfc3339),
    reason=reasons,
    message=st.none() | st.text(max_size=500),
    starts_at=st.none() | st.floats(0, 2**33).map(rfc3339),
    reference=st.just("4Q7K-92ZD"),
    challenge=st.none() | st.dictionaries(st.text(), st.text() | st.integers(), max_size=6),
    event=st.none() | events,
    lane=st.sampled_from(["", "members", "a-b_c9"]),
)


@given(places)
def test_status_json_equals_that_of_the_library(place: WaitingStatus) -> None:
    assert place.encoded() == json.dumps(place.json).encode()


@given(st.floats(0, 2**33))
def test_time_is_in_utc_to_the_second(at_s: float) -> None:
    parsed = datetime.strptime(rfc3339(at_s), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert parsed.timestamp() == int(at_s)


@pytest.mark.parametrize(
    ("mode", "rate", "within_s"),
    [
        (Mode.AUTO, 500, 3),
        (Mode.OPEN, 500, 3),
        (Mode.HOLD, 500, 3),  # so that it is in time when the line moves again
        (Mode.HOLD, 0, 25),  # the rate is unknown
        (Mode.ENDED, 500, 25),  # the line does not move again
    ],
)
def test_held_line_keeps_the_poll_interval(mode: Mode, rate: float, within_s: int) -> None:
    rules = Rules.of(RoomConfig())
    place = waiting_status_of(
        TICKET, QueuePosition(10**15, 50), room_state(mode, rate=rate), rules=rules
    )
    assert within_s - 3 <= place.refresh_seconds <= within_s
    assert (place.eta_seconds is None) is (mode in {Mode.HOLD, Mode.ENDED})
