"""Monitors the gate for its operators: reads it each second and keeps an hour of samples.

Rules. The samples are kept in memory only, bounded: a page that is opened later shows the past
hour, and a suspended page requests the samples that it missed. Figures of this group's workers come
from their metric files, those of other groups from their messages; with events off, other groups
are not seen. A replica is silent when its heartbeat does not change for `SILENT_AFTER_S` by this
machine's clock, so clocks need not agree. Nothing here decides about visitors; a failure here does
not affect the gate.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gatekeeper.admin.history import QUANTILE_WINDOW_S, Reading, sample
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.room.event_bus import Events
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord
from gatekeeper.room.worker_figures import Figures

READ_INTERVAL_S = 1.0
SAMPLE_INTERVAL_S = 5.0
RETENTION_S = 3600.0
SILENT_AFTER_S = 5.0
_FORGET_AFTER_S = 900.0
_MAX_REPLICAS = 200

log = structlog.get_logger()


class RoomReading(Protocol):
    """A room as the monitor reads it."""

    @property
    def rules(self) -> Rules: ...

    async def status(self) -> RoomState:
        """Raises StoreError."""
        ...

    async def count_lanes(self) -> dict[str, int]:
        """The number of visitors in line by lane; raises StoreError."""
        ...

    async def steering(self) -> SteeringRecord | None:
        """What autotune measured and did; None where it is off. Raises StoreError."""
        ...


@dataclass(slots=True)
class Replica:
    """The newest figures of one replica; times are of this machine's monotonic clock."""

    figures: Figures
    own: bool
    heartbeat_at_s: float

    def silent_s(self, now_s: float) -> float:
        return now_s - self.heartbeat_at_s


class Monitor:
    """Start with `start`, stop with `close`.

    `own` reads the figures of this group's workers, `down` counts those that do not serve.
    `on_reading` receives every reading.
    """

    def __init__(
        self,
        operators: Sequence[RoomReading],
        events: Events,
        *,
        own: Callable[[], Sequence[Figures]],
        down: Callable[[], int] = lambda: 0,
        on_reading: Callable[[Reading], None] = lambda _reading: None,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operators = operators
        self.names = [operator.rules.room for operator in operators]
        self._events = events
        self._own = own
        self._on_reading = on_reading
        self.down = down
        self._wall_s = wall_s
        self.monotonic_s = monotonic_s
        self.replicas: dict[str, Replica] = {}
        self.readings: deque[Reading] = deque(maxlen=round(QUANTILE_WINDOW_S / READ_INTERVAL_S) + 2)
        self.samples: deque[dict[str, object]] = deque(
            maxlen=round(RETENTION_S / SAMPLE_INTERVAL_S)
        )
        self.states: dict[RoomName, RoomState] = {}  # the newest of each room from the store
        self.lanes: dict[RoomName, dict[str, int]] = {}  # visitors in line by lane, as `states`
        self.steering: dict[RoomName, SteeringRecord] = {}  # of rooms that autotune steers
        self.store_lost_at_s: float | None = None  # wall clock
        self.mode_since_s: dict[RoomName, float] = {}  # when the change was seen, wall clock
        self._sampled_at_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def configure(self, operators: Sequence[RoomReading]) -> None:
        """Replace the rooms."""
        self._operators = operators
        self.names = [operator.rules.room for operator in operators]
        self.states = {name: self.states[name] for name in self.names if name in self.states}
        self.lanes = {name: self.lanes[name] for name in self.names if name in self.lanes}
        self.steering = {n: self.steering[n] for n in self.names if n in self.steering}

    async def start(self) -> None:
        await self._events.subscribe_figures(self.receive)
        self._task = asyncio.create_task(self._run(), name="monitor")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for replica in self.replicas.values():
            if replica.own:
                await self._events.publish_figures(replica.figures.as_ended())

    async def _run(self) -> None:
        while True:
            started_s = self.monotonic_s()
            try:
                await self.refresh()
            except Exception:
                log.exception("monitor_failed")
            await asyncio.sleep(max(READ_INTERVAL_S - (self.monotonic_s() - started_s), 0.1))

    def receive(self, figures: Figures) -> None:
        """Take the figures of another group's replica."""
        known = self.replicas.get(figures.replica)
        if known is None or not known.own:
            self._update(figures, own=False)

    async def refresh(self) -> None:
        """Read all rooms and workers, and take a sample when the last is `SAMPLE_INTERVAL_S`
        old."""
        states = await self._read_rooms()
        await self._read_own()
        now_s = self.monotonic_s()
        self._drop_old(now_s)
        living = {
            name: replica.figures
            for name, replica in self.replicas.items()
            if replica.silent_s(now_s) < SILENT_AFTER_S
        }
        steering = {name: self.steering[name] for name in states if name in self.steering}
        self.readings.append(Reading(self._wall_s(), states, living, steering))
        if now_s - self._sampled_at_s >= SAMPLE_INTERVAL_S - READ_INTERVAL_S / 2:
            self._sampled_at_s = now_s
            self.samples.append(self.now())
        self._on_reading(self.readings[-1])

    def now(self) -> dict[str, object]:
        """A sample from the newest readings."""
        return sample(self.readings, self.names)

    def since(self, after_s: float) -> list[dict[str, object]]:
        """The kept samples after that time, the oldest first."""
        return [each for each in self.samples if each["at"] > after_s]  # type: ignore[operator]

    async def _read_rooms(self) -> dict[RoomName, RoomState]:
        operators = self._operators
        results = await asyncio.gather(*map(_state, operators))
        states: dict[RoomName, RoomState] = {}
        for operator, result in zip(operators, results, strict=True):
            room = operator.rules.room
            if result is not None and room in self.names:
                states[room], self.lanes[room], steering = result
                self.steering.pop(room, None)
                if steering is not None:
                    self.steering[room] = steering
        now_s = self._wall_s()
        if len(states) == len(self.names):
            self.store_lost_at_s = None
        elif self.store_lost_at_s is None:
            self.store_lost_at_s = now_s
        for name, state in states.items():
            if name in self.states and self.states[name].mode is not state.mode:
                self.mode_since_s[name] = now_s
        self.states |= states
        return states

    async def _read_own(self) -> None:
        """Read this group's workers. The last figures of a replaced worker are published as
        ended."""
        living = {figures.replica: figures for figures in await asyncio.to_thread(self._own)}
        for name, replica in list(self.replicas.items()):
            if replica.own and name not in living:
                del self.replicas[name]
                await self._events.publish_figures(replica.figures.as_ended())
        for figures in living.values():
            self._update(figures, own=True)
            if self.replicas[figures.replica].silent_s(self.monotonic_s()) < SILENT_AFTER_S:
                await self._events.publish_figures(figures)

    def _update(self, figures: Figures, *, own: bool) -> None:
        known = self.replicas.get(figures.replica)
        if figures.ended:
            self.replicas.pop(figures.replica, None)
        elif known is None:
            self.replicas[figures.replica] = Replica(figures, own, self.monotonic_s())
        else:
            if figures.heartbeat_s != known.figures.heartbeat_s:
                known.heartbeat_at_s = self.monotonic_s()
            known.figures = figures

    def _drop_old(self, now_s: float) -> None:
        by_silence = sorted(self.replicas.items(), key=lambda item: -item[1].silent_s(now_s))
        for index, (name, replica) in enumerate(by_silence):
            too_many = len(by_silence) - index > _MAX_REPLICAS
            if not replica.own and (too_many or replica.silent_s(now_s) > _FORGET_AFTER_S):
                del self.replicas[name]


_RoomResult = tuple[RoomState, dict[str, int], SteeringRecord | None]


async def _state(operator: RoomReading) -> _RoomResult | None:
    try:
        state = await operator.status()
        return state, await operator.count_lanes(), await operator.steering()
    except StoreError:
        return None
