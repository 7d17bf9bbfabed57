"""A report on a room: period, figures, events and operators' changes. Pure.

Rules. All times are of the store's clock, except for those of the audit log, which are of the
machine that wrote it. A report never reads more than is kept: a period that begins earlier is cut,
and a warning says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.admin.audit import Entry
from gatekeeper.admin.report_figures import ReportFigures, Span, figures_of
from gatekeeper.admin.report_files import KEPT_DAYS
from gatekeeper.admin.report_minutes import MINUTE_S, Minute
from gatekeeper.config.event_schema import parse_time_us, spell_time
from gatekeeper.config.problems import shown
from gatekeeper.config.types import RoomName, parse_duration_s
from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.policy.schedule import Event, Schedule

DEFAULT_PERIOD_S = 86_400
_KEPT_S = (KEPT_DAYS - 1) * 86_400


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report shows. `minutes` are in order, without those of gaps."""

    room: RoomName
    event: Event | None  # the requested one
    span: Span
    made_at_s: int
    minutes: Sequence[Minute]
    figures: ReportFigures
    schedule: Schedule
    draws: Sequence[DrawRecord]  # of these events, as they are public
    entries: Sequence[Entry]  # of the audit log, the oldest first
    warnings: Sequence[str]

    @property
    def events(self) -> list[Event]:
        """The events that began before the end of the period and ended after its beginning."""
        return events_in(self.schedule, self.span)


def make_report(
    room: RoomName,
    minutes: Sequence[Minute],
    *,
    span: Span,
    made_at_s: int,
    schedule: Schedule,
    event: Event | None = None,
    draws: Sequence[DrawRecord] = (),
    entries: Sequence[Entry] = (),
    warnings: Sequence[str] = (),
) -> Report:
    """The report on these minutes."""
    return Report(
        room=room,
        event=event,
        span=span,
        made_at_s=made_at_s,
        minutes=minutes,
        figures=figures_of(minutes, span, schedule=schedule),
        schedule=schedule,
        draws=draws,
        entries=entries,
        warnings=warnings,
    )


def events_in(schedule: Schedule, span: Span) -> list[Event]:
    """The events that began before the end of a period and ended after its beginning."""
    return [
        event
        for event in schedule.events
        if not event.cancelled
        and event.first_us < span.until_s * 1_000_000
        and event.last_us > span.since_s * 1_000_000
    ]


def parse_report_time_s(text: str, *, now_s: float) -> int:
    """A time with an offset, or how long ago, e.g. "2h"; seconds since the epoch. ValueError."""
    expected = 'expected e.g. 2026-12-01T10:00:00+01:00, or "2h" for two hours ago'
    try:
        return parse_time_us(text) // 1_000_000
    except ValueError:
        pass
    try:
        return int(now_s - parse_duration_s(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is not a time; {expected}") from None


def period_of(
    since: str, until: str, *, event: Event | None, now_s: float
) -> tuple[Span, list[str]]:
    """The requested period ("": that of the event, or the last day), and warnings.

    It begins with a whole minute. Raises ValueError for an invalid or empty period.
    """
    until_s = int(now_s) + 1
    since_s = until_s - DEFAULT_PERIOD_S
    if event is not None:
        since_s = event.first_us // 1_000_000
        until_s = min(until_s, -(-event.last_us // 1_000_000))
        if since_s > now_s:
            raise ValueError(
                f"event: {event.name} begins at {spell_time(event.first_us)}; "
                "expected an event that has begun"
            )
    if until:
        until_s = min(_named("until", until, now_s=now_s), int(now_s) + 1)
        if event is None:
            since_s = until_s - DEFAULT_PERIOD_S
    if since:
        since_s = _named("since", since, now_s=now_s)
    if since_s >= until_s:
        at = spell_time(until_s * 1_000_000)
        raise ValueError(
            f"since: not before the end of the period ({at}); expected an earlier time"
        )
    oldest_s, warnings = int(now_s) - _KEPT_S, []
    if since_s < oldest_s:
        since_s = oldest_s
        warnings = [
            f"Figures are kept for {KEPT_DAYS - 1} days: the beginning of the period is omitted."
        ]
        if since_s >= until_s:
            raise ValueError(
                f"until: figures are kept for {KEPT_DAYS - 1} days; expected a later time"
            )
    return Span(since_s // MINUTE_S * MINUTE_S, until_s), warnings


def _named(name: str, text: str, *, now_s: float) -> int:
    try:
        return parse_report_time_s(text, now_s=now_s)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
