"""The events of a room on one replica: those of the file become part of the room's state, a draw is
decided when its event starts, and the visitors of its prequeue are moved to their turns.

Rules. There is no leader. Every step is an idempotent script or a compare-and-set, and what it
writes is a function of the event: any replica may be first, or several at once. Portions are
bounded. Raises StoreError.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from gatekeeper.config.event_schema import EventConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.draw import LaneSpan, lane_spans
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.planned_events import SigningKeys, merged, new_overlaps, refusals
from gatekeeper.policy.schedule import NO_EVENTS, Drawn, Event, Schedule
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.visitor_calls import DrawnTurn

_MAX_TRIES = 5  # attempts of a change that conflicts with those of other replicas
_PORTION = 500  # visitors per call
_MAX_PORTIONS = 400  # of one tick
_LOG_AGAIN_AFTER_US = 60_000_000

_NO_KEYS = SigningKeys(())

log = structlog.get_logger()

# The draw's round of the beacon; it never raises, and ends within its own timeout.
FetchRound = Callable[[Event], Coroutine[Any, Any, tuple[int | None, str, str]]]


@dataclass(frozen=True, slots=True)
class FileEvents:
    """The configured events of all rooms, and the keys for their draws. `previous`: the events of
    the previous configuration."""

    events: tuple[EventConfig, ...] = ()
    keys: SigningKeys = _NO_KEYS
    previous: tuple[EventConfig, ...] = field(default=(), compare=False)

    def merged(
        self, known: Schedule, *, room: RoomName, now_us: int | None, reloads: bool = False
    ) -> Schedule:
        """The room's schedule with the events of the file."""
        configs, previous = self._of(room)
        return merged(
            known,
            configs,
            room=room,
            keys=self.keys,
            now_us=now_us,
            reloads=reloads,
            previous=previous,
        )

    def problems(
        self, known: Schedule, before: FileEvents, *, room: RoomName, now_us: int
    ) -> list[str]:
        """Why the room's events, which were those of `before`, cannot become those of the file."""
        configs, previous = self._of(room)
        after = self.merged(known, room=room, now_us=now_us, reloads=True)
        lost = {each.draw_id for each in before.draws_without_key(after, room=room)}
        return [
            *refusals(known, configs, now_us=now_us, previous=previous),
            *new_overlaps(known, after, now_us=now_us),
            *(
                f"the draw of event {event.name} was made with one of tokens.secrets that is "
                "missing now; expected that secret until the sale has started"
                for event in self.draws_without_key(after, room=room)
                if event.draw_id not in lost
            ),
        ]

    def _of(self, room: RoomName) -> tuple[list[EventConfig], list[EventConfig]]:
        configs = [each for each in self.events if each.room == room]
        return configs, [each for each in self.previous if each.room == room]

    def draws_without_key(self, schedule: Schedule, *, room: RoomName) -> list[Event]:
        """The planned draws that no secret here can make."""
        return [
            event
            for event in schedule.events
            if event.has_draw and event.drawn is None and not event.cancelled
            if self.keys.secret_of(event, room=room) is None
        ]


async def no_beacon(_event: Event) -> tuple[int | None, str, str]:
    """A fetcher without a beacon: the draw is made by the secret alone."""
    return None, "", "the beacon was not asked"


class Openings:
    """The events of one room on one replica; `file` may be replaced at any time."""

    def __init__(
        self, queue: Queue, *, file: FileEvents | None = None, fetch_round: FetchRound = no_beacon
    ) -> None:
        self._queue = queue
        self._fetch_round = fetch_round
        self.file = file or FileEvents()
        self._fetching: tuple[str, asyncio.Task[tuple[int | None, str, str]]] | None = None
        self._logged_us = 0

    @property
    def file(self) -> FileEvents:
        return self._file

    @file.setter
    def file(self, file: FileEvents) -> None:
        self._file = file
        room = self._queue.rules.room
        self._queue.configured = file.merged(NO_EVENTS, room=room, now_us=None)

    async def merge(self, state: RoomState, *, reloads: bool = False) -> None:
        """Merge the file's events into those of the room. `reloads`: an operator reloaded the
        configuration; False: this replica starts."""
        for _ in range(_MAX_TRIES):
            known = state.schedule
            after = self._file.merged(
                known, room=self._queue.rules.room, now_us=state.now_us, reloads=reloads
            )
            self._report_unknown_keys(after)
            if after.text == known.text or await self._queue.change_events(known, after):
                return
            state = await self._queue.read_state()

    def _report_unknown_keys(self, schedule: Schedule) -> None:
        """Log planned draws that no secret here can make, before their visitors gather."""
        room = self._queue.rules.room
        for event in self._file.draws_without_key(schedule, room=room):
            log.error("draw_key_unknown", room=room, sale=event.name)

    async def step(self, state: RoomState) -> None:
        """Do what is due at this tick; `state` is the newest state of the store."""
        if not state.events:
            return
        event = state.schedule.undecided(state.now_us)
        if event is not None:
            await self._decide(event, state)
        elif state.undrawn and not _is_gathering(state):
            await self._place(state)

    async def _decide(self, event: Event, state: RoomState) -> None:
        secret = self._file.keys.secret_of(event, room=self._queue.rules.room)
        if secret is None:
            if state.now_us - self._logged_us > _LOG_AGAIN_AFTER_US:
                self._logged_us = state.now_us
                log.error("draw_key_unknown", room=self._queue.rules.room, sale=event.name)
            return
        drawn = Drawn(secret.hex(), made_us=state.now_us, lanes=self._lanes_of(event, state))
        if event.beacon:
            if self._fetching is None or self._fetching[0] != event.draw_id:
                self._fetching = event.draw_id, asyncio.create_task(self._fetch_round(event))
            if not self._fetching[1].done():
                return
            number, randomness, note = self._fetching[1].result()
            drawn = replace(
                drawn, round=number, randomness=randomness, note=note, made_us=state.now_us
            )
        known = state.schedule
        after = known.with_event(replace(event, drawn=drawn))
        changed = await self._queue.change_events(known, after, by_draw=True)
        if changed is not None:
            log.info("drawn", room=self._queue.rules.room, sale=event.name, note=drawn.note)
            await self._place(changed)

    def _lanes_of(self, event: Event, state: RoomState) -> tuple[LaneSpan, ...]:
        """The turns of the room's lanes. No visitor is released during a prequeue, so the watermark
        is that of its beginning, and may be one short of a turn that is partly released."""
        head_starts_us = {lane.name: lane.head_start_us for lane in self._queue.rules.lanes}
        released_us = state.watermark_us + 1
        return lane_spans(head_starts_us, prequeue_us=event.first_us, released_us=released_us)

    async def _place(self, state: RoomState) -> None:
        """Move visitors to their turns, in portions that begin at a random arrival of the prequeue,
        so that replicas rarely work on the same visitors; on a conflict continue at another one."""
        since_us, is_idle = _some_arrival_us(state), False
        has_lanes = any(each.drawn and each.drawn.lanes for each in state.schedule.events)
        for _ in range(_MAX_PORTIONS):
            portion = await self._queue.participants.undrawn(since_us=since_us, limit=_PORTION)
            lanes = await self._queue.participants.lanes_of([*portion]) if has_lanes else {}
            found = _by_draw(state.schedule, portion, lanes)
            is_idle = not found and (is_idle or since_us == 0)
            moved = 0
            for draw, turns in found.items():
                moved += (await self._queue.place_drawn(turns, draw=draw))[1]
            is_last = len(portion) < _PORTION
            if is_idle and is_last:
                return  # the remaining visitors take part in a later draw
            if moved < sum(map(len, found.values())) / 2:
                since_us = _some_arrival_us(state)
            else:
                since_us = 0 if is_last else max(portion.values())

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching[1].cancel()
            await asyncio.gather(self._fetching[1], return_exceptions=True)


def _is_gathering(state: RoomState) -> bool:
    event = state.window.event
    return state.window.phase is Phase.PREQUEUE and event is not None and event.has_draw


def _some_arrival_us(state: RoomState) -> int:
    drawn = [each for each in state.schedule.events if each.drawn is not None]
    if not drawn:
        return 0
    return random.randint(drawn[-1].first_us, drawn[-1].start_us)  # noqa: S311


def _by_draw(
    schedule: Schedule, arrivals_us: Mapping[VisitorId, int], lanes: Mapping[VisitorId, str]
) -> dict[str | None, dict[VisitorId, DrawnTurn]]:
    """The turns of visitors, grouped by draw; None: its event was cancelled."""
    found: dict[str | None, dict[VisitorId, DrawnTurn]] = {}
    draws = [(e.first_us, e.start_us, e) for e in schedule.events if e.has_draw and not e.cancelled]
    for visitor, arrival_us in arrivals_us.items():
        # As `schedule.covering`, whose properties cost as much as the turn.
        covering = (each for first_us, start_us, each in draws if first_us <= arrival_us < start_us)
        event = next(covering, None)
        lane = lanes.get(visitor, "") if lanes else ""
        if lane and (event is None or event.drawn is None or event.drawn.span_of(lane) is None):
            lane = ""
        turn_us = arrival_us if event is None else event.turn_us(visitor, arrival_us, lane)
        if turn_us < PROVISIONAL_US:
            turns = found.setdefault(event.draw_id if event else None, {})
            turns[visitor] = DrawnTurn(turn_us, lane)
    return found
