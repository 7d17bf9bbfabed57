"""Rooms of several replicas. The fixtures import what they use, as those of `tests/contract` do."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatekeeper.config.types import RoomName
    from tests.integration.replicas.replica_group import ReplicatedRoom, RoomStarter


@pytest.fixture
async def start_room(
    request: pytest.FixtureRequest, room_name: RoomName
) -> AsyncIterator[RoomStarter]:
    """A room of the test's own; keywords are keys of its configuration.

    It uses `private_store`, `private_events` and `events_url` if the test has these fixtures, else
    the shared store and no events.
    """
    from tests.integration.replicas.replica_group import ReplicatedRoom, room_config

    def taken(name: str, otherwise: str = "") -> str:
        if name not in request.fixturenames:
            return otherwise
        server = request.getfixturevalue(name)
        return str(getattr(server, "url", server))

    store_url = taken("private_store") or str(request.getfixturevalue("store_url"))
    events_url = taken("private_events") or taken("events_url", "off")
    async with AsyncExitStack() as stack:
        yield lambda **keys: ReplicatedRoom(
            room_config(room_name, **keys), store_url, events_url, stack
        )


@pytest.fixture
def closed_room(start_room: RoomStarter) -> ReplicatedRoom:
    """A room that admits only by grants."""
    return start_room(rate=0, burst=1)
