"""A place is written as the library writes it."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.config import RoomName
from gatekeeper.web.place import Place, rfc3339

numbers = st.none() | st.integers(0, 2**53)
reasons = st.sampled_from(["line", "held", "full", "ended", "reconnecting"])
places = st.builds(
    Place,
    room=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True).map(RoomName),
    position=numbers,
    ahead=numbers,
    queue_length=numbers,
    eta_seconds=numbers,
    rate_per_minute=st.floats(0, 60_000_000) | st.integers(0, 60_000_000),
    refresh_seconds=st.integers(1, 3600),
    arrived_at=st.floats(0, 2**33).map(rfc3339),
    reason=reasons,
    message=st.none() | st.text(max_size=500),
)


@given(places)
def test_a_place_is_encoded_as_the_library_encodes_it(place: Place) -> None:
    assert place.encoded() == json.dumps(place.json).encode()


@given(st.floats(0, 2**33))
def test_a_time_is_told_to_the_second_in_utc(at_s: float) -> None:
    told = datetime.strptime(rfc3339(at_s), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert told.timestamp() == int(at_s)
