"""The interfaces between a room and the events that replicas exchange.

Rules: see `events`. `NoEvents` is the bus of `[events] url = "off"`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import Figures


class Listener(Protocol):
    """A room that receives events."""

    def receive_state(self, state: RoomState, *, sent_at_s: float) -> None: ...
    def receive_revoked(self, visitors: Sequence[VisitorId], *, count: int) -> None: ...
    def known_state(self) -> tuple[RoomState, float] | None:
        """The newest state from the store, and the time now."""
        ...


class Events(Protocol):
    """The event bus, as a room uses it."""

    def connect(self) -> None: ...
    def connected(self) -> bool: ...
    async def listen(self, room: RoomName, listener: Listener) -> None: ...
    def forget(self, room: RoomName, listener: Listener) -> None: ...
    async def is_known_elsewhere(self, room: RoomName) -> bool: ...
    async def respond_for(self, room: RoomName) -> None: ...
    async def publish_state(
        self, room: RoomName, state: RoomState, *, sent_at_s: float
    ) -> None: ...
    async def publish_revoked(
        self, room: RoomName, visitors: Sequence[VisitorId], *, count: int
    ) -> None: ...
    async def subscribe_figures(self, receive: Callable[[Figures], None]) -> None: ...
    async def publish_figures(self, figures: Figures) -> None: ...
    async def close(self) -> None: ...


class NoEvents:
    """`[events] url = "off"`: replicas synchronise only by the store."""

    def connect(self) -> None:
        pass

    def connected(self) -> bool:
        return False

    async def listen(self, room: RoomName, listener: Listener) -> None:
        pass

    def forget(self, room: RoomName, listener: Listener) -> None:
        pass

    async def is_known_elsewhere(self, room: RoomName) -> bool:  # noqa: ARG002
        return False

    async def respond_for(self, room: RoomName) -> None:
        pass

    async def publish_state(self, room: RoomName, state: RoomState, *, sent_at_s: float) -> None:
        pass

    async def publish_revoked(
        self, room: RoomName, visitors: Sequence[VisitorId], *, count: int
    ) -> None:
        pass

    async def subscribe_figures(self, receive: Callable[[Figures], None]) -> None:
        pass

    async def publish_figures(self, figures: Figures) -> None:
        pass

    async def close(self) -> None:
        pass
