"""One replica at the end of a period: it sets the rate, and reports a change once."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from gatekeeper import metrics
from gatekeeper.config.schema import RoomConfig
from gatekeeper.policy.autotune import Memory, Period
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.schedule import Event, Schedule
from gatekeeper.room.period import PeriodEnd, SteerRequest
from gatekeeper.room.queue import Queue
from gatekeeper.room.rate_steering import Autotune
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import parse_record
from gatekeeper.room.write_back import rate_text
from tests.builders import room_state
from tests.origin_periods import SLOW, period_of

RULES = Rules.of(RoomConfig.model_validate({"name": "steered", "autotune": True}))
LATE = period_of({SLOW: 100}, admitted=40)


@dataclass
class FakeQueue:
    """Ends a period at every call, by default one of slow responses."""

    state: RoomState = field(default_factory=lambda: room_state(rate=600.0))
    takes: bool = True
    rules: Rules = RULES
    requests: list[SteerRequest] = field(default_factory=list)
    period: Period = LATE
    begin_us: int = 17
    steering: str = ""
    memory: str = ""
    measured: list[str] = field(default_factory=list)

    async def advance(self) -> tuple[RoomState, int]:
        return self.state, 0

    async def advance_measured(self, measured: str, by: str) -> tuple[RoomState, PeriodEnd | None]:
        assert by == "0.8 0.02"
        self.measured.append(measured)
        return self.state, PeriodEnd(self.begin_us, self.period, self.steering, self.memory)

    async def steer(self, request: SteerRequest) -> bool:
        self.requests.append(request)
        return self.takes


def changes() -> float:
    return sum(
        sample.value
        for metric in metrics.autotune_changes.collect()
        for sample in metric.samples
        if sample.labels.get("room") == "steered" and sample.name.endswith("_total")
    )


async def one_period(queue: FakeQueue) -> list[Any]:
    structlog.reset_defaults()
    with capture_logs() as logs:
        await Autotune(cast(Queue, queue)).advance()
    return [each for each in logs if each["event"] == "rate_steered"]


async def test_fall_is_handed_in_logged_and_counted() -> None:
    queue, before = FakeQueue(), changes()
    [line] = await one_period(queue)
    [request] = queue.requests
    assert request.rate_per_minute is not None
    assert request.rate_per_minute < 600
    assert (request.begin_us, request.known, request.events) == (17, queue.state, None)
    assert (line["before"], line["reason"]) == ("600/min", "too_slow")
    assert changes() == before + 1
    record = parse_record(request.steering)
    assert record.last == record.changes[0]


async def test_rate_that_came_too_late_is_no_change() -> None:
    queue, before = FakeQueue(takes=False), changes()
    assert await one_period(queue) == []
    assert len(queue.requests) == 1
    assert changes() == before


@pytest.mark.parametrize(("pause_s", "is_draining"), [(0, True), (10, True), (60, False)])
async def test_pause_of_the_room_is_known_to_the_law(pause_s: int, is_draining: bool) -> None:
    """The room was held, so the earlier overload has ended."""
    queue = FakeQueue()
    await one_period(queue)
    before = queue.requests[-1]
    assert Memory.decode(before.memory).is_draining
    quiet = period_of({SLOW: 2}, waiting=False)
    after_us = queue.begin_us + (pause_s + round(quiet.seconds)) * 1_000_000
    resumed = FakeQueue(
        room_state(rate=before.rate_per_minute or 0.0),
        period=quiet,
        begin_us=after_us,
        steering=before.steering,
        memory=before.memory,
    )
    await one_period(resumed)
    assert Memory.decode(resumed.requests[-1].memory).is_draining is is_draining


async def test_replica_that_was_paused_reports_it_twice() -> None:
    """Requests that were in progress during the pause are counted after it."""
    queue, instants_s = FakeQueue(), iter([10.0, 11.0, 15.0, 16.0, 17.0])
    autotune = Autotune(cast(Queue, queue), monotonic_s=lambda: next(instants_s))
    for _ in range(5):
        await autotune.advance()
    assert queue.measured == ["", "", "1", "1", ""]


async def test_without_autotune_nothing_is_handed_in() -> None:
    rules = Rules.of(RoomConfig.model_validate({"name": "steered"}))
    queue = FakeQueue(rules=rules)
    assert await one_period(queue) == []
    assert queue.requests == []


@pytest.mark.parametrize("is_full", [True, False])
async def test_events_that_are_as_long_as_they_may_be_keep_their_rate(is_full: bool) -> None:
    """Their new rate would not fit, so the period has no effect."""
    message = "x" * (70_000 if is_full else 10)
    now_us = 1_900_000_000_000_000
    event = Event(
        "sale",
        start_us=now_us - 1,
        announced_us=now_us - 1,
        settings={"rate": "600/min", "message": message},
    )
    state = replace(room_state(rate=6.0), now_us=now_us, events=Schedule.of([event]).text)
    queue = FakeQueue(state=state)
    await one_period(queue)
    assert len(queue.requests) == (0 if is_full else 1)
    if not is_full:
        events = queue.requests[0].events
        assert events is not None
        assert events.events[0].settings["message"] == message


@pytest.mark.parametrize(
    ("bounds", "rate"),
    [
        ({"autotune_min": "200/h"}, 200 / 60),
        ({"autotune_max": "100000/h"}, 100_000 / 60),
        ({"autotune_max": "300000/min"}, 123_456),
        ({"autotune_min": "100/h", "autotune_max": "100/h"}, 100 / 60),
    ],
)
async def test_rate_that_stays_keeps_every_digit(bounds: dict[str, str], rate: float) -> None:
    """A rate from the store has twelve digits, and may be slightly outside of a bound."""
    config = RoomConfig.model_validate({"name": "steered", "autotune": True, **bounds})
    state = room_state(rate=float(rate_text(rate)))
    quiet = period_of({SLOW: 2}, waiting=False)
    queue, before = FakeQueue(state=state, rules=Rules.of(config), period=quiet), changes()
    assert await one_period(queue) == []
    [request] = queue.requests
    assert request.rate_per_minute is None
    record = parse_record(request.steering)
    assert record.last is not None
    assert (record.last.before, record.last.after) == (state.rate_per_minute,) * 2
    assert record.changes == ()
    assert changes() == before
