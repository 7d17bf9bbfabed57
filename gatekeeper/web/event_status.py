"""The event of a room as a visitor sees it: its name, the remaining time, the visitor's draw.

Rules: pure. Times are the store's. During an event it is that one; otherwise the next one. Rooms
without events cost only a comparison.
"""

from __future__ import annotations

from gatekeeper.pages.event_view import DrawNumber, EventView
from gatekeeper.policy.draw import hashed_turn_us, id_hash
from gatekeeper.policy.ordering import PROVISIONAL_US
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.schedule import Event
from gatekeeper.policy.tokens import Ticket
from gatekeeper.room.state import RoomState
from gatekeeper.web.waiting_status import rfc3339


def event_view_of(
    state: RoomState | None, *, now_s: float, ticket: Ticket | None = None
) -> EventView | None:
    """The event that a visitor with this ticket, or without a place, sees in the room."""
    if state is None or not state.events:
        return None
    now_us = round(now_s * 1_000_000)
    event = present_or_next(state, now_us)
    if event is None:
        return None
    return EventView(
        name=event.name,
        starts_at=rfc3339(event.start_us / 1_000_000),
        starts_in_s=_left_s(event.start_us, now_us),
        ends_in_s=None if event.end_us is None else _left_s(event.end_us, now_us),
        prequeue_at=rfc3339(event.first_us / 1_000_000) if now_us < event.first_us else "",
        prequeue_in_s=_left_s(event.first_us, now_us),
        order="draw" if event.has_draw else "arrival",
        commitment=event.commitment,
        draw=None if ticket is None else _number_in(event, ticket),
    )


def present_or_next(state: RoomState, now_us: int) -> Event | None:
    """The current event, else the next; after the last one, the one that ended the room."""
    window = state.schedule.at(now_us)
    if window.event is not None and window.phase is not Phase.ENDED:
        return window.event
    return state.schedule.next_start(now_us) or window.event


def _left_s(at_us: int, now_us: int) -> float | None:
    """Seconds until `at_us`; None: it has passed."""
    return (at_us - now_us) / 1_000_000 if at_us > now_us else None


def _number_in(event: Event, ticket: Ticket) -> DrawNumber | None:
    """The visitor's number in the draw; None before it, and for visitors that took no part."""
    was_in_line = (ticket.own_turn_us or 0) >= PROVISIONAL_US
    if event.drawn is None or not was_in_line or not event.covers(ticket.arrival_us):
        return None
    hashed = id_hash(ticket.visitor)  # cached: every poll after the draw needs it
    span = event.drawn.span_of(ticket.lane)
    if span is not None:
        return DrawNumber(hashed.hex(), span.turn_us(event.drawn.seed, hashed))
    turn_us = hashed_turn_us(
        event.drawn.seed, hashed, start_us=event.start_us, span_us=event.span_us
    )
    return DrawNumber(hashed.hex(), turn_us)
