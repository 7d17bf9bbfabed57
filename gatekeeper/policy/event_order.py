"""The order of a room's queue by its events: an `Ordering` of `policy.ordering`.

Rules. Pure. Arrivals in the prequeue of a draw have the turn that they drew, or a provisional one
until then; every other arrival is its own turn. A turn must be above every turn that was released
before its visitor arrived: so only arrivals in a prequeue, in which no visitor is released, can
have a turn other than the arrival.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.schedule import Event, Schedule, Window
from gatekeeper.policy.tokens import VisitorId


@dataclass(frozen=True, slots=True)
class EventOrder:
    """The order that a schedule gives (the protocol `Ordering`); `gathering` is the event whose
    prequeue lasts now."""

    schedule: Schedule
    gathering: Event | None

    @classmethod
    def of(cls, schedule: Schedule, window: Window) -> EventOrder:
        return cls(schedule, window.event if window.phase is Phase.PREQUEUE else None)

    def turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:  # noqa: ARG002
        event = self.schedule.covering(arrival_us)
        if event is None:
            return arrival_us
        if event is self.gathering or (lane and event.drawn is None):
            return PROVISIONAL_US + arrival_us
        # Not returned before the opening: after all drawn turns. A lane's visitor, of which there
        # is one per invitation, comes after the drawn turns of the lane.
        span = event.drawn.span_of(lane) if event.drawn else None
        return event.start_us if span is None else span.last_us

    def drawn_turn_us(self, visitor: VisitorId, arrival_us: int, lane: str = "") -> int:
        return self.schedule.drawn_turn_us(visitor, arrival_us, lane)
