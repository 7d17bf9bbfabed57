"""Records the effects of floods, lurkers and no-shows on a line, from the responses of `Observer`.

Rules. No I/O and no clock; `pressure` has the judgements. Memory does not grow with requests.
"""

from __future__ import annotations

import math
from collections import deque

from gatekeeper.simulate.gate_response import ObservedResponse
from gatekeeper.simulate.plan import CrowdPlan
from gatekeeper.simulate.pressure import (
    MAX_LATE_S,
    MAX_MISSES,
    QUEUE_MARGIN,
    SWEPT_AFTER_S,
    WAITING_S,
    FloodRecord,
    Lurk,
    LurkerRecord,
    PromisedWaits,
    QueueRecord,
    Throughput,
)
from gatekeeper.simulate.release_delays import ReleaseDelays
from gatekeeper.simulate.room_monitor import RoomFigures
from gatekeeper.simulate.visitor import Action, Visitor, VisitorKind, VisitorStage

LURKER_AHEAD = "stood ahead of earlier visitors after its second missed release"
_REMEMBERED_S = 60.0  # and three claim windows: longer than a lurker is silent
WAITED_LONGER = "waited longer than position and rate promise"


class PressureRecord:
    """The record of one run; `releases` is that of the observer."""

    def __init__(self, releases: ReleaseDelays, plan: CrowdPlan | None = None) -> None:
        has_misses = plan is not None and bool(plan.lurkers or plan.shares.no_shows)
        self._claim_timeout_s = plan.claim_timeout_s if plan else 0.0
        self._releases = releases
        self._lurkers = plan.lurkers if plan else 0
        self.waits = PromisedWaits()
        self.throughput = Throughput(claim_timeout_s=self._claim_timeout_s * has_misses)
        self.floods = FloodRecord()
        self.queue = QueueRecord()
        self.lurkers = LurkerRecord()
        self.room: RoomFigures | None = None
        self.is_closed = False  # an event that the crowd takes part in is not open yet
        # Visitors that may have been released and left without a claim, or fell silent.
        self.leaving = 0
        self.left = 0
        self.silent = 0
        self._waiting = 0
        self._arrivals = 0  # begun, of visitors and lurkers …
        self._arrivals_until: deque[tuple[float, int]] = deque()  # … until these instants
        self._has_lanes = plan is not None and bool(plan.lanes)
        self._holding = 0  # visitors that were admitted and have not left
        self._no_shows: deque[float] = deque()  # when they fell silent, while they may hold a slot
        self._promised_rate: float | None = None  # of the last response, if it had an estimate

    # Around each request.

    def arrival_began(self) -> None:
        self._arrivals += 1

    def poll_began(self, visitor: Visitor) -> None:
        """Call before the order judge notes the request."""
        self.queue.confirmed += visitor.place.confirm_began_s is None

    def replay_began(self) -> None:
        """A spent ticket makes a place if it is accepted; that is judged on its own."""
        self.queue.confirmed += 1

    def received_admitted(self, visitor: Visitor) -> str | None:
        """The first `admitted` response of this visitor; returns the violation."""
        self.queue.gone += visitor.place.confirm_began_s is not None
        self._holding += 1
        if visitor.kind is VisitorKind.LURKER and visitor.next_action is Action.POLL:
            self.lurkers.admitted += 1
            # A lower bound of the visitors that wait and are not released yet.
            waiting = self._waiting - WAITING_S * (self.line_rate() or math.inf) / 60
            return self._judge_miss(visitor, behind=waiting)
        return None

    def leave_began(self, visitor: Visitor) -> None:
        self.leaving += not visitor.admitted and visitor.place.near_front

    def received_left(self, visitor: Visitor) -> None:
        self._holding -= visitor.admitted
        self.left += not visitor.admitted and visitor.place.near_front
        self.queue.gone += not visitor.admitted and visitor.place.confirm_began_s is not None

    def received_waiting(
        self, visitor: Visitor, response: ObservedResponse, *, has_returned: bool, now_s: float
    ) -> str | None:
        """A poll received `waiting`; returns the violation. Call after the order judge."""
        self.note_estimate(response)
        if has_returned and visitor.kind is not VisitorKind.LURKER:
            self.waits.visitor_returned()
        if visitor.kind is VisitorKind.LURKER:
            return self._judge_lurker(visitor, response, now_s=now_s)
        return self._judge_wait(visitor, response, now_s=now_s)

    def note_estimate(self, response: ObservedResponse) -> None:
        if response.position is not None:
            self._promised_rate = None if response.eta_s is None else response.rate_per_minute

    def stage_changed(self, visitor: Visitor, *, now_s: float) -> None:
        if visitor.kind is VisitorKind.NO_SHOW and visitor.stage is VisitorStage.DONE:
            self._no_shows.append(now_s)
            self.silent += 1

    def _judge_wait(
        self, visitor: Visitor, response: ObservedResponse, *, now_s: float
    ) -> str | None:
        if self._has_lanes:
            return None  # members that arrive later are placed before visitors in line
        place, line_rate = visitor.place, self.line_rate()
        if line_rate is None:
            self.waits.line_stopped(now_s=now_s)
        visitor.promised = promised = self.waits.received_waiting(
            visitor.promised,
            position=response.position,
            rate_per_minute=line_rate and response.rate_per_minute,
            waited_s=place.sent_s - visitor.arrived_s,
            present_since_s=place.present_since_s,
            sent_s=place.sent_s,
            now_s=now_s,
        )
        return WAITED_LONGER if promised is not None and promised.late_s > MAX_LATE_S else None

    def _judge_lurker(
        self, visitor: Visitor, response: ObservedResponse, *, now_s: float
    ) -> str | None:
        position, queue_length = response.position, response.queue_length
        violation = None
        if position is not None and queue_length is not None:
            violation = self._judge_miss(visitor, behind=queue_length - position)
        place = visitor.place
        visitor.lurk = Lurk(place.turn_us, now_s) if place.near_front else None
        self.silent += place.near_front
        return violation

    def _judge_miss(self, visitor: Visitor, *, behind: float) -> str | None:
        """Judge where a lurker stands, if it missed a release; `behind`: visitors behind it."""
        lurk = visitor.lurk
        if lurk is None or not self._releases.was_passed(
            lurk.turn_us,
            from_s=lurk.received_s,
            until_s=min(
                lurk.received_s + SWEPT_AFTER_S, visitor.place.sent_s - self._claim_timeout_s
            ),
        ):
            return None
        visitor.misses += 1
        self.lurkers.misses += 1
        if visitor.misses < MAX_MISSES:
            return None
        # The new turn is that of the instant at which the claim window ended.
        arrived = self._arrivals_at(lurk.received_s + self._claim_timeout_s)
        later = self._arrivals - arrived + self._lurkers + QUEUE_MARGIN
        return LURKER_AHEAD if self.lurkers.is_ahead(behind=behind, later=later) else None

    def _arrivals_at(self, at_s: float) -> int:
        """A lower bound of the number of arrivals that had begun at `at_s`."""
        return next(
            (count for until_s, count in reversed(self._arrivals_until) if until_s <= at_s), 0
        )

    # Between the requests.

    def line_rate(self) -> float | None:
        """The rate that releases follow now; None while they do not follow it.

        Slots count as taken only where visitors of the crowd may hold them.
        """
        if self.is_closed:
            return None
        room = self.room
        if room is None:
            return self._promised_rate
        is_full = 0 < room.max_active <= self._holding + len(self._no_shows) + self._lurkers
        return None if is_full or room.mode != "auto" else room.rate_per_minute

    def sample(self, *, waiting: int, admissions: int, now_s: float) -> None:
        """Call at short intervals."""
        self._waiting = waiting
        self._arrivals_until.append((now_s, self._arrivals))
        while self._arrivals_until[0][0] < now_s - _REMEMBERED_S - 3 * self._claim_timeout_s:
            self._arrivals_until.popleft()
        while self._no_shows and now_s - self._no_shows[0] > self._claim_timeout_s + SWEPT_AFTER_S:
            self._no_shows.popleft()
        self.throughput.sample(
            now_s=now_s,
            waiting=waiting,
            rate_per_minute=self.line_rate(),
            admissions=admissions,
        )
