"""Decides what happens to a request. No I/O and no clock: callers pass `now_s`, seconds of the
store's clock.

Rules. `decide` returns one of a closed set of values. The caller makes the store call that the
value asks for, and `conclude` (`policy.next_token`) turns the store's reply into the visitor's next
token. An unreachable store is a field of `RoomView`, not an exception. Every unknown case is
denied.

    token         store        decision
    pass          any          Forward, unless revoked
    expired pass  up           Poll (is the slot still held?)
    expired pass  unreachable  open room: Forward, renewed; `store_failure_mode = "open"`:
                               EnterByShare with it; else WaitWithoutPlace, since only the store
                               knows of the slot. After its absolute end: as none
    unsolved      any          WaitForChallenge (a ticket of `policy.challenge`)
    ticket        up           Poll (the confirmation, the heartbeat, and the claim once released)
    ticket        unreachable  open room, or released by the last watermark: EnterWithoutStore;
                               else WaitWithoutStore. One that says that its visitor came back to a
                               released turn, and waits for the next admission: if it was released
                               again
    ticket of a sale before one that keeps the room closed until then: as none
    none          any          WaitWithoutPlace before an event that keeps the room closed, where
                               the line is full, and without an invitation in a room that asks for
                               one
    none          up           Arrive
    none          unreachable  `store_failure_mode`: StampWithoutStore or EnterByShare; a challenge
                               is asked for in the first mode alone

A request that creates no place (`creates_place`) and carries no token:

    room          store        decision
    open          up           TakeAdmission
    open          unreachable  ForwardOnce
    a challenge   any          WaitWithoutPlace: it could solve none
    has room      up           TakeAdmission
    any other     any          WaitWithoutPlace
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal, assert_never

from gatekeeper.errors import N_
from gatekeeper.policy.challenge import WaitForChallenge, is_unsolved
from gatekeeper.policy.ordering import (
    ARRIVAL_ORDER,
    Ordering,
    is_released,
    turn_of,
)
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId
from gatekeeper.record import record


@record
class RoomView:
    """The room as this replica knows it: an input of the decision."""

    phase: Phase
    watermark_us: int
    revoked: Container[VisitorId]
    store_up: bool
    # When a store that lost everything was created; it knows no older pass.
    store_created_s: float = 0.0
    ordering: Ordering = ARRIVAL_ORDER
    # Whether a newcomer may go straight through. It changes often, and does not affect decisions on
    # tokens.
    has_room: bool = field(default=False, compare=False)
    queue_length: int = field(default=0, compare=False)  # in line, as last known
    knows_clock: bool = True  # the store's clock, from the store or another replica
    places_from_us: int = 0  # places of earlier arrivals are void: the room was closed since
    # Visitors up to this turn, who returned to it before `again_at` releases, were released again.
    again_through_us: int = 0
    again_at: int = 0


@dataclass(frozen=True, slots=True)
class Forward:
    """Forward the request. `renew`: renew the pass with it, or with a later one if it
    `may_wait`."""

    pass_: Pass
    renew: bool
    may_wait: bool = False


@dataclass(frozen=True, slots=True)
class Arrive:
    """A newcomer: ask the store for a slot or a place."""


@record
class Poll:
    """Poll the store for this visitor: confirmation, heartbeat, return, or claim."""

    visitor: VisitorId
    turn_us: int


@dataclass(frozen=True, slots=True)
class EnterWithoutStore:
    """Released, or the room is open: issue a pass without a store call."""

    ticket: Ticket | None


@dataclass(frozen=True, slots=True)
class EnterByShare:
    """Admit a newcomer if this replica's own share of the rate allows it, else stamp them. The
    holder of an expired pass continues with it, or waits."""

    expired: Pass | None = None


@dataclass(frozen=True, slots=True)
class StampWithoutStore:
    """Stamp a newcomer with the estimated clock of the store; they are queued later."""


@dataclass(frozen=True, slots=True)
class WaitWithoutStore:
    """The ticket keeps the place; the position is unknown until the store recovers."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class TakeAdmission:
    """Take one admission from the store, and forward this request only, without a token."""


@dataclass(frozen=True, slots=True)
class ForwardOnce:
    """Forward this request only, without a token and without a store call."""


# Reasons for which visitors are denied and must not wait.
DeniedReason = Literal[
    "invitation",  # the room is by invitation only
    "invitation_invalid",
    "invitation_expired",
    "invitation_early",
    "invitation_elsewhere",
    "invitation_used",
    "other_device",
]
WaitingReason = Literal["busy", "before", "queue_full", "address_limit"]
UnknownReason = Literal["reconnecting"]  # only the store knows the slot, or the time
NoPlaceReason = WaitingReason | UnknownReason | DeniedReason


@dataclass(frozen=True, slots=True)
class WaitWithoutPlace:
    """No place, no token, and no store call. `busy`: there is no room for a request that creates no
    place; `before`: the room is closed until an event; `queue_full`: the line is full;
    `address_limit`: too many newcomers from this address; the next one gets a place in `free_in_s`;
    `reconnecting`: the request carries a pass of which only the store knows, or comes before this
    replica has received a state of the room."""

    reason: NoPlaceReason = "busy"
    free_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refuse:
    """An unknown case, which is denied."""

    reason: str


Decision = (
    Forward
    | Arrive
    | Poll
    | EnterWithoutStore
    | EnterByShare
    | StampWithoutStore
    | WaitWithoutStore
    | WaitForChallenge
    | TakeAdmission
    | ForwardOnce
    | WaitWithoutPlace
    | Refuse
)


def decide(
    token: Token | None,
    view: RoomView,
    *,
    rules: Rules,
    now_s: float,
    creates_place: bool = True,
    is_invited: bool = False,
) -> Decision:
    """What to do with a request that carries `token`, as `Tokens.read` returned it.

    `creates_place`: whether the request may make its client a visitor; only relevant without a
    token. `is_invited`: whether it carries an invitation.
    """
    if token is not None and token.visitor in view.revoked:
        token = None
    if isinstance(token, Ticket):  # first: every poll
        if token.arrival_us >= view.places_from_us:
            return _decide_ticket(token, view, rules=rules, now_s=now_s)
        token = None
    elif token is not None and now_s >= token.ends_at_s and not view.store_up:
        token = None
    match token:
        case Pass():
            return _decide_pass(token, view, rules=rules, now_s=now_s)
        case None if rules.access == "invited" and not is_invited:
            return WaitWithoutPlace("invitation")
        case None if creates_place:
            return _decide_newcomer(view, rules=rules)
        case None:
            return _decide_one_request(view, rules=rules)
        case _:
            assert_never(token)


def is_forwarded_unchanged(pass_: Pass, view: RoomView, *, rules: Rules, now_s: float) -> bool:
    """Whether `decide` returns `Forward` without renewal. Called for every admitted request."""
    return (
        pass_.confirmed
        and now_s < pass_.expires_at_s
        and now_s - pass_.issued_at_s < rules.pass_renewal_s
        and pass_.issued_at_s >= view.store_created_s
        and pass_.visitor not in view.revoked
    )


def _decide_pass(pass_: Pass, view: RoomView, *, rules: Rules, now_s: float) -> Decision:
    if now_s >= pass_.ends_at_s:
        return Refuse(N_("The session has ended."))
    if now_s >= pass_.expires_at_s and not view.store_up:
        return _decide_expired_without_store(pass_, view, rules=rules)
    if now_s >= pass_.expires_at_s:
        return Poll(pass_.visitor, turn_of(pass_, view.ordering))
    age_s = now_s - pass_.issued_at_s
    if not pass_.confirmed:
        return Forward(pass_, renew=True)
    is_unknown = pass_.issued_at_s < view.store_created_s
    renew = is_unknown or age_s >= rules.pass_renewal_s
    return Forward(pass_, renew, may_wait=renew and age_s < rules.pass_renewal_deadline_s)


def _decide_expired_without_store(pass_: Pass, view: RoomView, *, rules: Rules) -> Decision:
    if view.phase is Phase.OPEN:
        return Forward(pass_, renew=True)
    if view.phase is Phase.RUNNING and rules.store_failure_mode == "open":
        return EnterByShare(pass_)
    return WaitWithoutPlace("reconnecting")


def _decide_ticket(ticket: Ticket, view: RoomView, *, rules: Rules, now_s: float) -> Decision:
    is_open = view.phase is Phase.OPEN
    if not ticket.confirmed and not is_open and is_unsolved(ticket, rules=rules, now_s=now_s):
        return WaitForChallenge(ticket)
    turn_us = turn_of(ticket, view.ordering)
    if view.store_up:
        return Poll(ticket.visitor, turn_us)
    is_known = ticket.confirmed or not ticket.lane  # else the store never had the turn in line
    released_us = view.watermark_us
    if ticket.returned_at is not None:
        released_us = view.again_through_us if ticket.returned_at < view.again_at else 0
    if is_open or (is_known and is_released(turn_us, released_us)):
        if now_s < session_end_without_store_s(ticket, rules=rules):
            return EnterWithoutStore(ticket)
        if is_open:
            return EnterWithoutStore(None)
    return WaitWithoutStore(ticket)


def takes_from_newcomers(decision: Decision) -> bool:
    """Whether the decision makes a newcomer, or takes the admission of one."""
    match decision:
        case Arrive() | StampWithoutStore() | TakeAdmission():
            return True
        case EnterByShare(expired=None) | EnterWithoutStore(ticket=None):
            return True
        case _:
            return False


def session_end_without_store_s(ticket: Ticket, *, rules: Rules) -> float:
    """The absolute end of a session that this ticket begins while the store is unreachable.

    A ticket is issued while its visitor waits, so before the first claim: a session counted from
    there ends no later than one that this ticket may already have begun, and two claims end at the
    same instant.
    """
    return ticket.issued_at_s + rules.session_absolute_timeout_s


def _decide_one_request(view: RoomView, *, rules: Rules) -> Decision:
    if rules.challenge != "off" and view.phase is not Phase.OPEN:
        return WaitWithoutPlace()
    if view.store_up:
        return TakeAdmission() if view.has_room else WaitWithoutPlace()
    return ForwardOnce() if view.phase is Phase.OPEN else WaitWithoutPlace()


def _decide_newcomer(view: RoomView, *, rules: Rules) -> Decision:
    if view.phase is Phase.BEFORE:
        return WaitWithoutPlace("before")
    if 0 < rules.queue_limit <= view.queue_length and view.phase is not Phase.OPEN:
        return WaitWithoutPlace("queue_full")
    if view.store_up:
        return Arrive()
    if not view.knows_clock:  # a stamp by another clock could be before the line, or before a draw
        return WaitWithoutPlace("reconnecting")
    if view.phase is Phase.OPEN:
        return EnterWithoutStore(None)
    if rules.challenge != "off" and rules.store_failure_mode == "closed":
        return StampWithoutStore()
    match view.phase:
        case Phase.PREQUEUE | Phase.DRAW | Phase.HELD | Phase.ENDED:
            return StampWithoutStore()
        case Phase.RUNNING:
            return EnterByShare() if rules.store_failure_mode == "open" else StampWithoutStore()
        case _:
            assert_never(view.phase)


# The store's reply about one visitor. A newcomer's turn is their arrival.


@record
class QueuePosition:
    """In the queue at `turn_us` with `ahead` visitors before them. `confirmed` is false for a
    newcomer: the store queues them when they return the ticket. `is_moved`: the store has moved
    them from the token's turn to this one. `arrival_us`: of a newcomer whose turn differs from it.
    `returned_at`: the total of releases when they returned to a passed turn; they wait for the next
    admission."""

    turn_us: int
    ahead: int
    confirmed: bool = True
    is_moved: bool = False
    arrival_us: int | None = None
    returned_at: int | None = None


@dataclass(frozen=True, slots=True)
class SlotGrant:
    """Holds a slot; `confirmed` when they have returned a token. `ends_at_us`: the end of their
    session; None: the session begins now."""

    turn_us: int
    confirmed: bool
    ends_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class LineFull:
    """A newcomer who gets no place: `queue_limit` visitors are in line."""


@dataclass(frozen=True, slots=True)
class VoidToken:
    """Left, was revoked, or spent the ticket: the token is no longer valid."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another device of the same visitor holds the place; this ticket is void."""


@dataclass(frozen=True, slots=True)
class UsedInvitation:
    """The invitation was used for an earlier session, or its visitor was revoked."""


Standing = QueuePosition | SlotGrant | VoidToken | Elsewhere
