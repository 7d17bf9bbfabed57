"""`GET /admin/report`: a report as HTML, JSON or CSV.

Rules. Role `read`. The figures are in files, and the events in the state that the monitor has just
read; the store is only called for the no-shows of the running minute and the participants of each
draw, and no worker is called. One report is made at a time, in a thread, within `_TIMEOUT_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from gatekeeper.admin.audit import AuditLog
from gatekeeper.admin.monitor import Monitor
from gatekeeper.admin.report import Report, events_in, make_report, period_of
from gatekeeper.admin.report_figures import Span
from gatekeeper.admin.report_keeper import MinuteKeeper
from gatekeeper.admin.report_page import content_policy, page_of
from gatekeeper.admin.report_tables import csv_of, json_of
from gatekeeper.admin.rooms import Rooms
from gatekeeper.config.problems import shown
from gatekeeper.config.types import RoomName
from gatekeeper.errors import BadRequest, StoreError
from gatekeeper.policy.draw_record import DrawRecord, record_of
from gatekeeper.policy.schedule import NO_EVENTS, Event, Schedule

FORMATS: Final[dict[str, tuple[str, Callable[[Report], bytes]]]] = {
    "html": ("text/html; charset=utf-8", page_of),
    "json": ("application/json; charset=utf-8", json_of),
    "csv": ("text/csv; charset=utf-8", csv_of),
}
MAX_ENTRIES = 500
_PARAMETERS = ("room", "event", "since", "until", "format")
_TIMEOUT_S = 30.0


class ReportEndpoint:
    """Makes reports on the rooms of one gate."""

    def __init__(
        self,
        rooms: Rooms,
        monitor: Monitor,
        *,
        minutes: MinuteKeeper,
        audit: AuditLog,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._rooms = rooms
        self._monitor = monitor
        self._minutes = minutes
        self._audit = audit
        self._wall_s = wall_s
        self._lock = asyncio.Lock()

    async def response(self, request: web.Request) -> web.Response:
        for name in request.query:
            if name not in _PARAMETERS:
                expected = ", ".join(_PARAMETERS)
                raise BadRequest(f"{shown(name)}: unknown parameter; expected one of {expected}")
        wanted = request.query.get("format", "html")
        if wanted not in FORMATS:
            raise BadRequest(f"format: {shown(wanted)} is unknown; expected html, json or csv")
        content_type, write = FORMATS[wanted]
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._lock:
                body = await asyncio.to_thread(write, await self._report(request))
        except TimeoutError:
            raise BadRequest(
                "the report takes too long; expected a shorter period", status=503
            ) from None
        response = web.Response(body=body, headers={"Content-Type": content_type})
        if wanted == "html":
            policy = f"{content_policy()}; frame-ancestors 'none'"
            response.headers["Content-Security-Policy"] = policy
        response.enable_compression()
        return response

    async def _report(self, request: web.Request) -> Report:
        room, event = self._subject(request)
        now_s = self._minutes.now_s(self._wall_s())
        since, until = request.query.get("since", ""), request.query.get("until", "")
        try:
            span, warnings = period_of(since, until, event=event, now_s=now_s)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        stored = await self._minutes.read(room, since_s=span.since_s, until_s=span.until_s)
        entries = await asyncio.to_thread(
            self._audit.between, span.since_s, span.until_s, room=room, limit=MAX_ENTRIES + 1
        )
        if len(entries) > MAX_ENTRIES:
            entries = entries[1:]
            warnings.append(f"Only the newest {MAX_ENTRIES} entries of the audit log are shown.")
        return await asyncio.to_thread(
            make_report,
            room,
            stored.minutes,
            span=span,
            made_at_s=int(now_s),
            schedule=self._schedule(room),
            event=event,
            draws=await self._draws(room, span),
            entries=entries,
            warnings=[*warnings, *stored.problems],
        )

    async def _draws(self, room: RoomName, span: Span) -> list[DrawRecord]:
        """The draws of a period, with the number of participants from the store."""
        state, operator = self._monitor.states.get(room), self._rooms.find(room)
        if state is None or operator is None:
            return []
        records = []
        for event in events_in(state.schedule, span):
            if event.has_draw:
                is_placing = state.undrawn > 0 and state.window.event is event
                is_complete = event.drawn is not None and not is_placing
                note = event.drawn.note if event.drawn else ""
                try:
                    count = await operator.count_participants(event) if is_complete else None
                except StoreError:
                    count, note = None, f"{note} The store is unreachable.".strip()
                records.append(
                    record_of(
                        event, room=room, is_complete=is_complete, participants=count, note=note
                    )
                )
        return records

    def _subject(self, request: web.Request) -> tuple[RoomName, Event | None]:
        """The requested room and event. An event alone implies its room."""
        name = request.query.get("event")
        if name is None:
            return self._rooms.requested(request).rules.room, None
        rooms = [each.rules.room for each in self._rooms]
        if "room" in request.query:
            rooms = [self._rooms.requested(request).rules.room]
        found = [
            (room, event)
            for room in rooms
            if (event := self._schedule(room).find(name)) is not None and not event.cancelled
        ]
        if not found:
            known = sorted(
                event.name
                for room in rooms
                for event in self._schedule(room).events
                if not event.cancelled
            )
            expected = f"expected one of {', '.join(known)}" if known else "there are no events"
            raise BadRequest(f"event: {shown(name)} is unknown; {expected}")
        if len(found) > 1:
            named = ", ".join(room for room, _ in found)
            raise BadRequest(
                f"event: {shown(name)} is in several rooms; expected a room of {named}"
            )
        return found[0]

    def _schedule(self, room: RoomName) -> Schedule:
        state = self._monitor.states.get(room)
        return NO_EVENTS if state is None else state.schedule
