"""Publishes the state of a room: once for all replicas, and at least once a second."""

from __future__ import annotations

import asyncio
from typing import Final

from gatekeeper.config.types import RoomName
from gatekeeper.room.event_bus import Events
from gatekeeper.room.state import RoomState

PUBLISH_AT_LEAST_EVERY_S: Final = 1.0


class StatePublisher:
    """Publishes the state of one room from one replica."""

    def __init__(self, events: Events, room: RoomName) -> None:
        self._events = events
        self._room = room
        self._version = (0, 0)  # the newest state that any replica has published
        self._at_s = 0.0

    def note_published(self, state: RoomState) -> None:
        """Another replica has just published this state."""
        if (version := (state.epoch, state.version)) >= self._version:
            self._version = version
            self._at_s = asyncio.get_running_loop().time()

    async def publish(self, state: RoomState, *, sent_at_s: float) -> None:
        """Publish the state, unless any replica has just published it."""
        version = (state.epoch, state.version)
        at_s = asyncio.get_running_loop().time()
        if version == self._version and at_s - self._at_s < PUBLISH_AT_LEAST_EVERY_S:
            return
        self._version, self._at_s = version, at_s
        await self._events.publish_state(self._room, state, sent_at_s=sent_at_s)
