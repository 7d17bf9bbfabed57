"""Decides who enters. No I/O and no clock: callers pass `now_s`, seconds of the store's clock.

Rules. `decide` returns one of a closed set of values; what they need of the store is done by the
caller, and `conclude` turns the store's answer into what the visitor gets. That the store is out
of reach is a fact in `RoomView`, not an exception. Every branch that nothing names refuses.

    token      store   decision
    pass       any     Forward, unless revoked; unproven and late: Poll
    ticket     up      Poll (the heartbeat, and the claim once released)
    ticket     down    released by the last watermark: EnterWithoutStore, else KeepWaiting
    none       up      Arrive
    none       down    `store_failure_mode`: StampWithoutStore or EnterByShare
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, assert_never

from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import FIRST_TICKET_S, Pass, Ticket, Token, VisitorId


class Mode(StrEnum):
    AUTO = "auto"  # by rate, burst and slots
    HOLD = "hold"  # nobody is released, whatever was granted
    OPEN = "open"  # everybody passes
    ENDED = "ended"  # nobody is released, as in HOLD, and pages say that it is over


@dataclass(frozen=True, slots=True)
class RoomView:
    """What this replica knows of the room when it decides."""

    mode: Mode
    watermark_us: int
    revoked: Container[VisitorId]
    store_up: bool
    born_s: float = 0.0  # when the store began anew, if it did: it knows of no older pass


@dataclass(frozen=True, slots=True)
class Forward:
    """Let the request through; `renew` the pass while at it."""

    pass_: Pass
    renew: bool


@dataclass(frozen=True, slots=True)
class Arrive:
    """A newcomer: ask the store for a slot or a place."""


class Poll(NamedTuple):
    """Ask the store where this visitor stands: heartbeat, return, or claim."""

    visitor: VisitorId
    arrival_us: int


@dataclass(frozen=True, slots=True)
class EnterWithoutStore:
    """Released, or the room is open: a pass without a word from the store."""

    ticket: Ticket | None


@dataclass(frozen=True, slots=True)
class EnterByShare:
    """Let a newcomer in if this replica's own share of the rate allows, else stamp them."""


@dataclass(frozen=True, slots=True)
class StampWithoutStore:
    """Stamp a newcomer with the store's clock as last estimated; they are ranked later."""


@dataclass(frozen=True, slots=True)
class KeepWaiting:
    """The place is safe in the ticket; nobody knows the position just now."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing named this case."""

    reason: str


Decision = (
    Forward
    | Arrive
    | Poll
    | EnterWithoutStore
    | EnterByShare
    | StampWithoutStore
    | KeepWaiting
    | Refuse
)


def decide(token: Token | None, view: RoomView, *, rules: Rules, now_s: float) -> Decision:
    """What to do with a request that carries `token` (already verified and unexpired)."""
    if token is not None and token.visitor in view.revoked:
        token = None
    match token:
        case Pass():
            return _decide_pass(token, view, rules=rules, now_s=now_s)
        case Ticket():
            return _decide_ticket(token, view)
        case None:
            return _decide_newcomer(view, rules=rules)
        case _:
            assert_never(token)


def is_forwarded_unchanged(pass_: Pass, view: RoomView, *, rules: Rules, now_s: float) -> bool:
    """Whether `decide` says: Forward, and do not renew. Asked of every request inside."""
    return (
        pass_.confirmed
        and now_s < pass_.expires_at_s
        and now_s - pass_.issued_at_s < rules.pass_renewal_s
        and pass_.issued_at_s >= view.born_s
        and pass_.visitor not in view.revoked
    )


def _decide_pass(pass_: Pass, view: RoomView, *, rules: Rules, now_s: float) -> Decision:
    if now_s >= pass_.expires_at_s:
        return Refuse("expired pass")
    age_s = now_s - pass_.issued_at_s
    if pass_.confirmed:
        is_unknown = pass_.issued_at_s < view.born_s
        return Forward(pass_, renew=is_unknown or age_s >= rules.pass_renewal_s)
    # Until `confirm_timeout` the store surely holds the slot. Later it may have gone to another
    # visitor, and only the store can say so; with the store away the pass itself counts.
    if age_s < rules.confirm_timeout_s or not view.store_up:
        return Forward(pass_, renew=True)
    return Poll(pass_.visitor, pass_.arrival_us)


def _decide_ticket(ticket: Ticket, view: RoomView) -> Decision:
    if view.store_up:
        return Poll(ticket.visitor, ticket.arrival_us)
    if view.mode is Mode.OPEN or ticket.arrival_us <= view.watermark_us:
        return EnterWithoutStore(ticket)
    return KeepWaiting(ticket)


def _decide_newcomer(view: RoomView, *, rules: Rules) -> Decision:
    if view.store_up:
        return Arrive()
    match view.mode:
        case Mode.OPEN:
            return EnterWithoutStore(None)
        case Mode.HOLD | Mode.ENDED:
            return StampWithoutStore()
        case Mode.AUTO:
            return EnterByShare() if rules.store_failure_mode == "open" else StampWithoutStore()
        case _:
            assert_never(view.mode)


# What the store says of one visitor.


class QueuePosition(NamedTuple):
    """In line at `arrival_us` with `ahead` people before them."""

    arrival_us: int
    ahead: int


@dataclass(frozen=True, slots=True)
class SlotGrant:
    """Holds a slot; `proven` when they have shown that they keep their token."""

    arrival_us: int
    confirmed: bool


@dataclass(frozen=True, slots=True)
class VoidToken:
    """Left, was revoked, or spent the ticket: the token counts no more."""


Standing = QueuePosition | SlotGrant | VoidToken


def ticket_of(visitor: VisitorId, *, arrival_us: int, rules: Rules, now_s: float) -> Ticket:
    """A ticket as issued at `now_s`."""
    return Ticket(rules.room, visitor, arrival_us, now_s, now_s + rules.ticket_life_s)


def pass_of(
    visitor: VisitorId, *, arrival_us: int, confirmed: bool, rules: Rules, now_s: float
) -> Pass:
    """A first pass as issued at `now_s`."""
    ends_at_s = now_s + rules.session_absolute_timeout_s
    return Pass(
        room=rules.room,
        visitor=visitor,
        arrival_us=arrival_us,
        issued_at_s=now_s,
        expires_at_s=min(now_s + rules.pass_life_s, ends_at_s),
        ends_at_s=ends_at_s,
        confirmed=confirmed,
    )


def renewed(pass_: Pass, *, rules: Rules, now_s: float) -> Pass:
    """The pass after one more use: it slides, and still ends where it always did."""
    return Pass(
        room=pass_.room,
        visitor=pass_.visitor,
        arrival_us=pass_.arrival_us,
        issued_at_s=now_s,
        expires_at_s=min(now_s + rules.pass_life_s, pass_.ends_at_s),
        ends_at_s=pass_.ends_at_s,
        confirmed=True,
    )


def conclude(
    visitor: VisitorId, standing: Standing, held: Token | None, *, rules: Rules, now_s: float
) -> Token | None:
    """The token the visitor goes on with after the store's answer; None: start anew.

    `held` is the token they came with. A pass that is claimed again (by a second tab, or late)
    keeps its end: asking twice never makes a session longer than `session_absolute_timeout`.
    """
    match standing:
        case VoidToken():
            return None
        case QueuePosition(arrival_us=arrival_us):
            if isinstance(held, Ticket) and held.arrival_us == arrival_us:
                # Whoever brings that of their arrival has kept it, and is told so by another.
                renewal_s = FIRST_TICKET_S if held.is_first else rules.ticket_renewal_s
                if now_s - held.issued_at_s < renewal_s:
                    return held
            return ticket_of(visitor, arrival_us=arrival_us, rules=rules, now_s=now_s)
        case SlotGrant(arrival_us=arrival_us, confirmed=confirmed):
            if isinstance(held, Pass):
                return renewed(held, rules=rules, now_s=now_s)
            return pass_of(
                visitor, arrival_us=arrival_us, confirmed=confirmed, rules=rules, now_s=now_s
            )
        case _:
            assert_never(standing)
