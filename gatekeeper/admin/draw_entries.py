"""Draws in the audit log: each commitment as soon as it is made, and each draw.

Rules. A logged commitment cannot be replaced later without a trace, also for events of the file.
Each gate writes an entry once: not again after a restart, while it is among the newest entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.history import Reading
from gatekeeper.config.event_schema import spell_time
from gatekeeper.config.types import RoomName
from gatekeeper.policy.schedule import Event, Schedule

_OPERATOR = "schedule"  # the operator of these entries


@dataclass(frozen=True, slots=True)
class DrawEntry:
    """A commitment or a draw for the log."""

    what: str
    event: str
    note: str


class DrawEntries:
    """Writes the entries of all rooms of one gate. `add` receives the readings of the monitor."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._known: dict[RoomName, frozenset[DrawEntry]] = {}
        self._schedules: dict[RoomName, str] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def add(self, reading: Reading) -> None:
        """Write the new commitments and draws."""
        for room, state in reading.rooms.items():
            if self._schedules.get(room, "") == state.events:
                continue
            self._schedules[room] = state.events
            before, now = self._known.get(room, frozenset()), frozenset(_entries(state.schedule))
            self._known[room] = now
            if now - before:
                task = asyncio.create_task(self._write(room, now - before))
                self._writing.add(task)
                task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Wait until all entries are written."""
        await asyncio.gather(*self._writing)

    async def _write(self, room: RoomName, entries: frozenset[DrawEntry]) -> None:
        noted = {each.note for each in self._audit.newest(room=room)}
        for entry in sorted(entries, key=lambda each: (each.event, each.what)):
            if entry.note not in noted:
                await self._audit.add(
                    _OPERATOR, entry.what, address="", room=room, after=entry.event, note=entry.note
                )


def commitment_note(event: Event) -> str:
    """The note of an entry that makes an event."""
    return f"commitment {event.commitment}" if event.commitment else ""


def _entries(schedule: Schedule) -> Iterator[DrawEntry]:
    for event in schedule.events:
        if event.commitment and not event.cancelled:
            shown = f"{event.name} start {spell_time(event.announced_us)}"
            yield DrawEntry("event commitment", shown, commitment_note(event))
        if event.drawn is not None:
            drawn = event.drawn
            parts = [f"secret {drawn.secret}"]
            if drawn.randomness:
                parts.append(f"round {drawn.round} of the beacon, randomness {drawn.randomness}")
            parts += [drawn.note] if drawn.note else []
            shown = f"{event.name} start {spell_time(event.start_us)}"
            yield DrawEntry("event drawn", shown, "; ".join(parts))
