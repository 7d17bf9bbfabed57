"""Readings by the monitor of a simulated line, and reports on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gatekeeper.admin.audit import Entry
from gatekeeper.admin.history import Reading
from gatekeeper.admin.report import Report, make_report
from gatekeeper.admin.report_figures import Span
from gatekeeper.admin.report_minutes import Minute
from gatekeeper.admin.report_sampler import MinuteSampler
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.draw_record import DrawRecord
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import NO_EVENTS, Event, Schedule
from gatekeeper.room.worker_figures import Figures, RequestCounts
from tests.builders import room_state

SALE = RoomName("sale")
START_S = 1_796_119_200  # a whole minute
RULES = {SALE: Rules.of(RoomConfig.model_validate({"name": SALE, "rate": "60/min", "burst": 10}))}


def line(
    seconds: int,
    *,
    arrivals: Callable[[int], int] = lambda _second: 2,
    rate: Callable[[int], float] = lambda _second: 60.0,
) -> Iterator[Reading]:
    """Readings of each second of a line that moves at a rate per minute, in the order of
    arrival."""
    waiting: deque[int] = deque()
    arrived = released = watermark_us = 0
    due = 0.0
    for second in range(seconds):
        now_us = (START_S + second) * 1_000_000
        for index in range(arrivals(second)):
            waiting.append(now_us - 900_000 + index * 1000)
            arrived += 1
        due = min(due + rate(second) / 60, 1000)
        while due >= 1 and waiting:
            watermark_us = waiting.popleft()
            released, due = released + 1, due - 1
        if not waiting:
            due = 0.0
        state = replace(
            room_state(rate=rate(second)),
            arrived_total=arrived,
            released_total=released,
            admitted_total=released,
            queue_length=len(waiting),
            watermark_us=watermark_us,
            now_us=now_us,
        )
        counts = RequestCounts(forwarded=released, waiting=arrived, waits=(released,))
        yield Reading(START_S + second, {SALE: state}, {"one": figures("one", counts)})


def figures(replica: str, counts: RequestCounts) -> Figures:
    return Figures(replica, 1.0, 0, {SALE: counts}, store_up=True, events_up=True)


def minutes_of(readings: Iterator[Reading]) -> list[Minute]:
    """The minutes of these readings, the last one included."""
    sampler = MinuteSampler()
    found: list[Minute] = []
    for reading in readings:
        found += sampler.add(reading, RULES).values()
    return [*found, *sampler.running(RULES).values()]


def report_on(
    minutes: Sequence[Minute],
    *,
    seconds: int | None = None,
    room: str = SALE,
    event: Event | None = None,
    schedule: Schedule = NO_EVENTS,
    draws: Sequence[DrawRecord] = (),
    entries: Sequence[Entry] = (),
    warnings: Sequence[str] = (),
) -> Report:
    """The report on the time from START_S to the last of the minutes, or on `seconds`."""
    until_s = minutes[-1].at_s + 60 if seconds is None else START_S + seconds
    return make_report(
        RoomName(room),
        minutes,
        span=Span(START_S, until_s),
        made_at_s=until_s,
        schedule=schedule,
        event=event,
        draws=draws,
        entries=entries,
        warnings=warnings,
    )
