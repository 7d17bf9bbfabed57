"""Watches the gate for its operators: reads it each second, and keeps an hour.

Rules. The hour is kept here, in memory and bounded, and nowhere else: a page that is opened late
sees the past, and one that was asleep asks for what it missed. Figures come from this group's own
workers by their files, and of other groups by their messages; with events off only the own are
seen. A replica is silent when its beat stands still by our own clock, so clocks need not agree.
Nothing here decides about visitors, and whatever fails here, the gate goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gatekeeper.admin.samples import QUANTILES_OVER_S, Reading, sample
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules
from gatekeeper.room.events import Events
from gatekeeper.room.state import RoomState
from gatekeeper.room.worker_figures import Figures

READ_EVERY_S = 1.0
SAMPLE_EVERY_S = 5.0
KEPT_S = 3600.0
SILENT_AFTER_S = 5.0
_FORGOTTEN_AFTER_S = 900.0
_MOST_REPLICAS = 200

log = structlog.get_logger()


class RoomReading(Protocol):
    """A room as it is watched."""

    rules: Rules

    async def status(self) -> RoomState:
        """Raises StoreError."""
        ...


@dataclass(slots=True)
class Replica:
    """One replica as last heard of, by this machine's monotonic clock."""

    figures: Figures
    own: bool
    moved_at_s: float

    def quiet_s(self, now_s: float) -> float:
        return now_s - self.moved_at_s


class Watch:
    """Start with `start`, end with `close`.

    `own` reads the figures of this group's workers, `down` says how many of them do not serve.
    """

    def __init__(
        self,
        operators: Sequence[RoomReading],
        events: Events,
        *,
        own: Callable[[], Sequence[Figures]],
        down: Callable[[], int] = lambda: 0,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operators = operators
        self._events = events
        self._own = own
        self.down = down
        self._wall_s = wall_s
        self.monotonic_s = monotonic_s
        self.names = [operator.rules.room for operator in operators]
        self.replicas: dict[str, Replica] = {}
        self.readings: deque[Reading] = deque(maxlen=round(QUANTILES_OVER_S / READ_EVERY_S) + 2)
        self.samples: deque[dict[str, object]] = deque(maxlen=round(KEPT_S / SAMPLE_EVERY_S))
        self.states: dict[RoomName, RoomState] = {}  # the last ones that the store said
        self.store_lost_at_s: float | None = None  # wall clock
        self.mode_since_s: dict[RoomName, float] = {}  # seen to change, wall clock
        self._sampled_at_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._events.listen_figures(self.hear)
        self._task = asyncio.create_task(self._run(), name="watch")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for replica in self.replicas.values():
            if replica.own:
                await self._events.publish_figures(replica.figures.at_its_end())

    async def _run(self) -> None:
        while True:
            began_s = self.monotonic_s()
            try:
                await self.look()
            except Exception:
                log.exception("watch_failed")
            await asyncio.sleep(max(READ_EVERY_S - (self.monotonic_s() - began_s), 0.1))

    def hear(self, figures: Figures) -> None:
        """Another group's replica."""
        known = self.replicas.get(figures.replica)
        if known is None or not known.own:
            self._note(figures, own=False)

    async def look(self) -> None:
        """Read everything once; every few times it becomes a sample."""
        states = await self._read_rooms()
        await self._read_own()
        now_s = self.monotonic_s()
        self._forget(now_s)
        living = {
            name: replica.figures
            for name, replica in self.replicas.items()
            if replica.quiet_s(now_s) < SILENT_AFTER_S
        }
        self.readings.append(Reading(self._wall_s(), states, living))
        if now_s - self._sampled_at_s >= SAMPLE_EVERY_S - READ_EVERY_S / 2:
            self._sampled_at_s = now_s
            self.samples.append(self.now())

    def now(self) -> dict[str, object]:
        """The sample of this moment."""
        return sample(self.readings, self.names)

    def since(self, after_s: float) -> list[dict[str, object]]:
        """The kept samples later than that, oldest first."""
        return [each for each in self.samples if each["at"] > after_s]  # type: ignore[operator]

    async def _read_rooms(self) -> dict[RoomName, RoomState]:
        answers = await asyncio.gather(*map(_state, self._operators))
        states = {
            name: state
            for name, state in zip(self.names, answers, strict=True)
            if state is not None
        }
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
        """This group's workers; one that was replaced by another says its last word through us."""
        living = {figures.replica: figures for figures in await asyncio.to_thread(self._own)}
        for name, replica in list(self.replicas.items()):
            if replica.own and name not in living:
                del self.replicas[name]
                await self._events.publish_figures(replica.figures.at_its_end())
        for figures in living.values():
            self._note(figures, own=True)
            if self.replicas[figures.replica].quiet_s(self.monotonic_s()) < SILENT_AFTER_S:
                await self._events.publish_figures(figures)

    def _note(self, figures: Figures, *, own: bool) -> None:
        known = self.replicas.get(figures.replica)
        if figures.ended:
            self.replicas.pop(figures.replica, None)
        elif known is None:
            self.replicas[figures.replica] = Replica(figures, own, self.monotonic_s())
        else:
            if figures.heartbeat_s != known.figures.heartbeat_s:
                known.moved_at_s = self.monotonic_s()
            known.figures = figures

    def _forget(self, now_s: float) -> None:
        quiet = sorted(self.replicas.items(), key=lambda item: -item[1].quiet_s(now_s))
        for index, (name, replica) in enumerate(quiet):
            too_many = len(quiet) - index > _MOST_REPLICAS
            if not replica.own and (too_many or replica.quiet_s(now_s) > _FORGOTTEN_AFTER_S):
                del self.replicas[name]


async def _state(operator: RoomReading) -> RoomState | None:
    try:
        return await operator.status()
    except StoreError:
        return None
