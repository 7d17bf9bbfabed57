"""Keeps the minutes of the report: from the monitor's readings to the files.

Rules. It runs in the supervisor and uses the monitor's readings; the store gets one more call per
minute and room, for the number of no-shows. A failing disk causes a gap in the report and one log
line, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog

from gatekeeper.admin.history import Reading
from gatekeeper.admin.report_files import MinuteFiles, StoredMinutes
from gatekeeper.admin.report_minutes import Minute, merged
from gatekeeper.admin.report_sampler import MinuteSampler
from gatekeeper.config.types import RoomName
from gatekeeper.errors import StoreError
from gatekeeper.policy.rules import Rules

_CLOSE_TIMEOUT_S = 2.0

log = structlog.get_logger()


class ReportedRoom(Protocol):
    """A room as the report reads it."""

    @property
    def rules(self) -> Rules: ...

    async def count_no_shows(self) -> int:
        """Raises StoreError."""
        ...


class MinuteKeeper:
    """Keeps the minutes of one gate's rooms. The monitor calls `add`; `close` keeps the last
    minute."""

    def __init__(self, rooms: Mapping[RoomName, ReportedRoom], folder: Path) -> None:
        self._rooms = rooms
        self._files = MinuteFiles(folder)
        self._sampler = MinuteSampler()
        self._no_shows: dict[RoomName, int] = {}
        self._is_failing = False
        self._keeping: asyncio.Task[None] | None = None

    def configure(self, rooms: Mapping[RoomName, ReportedRoom]) -> None:
        """Replace the rooms."""
        self._rooms = rooms

    async def start(self) -> None:
        """Continue after the minutes that an earlier process kept."""
        for room in self._rooms:
            newest = await asyncio.to_thread(self._files.newest, room)
            if newest is not None:
                self._sampler.resume(room, newest)
        self._keeping = asyncio.create_task(self._note_no_shows(), name="minutes")

    def add(self, reading: Reading) -> None:
        """Add a reading, and keep the minute that it ends, if any."""
        ended = self._sampler.add(reading, self._rules())
        if not ended:
            return
        if self._keeping is not None and not self._keeping.done():
            log.error("minutes_write_slow")  # the disk hangs: one minute is left out
            return
        self._keeping = asyncio.create_task(self._keep(ended), name="minutes")

    async def close(self) -> None:
        """Keep the running minute as it is."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping], timeout=_CLOSE_TIMEOUT_S)
        await self._keep(self._sampler.running(self._rules()))

    async def read(self, room: RoomName, *, since_s: float, until_s: float) -> StoredMinutes:
        """The minutes of a room that begin in a period, the running one included."""
        stored = await asyncio.to_thread(self._files.read, room, since_s=since_s, until_s=until_s)
        running = self._sampler.running(self._rules()).get(room)
        if running is None or not since_s <= running.at_s < until_s:
            return stored
        count = await self._grown_no_shows(room, is_noted=False)
        running = replace(running, no_shows=count if running.totals else None)
        return StoredMinutes(merged([*stored.minutes, running]), stored.problems)

    def now_s(self, wall_s: float) -> float:
        """The store's clock at `wall_s` of this machine's clock."""
        return wall_s + self._sampler.offset_s

    async def _keep(self, minutes: Mapping[RoomName, Minute]) -> None:
        counts = await asyncio.gather(*(self._grown_no_shows(room) for room in minutes))
        complete = {
            room: replace(minute, no_shows=count if minute.totals else None)
            for (room, minute), count in zip(minutes.items(), counts, strict=True)
        }
        try:
            await asyncio.to_thread(self._files.append, complete)
        except OSError as error:
            if not self._is_failing:
                log.error("minutes_write_failed", error=error.strerror)  # noqa: TRY400
            self._is_failing = True
        else:
            self._is_failing = False

    async def _note_no_shows(self) -> None:
        await asyncio.gather(*map(self._grown_no_shows, tuple(self._rooms)))

    async def _grown_no_shows(self, room: RoomName, *, is_noted: bool = True) -> int | None:
        """The no-shows since the last call; None at first, and while the store is unreachable. A
        store that lost everything counts them from 0: no replica has the total."""
        try:
            total = await self._rooms[room].count_no_shows()
        except (KeyError, StoreError):
            return None
        known = self._no_shows.get(room)
        if is_noted:
            self._no_shows[room] = total
        if known is None:
            return None
        return total - known if total >= known else total

    def _rules(self) -> dict[RoomName, Rules]:
        return {name: room.rules for name, room in self._rooms.items()}
