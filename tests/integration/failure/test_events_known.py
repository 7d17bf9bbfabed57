"""A replica asks the others whether they have a state of its room."""

from dataclasses import replace

import pytest

from gatekeeper.config.types import RoomName
from gatekeeper.room.event_signing import EventSigner
from gatekeeper.room.events import NatsEvents
from tests.builders import SECRET, room_state
from tests.integration.failure.test_events_connection import RecordingListener, running_events
from tests.servers import EventsServer, eventually

STATE = replace(room_state(rate=77), epoch=5)


async def test_replica_with_a_state_responds_with_it(
    events_url: str, room_name: RoomName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatekeeper.room.events._ASK_TIMEOUT_S", 10)  # a busy machine
    asking, responding = RecordingListener(), RecordingListener(known=(STATE, 12.5))
    async with running_events(events_url) as one, running_events(events_url) as other:
        await one.listen(room_name, asking)
        await other.listen(room_name, responding)
        assert not await one.is_known_elsewhere(room_name)  # not before the other read the store
        await other.respond_for(room_name)
        await eventually(other.connected)
        await other._client.flush()
        assert await one.is_known_elsewhere(room_name)
        assert asking.states == [(STATE, 12.5)]
        await one.respond_for(room_name)  # it does not receive its own request
        other.forget(room_name, responding)
        await other.close()
        assert not await one.is_known_elsewhere(room_name)


@pytest.mark.parametrize("fault", ["unreachable", "another secret", "no response"])
async def test_replica_that_cannot_ask_counts_as_known_elsewhere(
    private_events: EventsServer, room_name: RoomName, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Without a reply it must not fill the bucket."""
    monkeypatch.setattr("gatekeeper.room.events._ASK_TIMEOUT_S", 0.3)
    asking, responding = RecordingListener(), RecordingListener(known=(STATE, 12.5))
    async with running_events(private_events.url) as one:
        other = NatsEvents(private_events.url, replica="o", signer=EventSigner([b"x" * 32]))
        if fault == "no response":
            responding.known = None
            other = NatsEvents(private_events.url, replica="o", signer=EventSigner([SECRET]))
        await other.listen(room_name, responding)
        await other.respond_for(room_name)
        await eventually(other.connected)
        await other._client.flush()
        if fault == "unreachable":
            private_events.kill()
        await one.listen(room_name, asking)
        assert await one.is_known_elsewhere(room_name)
        assert asking.states == []
        await other.close()
