"""The steering of one room's rate on one replica, without a leader.

Rules. Each replica passes what it measured of the origin to `advance`. When a period has passed on
the store's clock, one of these calls returns the sums of all replicas and begins the next period:
that replica computes the rate (`policy.autotune`) and sends it at once. The store accepts it only
in that period, and only while rate, settings and events are those that it was computed from. A
replica that ends in between costs one period without a change. A replica that was paused reports
that: what it measured then includes the pause. Without autotune none of this runs. The law's memory
is dropped when autotune is switched off or its targets change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

from gatekeeper import metrics
from gatekeeper.config.rate_text import spell_rate
from gatekeeper.errors import Conflict, NotFound
from gatekeeper.policy.autotune import Memory, Reason, Targets, adjust
from gatekeeper.policy.event_changes import with_settings
from gatekeeper.policy.pacing import IDLE_TICK_S
from gatekeeper.policy.schedule import Schedule
from gatekeeper.room.origin_tally import OriginTally
from gatekeeper.room.period import PeriodEnd, SteerRequest
from gatekeeper.room.queue import Queue
from gatekeeper.room.state import RoomState
from gatekeeper.room.steering_record import SteeringRecord, SteeringStep, parse_record

_LOG_AGAIN_AFTER_US = 60_000_000
_DIGITS = 5  # of a rate
_LATE_S = 1.5 * IDLE_TICK_S  # from one call of a pacer to its next

log = structlog.get_logger()


class Autotune:
    """The autotune of one room on one replica. The exits count into `tally` while it is in
    force."""

    def __init__(self, queue: Queue, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._monotonic_s = monotonic_s
        self._called_at_s = math.inf
        self._was_late = False
        self.tally = OriginTally()
        self._logged_at_us = 0
        self._has_series = False

    async def advance(self) -> RoomState:
        """The pacer's call of `advance`; raises StoreError."""
        targets, is_late = self._queue.rules.autotune, self._note_lateness()
        self.tally.measure_by(None if targets is None else targets.latency_s)
        if targets is None:
            state, _ = await self._queue.advance()
            return state
        self._declare_series()
        measured = self.tally.take(is_late=is_late)
        state, end = await self._queue.advance_measured(measured, targets.measure)
        return state if end is None else await self._steer(state, end, targets)

    def _note_lateness(self) -> bool:
        """Whether this process was paused before this call, or before the previous one: requests
        that were in flight are counted after the pause."""
        now_s = self._monotonic_s()
        is_late, was_late = now_s - self._called_at_s > _LATE_S, self._was_late
        self._called_at_s, self._was_late = now_s, is_late
        return is_late or was_late

    def _declare_series(self) -> None:
        """Start every series at 0, so that `rate()` sees the first change."""
        if not self._has_series:
            self._has_series = True
            for reason in Reason:
                metrics.autotune_changes.labels(self._queue.rules.room, reason.value)

    async def _steer(self, state: RoomState, end: PeriodEnd, targets: Targets) -> RoomState:
        record, period = parse_record(end.steering), end.period
        before = state.current_rate_per_minute
        memory = Memory.decode(end.memory)
        if record.last is not None:
            memory = memory.after_pause(
                end.begin_us / 1e6 - period.seconds - record.last.at_us / 1e6
            )
        adjustment = adjust(before, memory, period, targets)
        after = _rounded(adjustment.rate, before, targets)
        steering = SteeringStep(
            at_us=end.begin_us,
            before=before,
            after=after,
            reason=adjustment.reason.value,
            latency_s=period.latency_s(targets),
            responses=period.responses,
            failed=period.failed,
            admitted=period.admitted,
        )
        try:
            events = _with_rate(state, after) if after != before else None
        except (Conflict, NotFound):  # the events would exceed their maximum length
            return state
        is_set = await self._queue.steer(
            SteerRequest(
                end.begin_us,
                state,
                rate_per_minute=None if after == before else after,
                steering=record.after(steering).encode(),
                memory=adjustment.memory.encode(),
                events=events,
            )
        )
        if is_set and after != before:
            self._report(steering, record)
        return state

    def _report(self, steering: SteeringStep, record: SteeringRecord) -> None:
        """Log every decrease, the first increase after another reason, and else one change a
        minute."""
        room, is_fall = self._queue.rules.room, steering.after < steering.before
        metrics.autotune_changes.labels(room, steering.reason).inc()
        is_new = record.last is None or record.last.reason != steering.reason
        is_due = steering.at_us - self._logged_at_us > _LOG_AGAIN_AFTER_US
        if not (is_fall or is_new or is_due):
            return
        self._logged_at_us = steering.at_us
        log.info(
            "rate_steered",
            room=room,
            before=spell_rate(steering.before),
            after=spell_rate(steering.after),
            reason=steering.reason,
            p95_s=steering.latency_s and round(steering.latency_s, 3),
            responses=steering.responses,
            failed=steering.failed,
        )


def _rounded(rate: float, before: float, targets: Targets) -> float:
    """The rate rounded for readers, within the bounds; `before` where the rate stays. The store
    keeps twelve digits, so a bound such as "200/h" is not read back exactly."""
    if math.isclose(rate, before):
        return before
    return min(max(float(f"{rate:.{_DIGITS}g}"), targets.rate_min), targets.rate_max)


def _with_rate(state: RoomState, rate: float) -> Schedule | None:
    """The events with another rate of the running event, if it sets the rate."""
    event = state.window.event
    if event is None or "rate" not in state.window.settings:
        return None
    return with_settings(state.schedule, event.name, {**event.settings, "rate": spell_rate(rate)})
