"""Admission to one room on one replica: from a request's token to the outcome for its visitor.

Rules. `decide` chooses what to do, this module calls the store where the decision requires it, and
`conclude` chooses the visitor's next token. When the store does not reply in time, the same request
is decided again with that fact. A newcomer keeps their visitor id then: the store may have received
the call and only its reply be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from typing import NamedTuple, assert_never

from gatekeeper import metrics
from gatekeeper.config.schema import RoomConfig
from gatekeeper.errors import N_
from gatekeeper.policy.challenge import WaitForChallenge, is_unsolved
from gatekeeper.policy.decision import (
    Arrive,
    Decision,
    Elsewhere,
    EnterByShare,
    EnterWithoutStore,
    Forward,
    ForwardOnce,
    LineFull,
    Poll,
    QueuePosition,
    Refuse,
    SlotGrant,
    StampWithoutStore,
    Standing,
    TakeAdmission,
    VoidToken,
    WaitWithoutPlace,
    WaitWithoutStore,
    decide,
    is_forwarded_unchanged,
    session_end_without_store_s,
    takes_from_newcomers,
)
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.next_token import conclude, kept_without_store, pass_of, renewed, ticket_of
from gatekeeper.policy.ordering import turn_of
from gatekeeper.policy.phase import Phase
from gatekeeper.policy.tokens import Pass, Ticket, Token, VisitorId, new_visitor_id
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.visitor_calls import ArrivalRequest, poll_of
from gatekeeper.web.address_limit import AddressBuckets, NewcomerLimit
from gatekeeper.web.last_times import LastTimes
from gatekeeper.web.outcome import Admit, Deny, Newcomers, Outcome, Wait
from gatekeeper.web.session_ends import SessionEnds


class Newcomer(NamedTuple):
    """A visitor without a token, and when they arrived, seconds of the store's clock."""

    visitor: VisitorId
    arrived_s: float


_VOID = Deny(N_("This place is no longer valid."))
_ONCE = Admit(None, changed=False)


class Admission:
    """Admission to one room under one configuration. `on_left`: a visitor has left here."""

    def __init__(self, room: RoomReplica, config: RoomConfig) -> None:
        self.room = room
        self.config = config
        self._issued = LastTimes[tuple[VisitorId, bool]]()  # passes, by header or in cookies
        self._touched = LastTimes[VisitorId]()
        self.rules = room.rules  # the current ones: a request keeps them to its end
        self._given_up = LastTimes[VisitorId]()
        self._session_ends = SessionEnds()
        room.on_revoked = self._session_ends.end
        self.address_buckets = AddressBuckets()
        self.newcomer_limit: NewcomerLimit | None = None  # `newcomers_per_address`, if it is set
        self.on_left: Callable[[VisitorId], None] = lambda _visitor: None

    def under(self, config: RoomConfig) -> Admission:
        """The same room under another configuration; the data about visitors is shared."""
        other = copy(self)
        other.config, other.rules = config, self.room.rules
        return other

    def forwards_unchanged(self, pass_: Pass, by_header: bool) -> bool:
        """Whether `admit` would forward this pass without a new token and without a store call."""
        view, rules = self.room.view, self.rules
        if is_forwarded_unchanged(pass_, view.decisive, rules=rules, now_s=view.now_s()):
            return True
        newest = self._newest(pass_, by_header=by_header)
        return newest is not pass_ and is_forwarded_unchanged(
            newest, view.decisive, rules=rules, now_s=view.now_s()
        )

    def forward(self, pass_: Pass, *, by_header: bool) -> Admit | None:
        """What `admit` returns for this pass, if it needs no store call."""
        view, rules = self.room.view.decisive, self.rules
        held = self._newest(pass_, by_header=by_header)
        decision = decide(held, view, rules=rules, now_s=self.now_s())
        return self._forward(decision) if isinstance(decision, Forward) else None

    def note_issued(self, token: Token, *, by_header: bool) -> None:
        """A response hands `token` to its visitor."""
        if isinstance(token, Pass) and token.confirmed:
            self._issued.note((token.visitor, by_header), token.issued_at_s)

    def _newest(self, pass_: Pass, *, by_header: bool) -> Pass:
        """The newest pass that this replica has issued to the visitor, in a header or in cookies. A
        client that keeps an older one is the same visitor, and is renewed no more often."""
        issued_at_s = self._issued.of((pass_.visitor, by_header))
        if issued_at_s <= pass_.issued_at_s:
            return pass_
        return renewed(pass_, rules=self.rules, now_s=issued_at_s)

    def now_s(self) -> float:
        """The store's clock, seconds since the epoch."""
        return self.room.view.now_s()

    async def admit(
        self,
        held: Token | None,
        by_header: bool = False,
        *,
        newcomers: Newcomers = "queued",
        facts: RequestFacts | None = None,
    ) -> Outcome:
        """The outcome for a request with the token `held`, in a cookie or `by_header`. `newcomers`:
        without a valid token. `facts`: if its client may become a newcomer."""
        if isinstance(held, Pass):
            held = self._newest(held, by_header=by_header)
        view, creates_place = self.room.view, newcomers != "once"
        now_s, rules = view.now_s(), self.rules
        decision = decide(
            held, view.decisive, rules=rules, now_s=now_s, creates_place=creates_place
        )
        if isinstance(decision, Poll):
            assert held is not None
            standing = await self.room.poll(poll_of(held, decision.turn_us))
            if isinstance(standing, Elsewhere):
                return WaitWithoutPlace("other_device")
            if standing is None:
                decision = self._decide(held, newcomers, has_no_reply=True)
            else:
                outcome = self._apply(decision.visitor, standing, held)
                if outcome is not None:
                    return outcome
                decision = self._decide(None, newcomers)
        if takes_from_newcomers(decision):
            if newcomers == "denied":
                return _VOID
            left_s = self._address_wait_s(facts)
            if left_s > 0:
                return WaitWithoutPlace("address_limit", left_s)
        match decision:
            case Arrive():
                return await self._arrive()
            case TakeAdmission():
                return await self._take_admission()
            case _:
                return self._without_store(decision)

    def _decide(
        self, held: Token | None, newcomers: Newcomers = "queued", *, has_no_reply: bool = False
    ) -> Decision:
        """The decision. `has_no_reply`: the store did not reply to this request."""
        view = self.room.view
        decisive = replace(view.decisive, store_up=False) if has_no_reply else view.decisive
        return decide(
            held,
            decisive,
            rules=self.rules,
            now_s=view.now_s(),
            creates_place=newcomers != "once",
        )

    def _address_wait_s(self, facts: RequestFacts | None) -> float:
        """0, or the seconds until a newcomer of this address gets a place."""
        limit = self.newcomer_limit
        if limit is None or facts is None or self.room.view.decisive.phase is Phase.OPEN:
            return 0.0
        return limit.wait_s(facts)

    async def _take_admission(self) -> Outcome:
        """Take one admission, without a slot, a visitor or a place."""
        taken = await self.room.take_admission()
        if taken is None:
            return self._without_store(self._decide(None, "once", has_no_reply=True))
        return _ONCE if taken else WaitWithoutPlace()

    async def attend(self, ticket: Ticket) -> Standing | None:
        """The heartbeat of a visitor who is connected to a stream; None: the place is unknown now.

        A released visitor is `SlotGrant` and has claimed nothing: their next request does.
        """
        room = self.room
        match decide(ticket, room.view.decisive, rules=self.rules, now_s=self.now_s()):
            case Poll(turn_us=turn_us):
                return await room.poll(poll_of(ticket, turn_us, connected=True))
            case EnterWithoutStore():
                return SlotGrant(self._turn_us(ticket), confirmed=True)
            case WaitWithoutStore():
                room.place_soon(poll_of(ticket, self._turn_us(ticket)))
                return None
            case WaitForChallenge():
                return None
            case _:  # revoked
                return VoidToken()

    def is_unsolved(self, ticket: Ticket) -> bool:
        """Whether the holder has not solved the room's challenge yet."""
        return is_unsolved(ticket, rules=self.rules, now_s=self.now_s())

    async def leave(self, held: Token) -> bool:
        """Give back the place or the slot; an unsolved ticket has neither. False: it was kept."""
        if isinstance(held, Ticket):
            if self.is_unsolved(held):
                return True
            has_left = await self.room.leave_line([held.visitor], [held.device])
        else:
            has_left = await self.room.leave([held.visitor], by_visitor=True)
        if has_left:
            self.on_left(held.visitor)
        return has_left

    def give_up(self, tickets: Iterable[Ticket]) -> None:
        """The visitor keeps another ticket: these give back their places, in the background."""
        given_up = [  # a browser may send them repeatedly
            each
            for each in tickets
            if not self._given_up.of(each.visitor) and not self.is_unsolved(each)
        ]
        if not given_up:
            return
        self.room.leave_line_soon(given_up)
        for each in given_up:
            self._given_up.note(each.visitor, self.now_s())
            self.on_left(each.visitor)

    async def _arrive(self) -> Outcome:
        newcomer = self._newcomer()
        # An open room admits all newcomers, also without a solved challenge.
        is_open = self.room.view.decisive.phase is Phase.OPEN
        may_enter = is_open or self.rules.challenge == "off"
        request = ArrivalRequest(newcomer.visitor, may_enter=may_enter)
        standing = await self.room.arrive(request)
        if standing is None:
            return self._without_store(self._decide(None, has_no_reply=True), newcomer)
        if isinstance(standing, LineFull):
            return WaitWithoutPlace("queue_full")
        return self._apply(newcomer.visitor, standing, None) or _VOID

    def _newcomer(self) -> Newcomer:
        return Newcomer(new_visitor_id(), self.now_s())

    def _apply(
        self, visitor: VisitorId, standing: Standing, held: Token | None
    ) -> Admit | Wait | None:
        """The outcome for a visitor by the store's reply; None: their token is void."""
        now_s = self.room.view.now_s()
        token = conclude(visitor, standing, held, rules=self.rules, now_s=now_s)
        match token:
            case Ticket():  # first: nearly every poll
                position = standing if isinstance(standing, QueuePosition) else None
                if not token.confirmed and self.is_unsolved(token):
                    position = None  # the challenge has to be solved first
                is_new = position is not None and not position.confirmed
                return Wait(token, position, token is not held, is_new)
            case Pass():
                if not isinstance(held, Pass):
                    self._count_wait(token, lane="" if held is None else held.lane)
                return Admit(token, changed=token is not held)
            case None:
                return None
            case _:
                assert_never(token)

    def _count_wait(self, pass_: Pass, *, lane: str) -> None:
        waited_s = max(self.now_s() - pass_.arrival_us / 1_000_000, 0.0)
        metrics.waits.observe(waited_s, self.config.name)
        if lane:
            metrics.lane_waits.observe(waited_s, self.config.name, lane)

    def _turn_us(self, ticket: Ticket) -> int:
        return turn_of(ticket, self.room.view.decisive.ordering)

    def _without_store(self, decision: Decision, newcomer: Newcomer | None = None) -> Outcome:
        """The outcome of a decision that needs no store. `newcomer`: a visitor for whom the store
        was called without a reply, so that it may have stored them."""
        rules, now_s = self.rules, self.now_s()
        match decision:
            case Forward():
                return self._forward(decision)
            case EnterWithoutStore(ticket=ticket):
                if ticket is None:
                    return self._admit_without_store(newcomer or self._newcomer())
                return self._claim_without_store(ticket)
            case EnterByShare(expired=Pass() as expired):
                if not self.room.take_share():
                    return WaitWithoutPlace("reconnecting")
                return self._forward(Forward(expired, renew=True))
            case EnterByShare() if self.room.take_share():
                return self._admit_without_store(newcomer or self._newcomer())
            case EnterByShare() | StampWithoutStore():
                return self._stamp(newcomer or self._newcomer())
            case WaitWithoutStore(ticket=ticket):
                turn_us = self._turn_us(ticket)
                self.room.place_soon(poll_of(ticket, turn_us))
                kept = kept_without_store(ticket, rules=rules, now_s=now_s, turn_us=turn_us)
                return Wait(kept, None, changed=kept is not ticket)
            case WaitForChallenge(ticket=ticket):
                return Wait(ticket, None, changed=False)
            case Refuse(reason=reason):
                return Deny(reason)
            case ForwardOnce():
                return _ONCE
            case WaitWithoutPlace():
                return decision
            case Arrive() | Poll() | TakeAdmission():
                return Deny(N_("Something went wrong on our side. Please try again."))
            case _:
                assert_never(decision)

    def _forward(self, decision: Forward) -> Admit:
        if not decision.renew:
            return Admit(decision.pass_, changed=False)
        fresh = renewed(decision.pass_, rules=self.rules, now_s=self.now_s())
        self._touch(fresh)
        return Admit(fresh, changed=True, may_wait=decision.may_wait)

    def confirm_soon(self, pass_: Pass) -> None:
        """Confirm an unconfirmed pass that was returned with a request outside of the room."""
        view, now_s = self.room.view.decisive, self.now_s()
        if now_s < pass_.expires_at_s and pass_.visitor not in view.revoked:
            self._touch(renewed(pass_, rules=self.rules, now_s=now_s))

    def _touch(self, fresh: Pass) -> None:
        """Extend the slot, unless just done: a renewal may wait over many requests."""
        now_s = fresh.issued_at_s
        touched_at_s = self._touched.of(fresh.visitor)
        is_unknown = touched_at_s < self.room.view.decisive.store_created_s
        if is_unknown or now_s - touched_at_s >= self.rules.pass_renewal_s:
            self._touched.note(fresh.visitor, now_s)
            self.room.touch_soon(fresh)

    def _admit_without_store(self, newcomer: Newcomer) -> Outcome:
        """Admit a newcomer without the store: an unconfirmed slot until the pass is used again."""
        fresh = pass_of(
            newcomer.visitor,
            arrival_us=round(newcomer.arrived_s * 1_000_000),
            confirmed=False,
            rules=self.rules,
            now_s=self.now_s(),
        )
        self.room.touch_soon(fresh)
        return Admit(fresh, changed=True)

    def _claim_without_store(self, ticket: Ticket) -> Outcome:
        """Claim a slot without the store, which counts the visitor when it recovers."""
        ends_at_s = session_end_without_store_s(ticket, rules=self.rules)
        ends_at_us = round(ends_at_s * 1_000_000)
        granted = SlotGrant(self._turn_us(ticket), confirmed=True, ends_at_us=ends_at_us)
        outcome = self._apply(ticket.visitor, granted, ticket)
        if isinstance(outcome, Admit) and outcome.pass_ is not None:
            self.room.touch_soon(outcome.pass_)
        return outcome or _VOID

    def _stamp(self, newcomer: Newcomer) -> Wait:
        ticket = ticket_of(
            newcomer.visitor,
            arrival_us=self.room.stamp_arrival(came_s=newcomer.arrived_s),
            rules=self.rules,
            now_s=self.now_s(),
            is_new=True,
        )
        return Wait(ticket, None, changed=True, is_new=not self.is_unsolved(ticket))

    def session_end(self, pass_: Pass) -> asyncio.Future[None]:
        """A future that is done when the session ends: revoked, left, or at its absolute timeout.
        Until it is cancelled, the connection counts as use of the pass of a confirmed visitor."""
        room, rules = self.room, self.rules

        def left_s() -> float:
            is_revoked = pass_.visitor in room.view.decisive.revoked
            return 0.0 if is_revoked else pass_.ends_at_s - self.now_s()

        def keep_slot() -> float:
            is_known = pass_.confirmed or self._touched.of(pass_.visitor) > 0
            # May be confirmed by another request.
            keep = self._touch if is_known else room.keep_soon
            keep(renewed(pass_, rules=rules, now_s=self.now_s()))
            return rules.pass_renewal_s

        return self._session_ends.of(pass_, left_s=left_s, keep_slot=keep_slot)
