"""A room for its operator: the state, and the controls.

Rules. An operator is not a replica: it has no pacer and no visitors. Every change is made in the
store and then published, so that it holds whether or not a replica receives it. In a store that
just lost everything a grant and a change of settings wait until the replicas, which may know of
earlier ones, have written them back. The rules are those in force, as of the newest state seen.
Raises StoreError.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from gatekeeper.config.event_schema import EventConfig, Spelled
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.settings import (
    Setting,
    change_event_settings,
    change_settings,
    effective_config,
    refuse_unsteered,
    settings_of,
    spelled_value,
)
from gatekeeper.errors import StoreError
from gatekeeper.policy.event_changes import (
    NewStart,
    with_added,
    with_cancelled,
    with_settings,
    with_start,
)
from gatekeeper.policy.phase import Mode
from gatekeeper.policy.planned_events import event_of
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import NO_EVENTS, Event, Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.event_bus import Events
from gatekeeper.room.openings import FileEvents
from gatekeeper.room.queue import Queue
from gatekeeper.room.room_settings import RoomSettings
from gatekeeper.room.standings import AdmitResult, LeaveResult, Whereabouts
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord, parse_record
from gatekeeper.room.store import Store, room_keys
from gatekeeper.room.view import ReplicaView
from gatekeeper.room.visitor_search import visitors_of_reference

_MAX_TRIES = 5  # attempts of a change that conflicts with those of other operators
_NO_FILE_EVENTS = FileEvents()
_STEERED_READ_S = 10.0  # the control room's report reads each second
_WRITE_BACK_S = 2.0  # each replica calls within the longest pause of its pacer plus one timeout


class Operator:
    """The controls of one room."""

    def __init__(
        self,
        store: Store,
        events: Events,
        room: RoomConfig,
        *,
        file_events: FileEvents = _NO_FILE_EVENTS,
    ) -> None:
        self.settings = RoomSettings(room)
        self._events = events
        self._store = store
        self._searching = asyncio.Lock()
        self._view = ReplicaView()
        self._view.on_settings = self.settings.receive
        self._queue = Queue(
            store,
            self.settings.rules,
            replica="",
            on_state=self._view.update_from_store,
            newest_known=lambda: self._view.store_state,
            on_loss=self._delay_changes,
        )
        self._steered_until_s = 0.0  # of the store's clock
        self._change_after_s = 0.0  # of the monotonic clock
        self.settings.on_change = self._follow
        self._follow_events(file_events)

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.settings.rules

    def configure(self, room: RoomConfig, file_events: FileEvents) -> None:
        """Apply a reloaded file. The replicas merge its events into the room's state."""
        self.settings.configure(room)
        self._follow()
        self._follow_events(file_events)

    def _follow_events(self, file_events: FileEvents) -> None:
        self._keys = file_events.keys
        self._queue.configured = file_events.merged(NO_EVENTS, room=self.rules.room, now_us=None)

    def _follow(self) -> None:
        self._queue.rules = self.settings.rules

    async def status(self) -> RoomState:
        return await self._queue.read_state()

    async def count_no_shows(self) -> int:
        """Releases that were not claimed, since the store was created."""
        return await self._queue.count_no_shows()

    async def count_lanes(self) -> dict[str, int]:
        """How many visitors of each lane are in line."""
        return await self._queue.count_lanes()

    async def steering(self) -> SteeringRecord | None:
        """What autotune measured and did; None where it is off.
        It is read for some more seconds: the last change may be newer than the last reading.
        """
        now_s = self._view.now_s()
        if self.rules.autotune is not None:
            self._steered_until_s = now_s + _STEERED_READ_S
        if now_s > self._steered_until_s:
            return None
        found = await self._store.values(room_keys(self.rules.room)[6], ["steering"])
        record = parse_record(found.get("steering", ""))
        return record.as_of(round(now_s * 1_000_000))

    async def count_participants(self, event: Event) -> int:
        """The number of visitors that took part in the draw of an event."""
        return await self._queue.participants.count(event.draw_id)

    async def allow(self, count: int) -> RoomState:
        """Grant `count` admissions and release them; the state after that."""
        await self._wait_for_write_back()
        await self._queue.allow(count)
        state, _ = await self._queue.advance()
        return await self._published(state)

    async def set_rate(self, rate_per_minute: float) -> RoomState:
        """Set the room's rate; during an event that sets the rate, the event's. Raises ConfigError
        where autotune would change it at once."""
        before = await self._queue.read_state()
        refuse_unsteered(self.settings.config, rate_per_minute)
        if "rate" in before.window.settings:
            config = self.settings.file.model_copy(update={"rate": rate_per_minute})
            return await self.change_settings({"rate": spelled_value(config, "rate")})
        return await self._published(await self._queue.set_rate(rate_per_minute))

    async def set_mode(self, mode: Mode) -> RoomState:
        return await self._published(await self._queue.set_mode(mode))

    async def set_message(self, message: str) -> RoomState:
        """Set the message to all waiting visitors, as `parse_message` returned it; "" removes it.
        During an event that sets the message: the event's, until it ends."""
        if "message" in (await self._queue.read_state()).window.settings:
            return await self.change_settings({"message": message})
        return await self._published(await self._queue.set_message(message))

    def shown_settings(self, state: RoomState) -> list[Setting]:
        """Every setting of this room, in that state."""
        own = {"rate": state.current_rate_per_minute, "message": state.shown_message}
        return settings_of(self.settings.file, self.settings.config.model_copy(update=own))

    async def change_settings(self, changes: Mapping[str, Spelled | None]) -> RoomState:
        """Apply all changes of `parse_changes`, or none. A key that the current event sets changes
        in the event, and None returns it to the room's value. Raises ConfigError for keys that
        conflict, and StoreError, also while other operators keep changing the settings."""
        await self._wait_for_write_back()
        for _ in range(_MAX_TRIES):
            before = await self._queue.read_state()
            event = before.window.event
            of_event = {key: changes[key] for key in changes if key in before.window.settings}
            own = {key: changes[key] for key in changes if key not in of_event}
            kept = {**before.window.settings, **of_event}
            running = {key: value for key, value in kept.items() if value is not None}
            change = change_settings(self.settings.file, before.overrides, own, event=running)
            events = None
            if of_event and event is not None:
                config = effective_config(self.settings.file, change.overrides)
                after = change_event_settings(config, event.settings, of_event)
                events = before.schedule, with_settings(before.schedule, event.name, after)
            state = await self._queue.change_settings(before.overrides, change, events=events)
            if state is not None:
                return await self._published(state)
        raise StoreError("the settings were changed by other operators at the same time")

    # The events of the room. Each raises what `policy.event_changes` raises, and StoreError.

    async def add_event(self, config: EventConfig) -> RoomState:
        """Add a checked event to this room, with the commitment of its draw."""

        def add(state: RoomState) -> Schedule:
            event = self._keys.committed(event_of(config), room=self.rules.room)
            return with_added(state.schedule, event, now_us=state.now_us)

        return await self._change_events(add)

    async def move_event(self, name: str, start: NewStart) -> RoomState:
        """Change the start of an event that has not started; None: now, by the store's clock."""
        return await self._change_events(
            lambda state: with_start(state.schedule, name, start, now_us=state.now_us)
        )

    async def cancel_event(self, name: str) -> RoomState:
        """Cancel an event that has not started, end one that has."""
        return await self._change_events(
            lambda state: with_cancelled(state.schedule, name, now_us=state.now_us)
        )

    async def _change_events(self, change: Callable[[RoomState], Schedule]) -> RoomState:
        await self._wait_for_write_back()
        for _ in range(_MAX_TRIES):
            before = await self._queue.read_state()
            state = await self._queue.change_events(before.schedule, change(before))
            if state is not None:
                return await self._published(state)
        raise StoreError("the events were changed by other operators at the same time")

    async def drop_outdated(self) -> None:
        """Drop the overrides of keys whose value in the file has changed, so that they do not
        return with its old value."""
        overrides = (await self._queue.read_state()).overrides
        if change_settings(self.settings.file, overrides, {}).overrides != overrides:
            await self.change_settings({})

    async def search(self, reference: str) -> list[VisitorId]:
        """The visitors with a reference (of `parse_reference`); one search at a time."""
        async with self._searching:
            return await visitors_of_reference(self._store, self.rules.room, reference)

    async def find(self, visitors: Sequence[VisitorId]) -> tuple[RoomState, list[Whereabouts]]:
        """Where a few visitors stand; changes nothing."""
        return await self._queue.find(visitors)

    async def admit(self, visitor: VisitorId) -> tuple[RoomState, AdmitResult]:
        """Release this waiting visitor now, regardless of the rate."""
        state, result = await self._queue.admit(visitor)
        return await self._published(state), result

    async def revoke(self, visitor: VisitorId) -> LeaveResult:
        """End a visitor's session or take their place, on all replicas."""
        state, left = await self._queue.leave([visitor])
        await self._events.publish_revoked(self.rules.room, [visitor], count=state.revocations)
        return left[0]

    async def _wait_for_write_back(self) -> None:
        await self._queue.read_state()
        await asyncio.sleep(self._change_after_s - time.monotonic())

    def _delay_changes(self) -> None:
        self._change_after_s = time.monotonic() + _WRITE_BACK_S

    async def _published(self, state: RoomState) -> RoomState:
        room, now_s = self.rules.room, self._view.now_s()
        await self._events.publish_state(room, state, sent_at_s=now_s)
        return state

    async def close(self) -> None:
        await self._queue.close()
