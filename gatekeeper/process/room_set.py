"""The rooms of one worker, each with its settings in force.

Rules. A room that a new configuration adds is started before the configuration is in force, and
becomes part of the set with it. A removed room ends in the background; its open requests can
finish. `on_change` is called when operators changed a room's settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.room.beacon_client import fetch_round_by
from gatekeeper.room.event_bus import Events
from gatekeeper.room.openings import FileEvents, Openings
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.room_settings import RoomSettings
from gatekeeper.room.store import Store
from gatekeeper.room.view import ReplicaView


class RoomSet:
    """`replicas` and `settings` map the names of the rooms."""

    def __init__(
        self, store: Store, events: Events, *, replica: str, on_change: Callable[[], None]
    ) -> None:
        self.file_events = FileEvents()
        self.replicas: dict[RoomName, RoomReplica] = {}
        self.settings: dict[RoomName, RoomSettings] = {}
        self._store = store
        self._events = events
        self._replica = replica
        self._on_change = on_change
        self._ending: set[asyncio.Task[None]] = set()

    async def start_new(self, rooms: Iterable[RoomConfig]) -> dict[RoomName, NewRoom]:
        """Start those of `rooms` that are not in the set yet."""
        new = {room.name: self._new(room) for room in rooms if room.name not in self.replicas}
        async with asyncio.TaskGroup() as group:  # an unreachable store costs one timeout, not each
            for room, _ in new.values():
                group.create_task(room.start())
        return new

    def _new(self, room: RoomConfig) -> NewRoom:
        settings = RoomSettings(room)
        view = ReplicaView()
        replica = RoomReplica(
            self._store,
            self._events,
            settings.rules,
            replica=self._replica,
            view=view,
            openings=partial(
                Openings, file=self.file_events, fetch_round=fetch_round_by(view.now_s)
            ),
        )
        replica.view.on_settings = settings.receive
        settings.on_change = partial(self._follow, room.name, replica, settings)
        return replica, settings

    def _follow(self, name: RoomName, replica: RoomReplica, settings: RoomSettings) -> None:
        replica.configure(settings.rules, rejoin=False)
        if self.replicas.get(name) is replica:
            self._on_change()

    def configure_events(self, file_events: FileEvents) -> None:
        """Replace the configured events of all rooms."""
        self.file_events = self._following(file_events)
        for replica in self.replicas.values():
            replica.configure_events(self.file_events)

    def event_problems(self, file_events: FileEvents, rooms: Iterable[RoomConfig]) -> list[str]:
        """Why the events of `rooms` cannot become those of the file."""
        after, before, problems = self._following(file_events), self.file_events, []
        for room in (each.name for each in rooms if each.name in self.replicas):
            state = self.replicas[room].view.state
            if state is not None and state.events:
                found = after.problems(state.schedule, before, room=room, now_us=state.now_us)
                problems += [f"room {room}: {each}" for each in found]
        return problems

    def _following(self, file_events: FileEvents) -> FileEvents:
        return replace(file_events, previous=self.file_events.events)

    def adopt(self, rooms: Iterable[RoomConfig], new: Mapping[RoomName, NewRoom]) -> None:
        """Replace the rooms; `new` are those that `start_new` started for them."""
        files = {room.name: room for room in rooms}
        for name in self.replicas.keys() - files.keys():
            del self.settings[name]
            self._end_soon(name, self.replicas.pop(name))
        for name, file in files.items():
            if name in new:
                self.replicas[name], self.settings[name] = new[name]
            elif file != self.settings[name].file:
                self.settings[name].configure(file)
                self.replicas[name].configure(self.settings[name].rules, rejoin=True)

    async def drop(self, new: Mapping[RoomName, NewRoom]) -> None:
        """End rooms that were started and not adopted."""
        for name, (room, _) in new.items():
            self._end_soon(name, room)
        if self._ending:
            await asyncio.wait(self._ending)

    def in_force(self) -> dict[RoomName, tuple[RoomReplica, RoomConfig]]:
        """The rooms, each with its configuration in force."""
        return {name: (room, self.settings[name].config) for name, room in self.replicas.items()}

    def wake(self) -> None:
        """Let every pacer call the store now: events may have been missed."""
        for room in self.replicas.values():
            room.wake()

    def _end_soon(self, name: RoomName, room: RoomReplica) -> None:
        self._events.forget(name, room)
        task = asyncio.create_task(room.close(), name=f"end {name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        for room in reversed(self.replicas.values()):
            await room.close()
        if self._ending:
            await asyncio.wait(self._ending)


NewRoom = tuple[RoomReplica, RoomSettings]
