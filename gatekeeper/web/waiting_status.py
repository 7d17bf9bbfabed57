"""The status of a waiting visitor, and its JSON.

Rules: pure. An unknown value is null. Every poll needs this, so it is formatted without a JSON
encoder; a test compares it with the library's output.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache

from gatekeeper.config.types import RoomName
from gatekeeper.pages.event_view import DrawNumber, EventView
from gatekeeper.policy.decision import QueuePosition
from gatekeeper.policy.pacing import eta_s, poll_interval_before_draw_s, poll_interval_s
from gatekeeper.policy.phase import Phase, Reason, is_full
from gatekeeper.policy.reference import reference_of
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket
from gatekeeper.record import record
from gatekeeper.room.state import RoomState

ChallengeJson = dict[str, object]


@record
class WaitingStatus:
    """The place of a waiting visitor; None is unknown."""

    room: RoomName
    phase: Phase | None
    position: int | None
    ahead: int | None
    queue_length: int | None
    eta_seconds: int | None
    rate_per_minute: float
    refresh_seconds: int
    arrived_at: str
    reason: Reason
    message: str | None
    starts_at: str | None  # start of `event`, if it is in the future
    reference: str  # for support
    event: EventView | None = None  # of the room
    challenge: ChallengeJson | None = None  # that has to be solved first
    lane: str = ""  # "": none

    @property
    def json(self) -> dict[str, object]:
        """The JSON of `GET status`; `docs/reference/endpoints.md` has the fields."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["event"], values["challenge"]
        if not self.lane:
            del values["lane"]
        challenge = {} if self.challenge is None else {"challenge": self.challenge}
        return {"state": "waiting", **values, **event_json(self.event), **challenge}

    def encoded(self) -> bytes:
        """`json` as bytes. Only a message may need escapes, and a challenge."""
        more = _encoded_event(self.event) if self.event else ""
        if self.challenge is not None:
            more += f', "challenge": {json.dumps(self.challenge)}'
        if self.lane:
            more = f', "lane": "{self.lane}"{more}'
        rate, rest = _encoded_room(self.rate_per_minute, self.reason, self.message, self.starts_at)
        return (
            f'{{"state": "waiting", "room": "{self.room}", '
            f'"phase": {_text(self.phase)}, '
            f'"position": {"null" if self.position is None else self.position}, '
            f'"ahead": {"null" if self.ahead is None else self.ahead}, '
            f'"queue_length": {"null" if self.queue_length is None else self.queue_length}, '
            f'"eta_seconds": {"null" if self.eta_seconds is None else self.eta_seconds}, '
            f'"rate_per_minute": {rate}, '
            f'"refresh_seconds": {self.refresh_seconds}, "arrived_at": "{self.arrived_at}", '
            f'{rest}, "reference": "{self.reference}"{more}}}'
        ).encode()


@lru_cache(maxsize=256, typed=True)  # the same for most visitors of a room
def _encoded_room(
    rate_per_minute: float, reason: Reason, message: str | None, starts_at: str | None
) -> tuple[str, str]:
    """The rate, and the fields from `reason` to `starts_at`."""
    text = "null" if message is None else json.dumps(message)
    return (
        repr(rate_per_minute),
        f'"reason": "{reason}", "message": {text}, "starts_at": {_text(starts_at)}',
    )


def event_json(event: EventView | None) -> dict[str, object]:
    """The fields of an event in the JSON; none without an event. `starts_in_seconds` lets a page
    count down without a correct local clock."""
    if event is None:
        return {}
    left_s = event.starts_in_s
    shown: dict[str, object] = {
        "event": event.name,
        "starts_in_seconds": None if left_s is None else round(left_s, 3),
    }
    if event.commitment:
        shown["commitment"] = event.commitment
    return shown | _draw_json(event.draw)


def _draw_json(draw: DrawNumber | None) -> dict[str, object]:
    return {} if draw is None else {"draw": {"id_hash": draw.id_hash, "turn": draw.turn}}


def _encoded_event(event: EventView) -> str:
    """`event_json`, encoded as the rest of an object. Names and hashes need no escapes."""
    left_s, draw = event.starts_in_s, event.draw
    left = "null" if left_s is None else repr(round(left_s, 3))
    text = f', "event": "{event.name}", "starts_in_seconds": {left}'
    if event.commitment:
        text += f', "commitment": "{event.commitment}"'
    if draw is not None:
        text += f', "draw": {{"id_hash": "{draw.id_hash}", "turn": {draw.turn}}}'
    return text


def waiting_status_of(
    ticket: Ticket,
    position: QueuePosition | None,
    state: RoomState | None,
    *,
    rules: Rules,
    newcomer: bool = False,
    event: EventView | None = None,
    challenge: ChallengeJson | None = None,
    about_ahead: int | None = None,
) -> WaitingStatus:
    """The status from the store's reply, or without one from the estimate `about_ahead` of the
    visitors before this one, for the poll interval. A `newcomer` polls soon, to return the ticket.
    Until a `challenge` is solved there is no position."""
    rate = state.effective_rate_per_minute if state else rules.rate_per_minute
    pace = state.expected_rate_per_minute if state else rate
    reason: Reason = "reconnecting"
    if position and state:
        reason = room_reason(state, rules=rules)
    if challenge is not None:
        reason = "challenge"
    queue_length = max(state.queue_length, position.ahead + 1) if state and position else None
    refresh_s = poll_interval_s(
        position.ahead if position else about_ahead,
        rate_per_minute=pace,
        rules=rules,
        newcomer=newcomer,
        arrival_us=ticket.arrival_us,
    )
    if challenge is None and state and state.events and _is_to_be_drawn(ticket, state):
        position = None
        reason = "prequeue" if reason == "held" else reason
        if not newcomer:
            refresh_s = _until_drawn_s(ticket, state, rules=rules)
    eta = None
    # At a full site visitors are admitted as others leave, regardless of the rate.
    if position and reason != "full":
        eta = eta_s(position.ahead, rate_per_minute=rate)
    # Positional arguments: with 14 keywords the call takes more than twice as long, on every poll.
    return WaitingStatus(
        rules.room,
        state.phase if state else None,
        position.ahead + 1 if position else None,
        position.ahead if position else None,
        queue_length,
        eta,
        rate,
        refresh_s,
        _second(ticket.arrival_us // 1_000_000),
        reason,
        (state.shown_message or None) if state else None,
        event.starts_at if event and event.starts_in_s is not None else None,
        ticket.reference or reference_of(ticket.visitor),
        event,
        challenge,
        ticket.lane,
    )


def _is_to_be_drawn(ticket: Ticket, state: RoomState) -> bool:
    """Whether the place of this visitor is not drawn yet, so that a position means nothing. An
    operator may hold the room meanwhile. In the prequeue the places of earlier arrivals are real;
    during the draw no place is, since drawn turns come before it."""
    window = state.window
    if state.phase is Phase.DRAW:
        return True
    is_gathering = window.phase is Phase.PREQUEUE and state.phase in {Phase.PREQUEUE, Phase.HELD}
    return is_gathering and window.event is not None and window.event.covers(ticket.arrival_us)


def _until_drawn_s(ticket: Ticket, state: RoomState, *, rules: Rules) -> int:
    """The poll interval before a draw, whole seconds."""
    event = state.window.event
    until_start_us = event.start_us - state.now_us if event is not None else 0
    return poll_interval_before_draw_s(
        until_start_s=until_start_us / 1_000_000,
        waiting=state.queue_length,
        rate_per_minute=state.current_rate_per_minute,
        rules=rules,
        arrival_us=ticket.arrival_us,
    )


def room_reason(state: RoomState, *, rules: Rules) -> Reason:
    """The reason why visitors with a place wait, the same for all of them."""
    reason, most = state.reason, rules.max_active
    if most and reason == "line" and is_full(state.phase, active=state.active, max_active=most):
        return "full"
    return reason


def admitted_json(pass_: Pass, draw: DrawNumber | None = None) -> dict[str, object]:
    """The JSON of `GET status` for the holder of a pass; `draw`: that of the claimed ticket."""
    return {
        "state": "admitted",
        "expires_at": rfc3339(pass_.expires_at_s),
        "ends_at": rfc3339(pass_.ends_at_s),
        **_draw_json(draw),
    }


def rfc3339(at_s: float) -> str:
    """Format seconds since the Unix epoch as an RFC 3339 time in UTC, with second precision."""
    return _second(int(at_s))


@lru_cache(maxsize=4096)  # under load hundreds of visitors share a second
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().removesuffix("+00:00") + "Z"


def _text(value: str | None) -> str:
    """Format a text that needs no JSON escapes. Formatting an enum member directly is slow."""
    return "null" if value is None else '"' + value + '"'
