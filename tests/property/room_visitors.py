"""The visitors of a room's state machine: they arrive, poll, claim, leave and return."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from gatekeeper.policy.decision import Arrive, Forward, Poll, RoomView, SlotGrant, VoidToken, decide
from gatekeeper.policy.lanes import Lane
from gatekeeper.policy.next_token import in_lane, renewed, ticket_of
from gatekeeper.policy.ordering import ARRIVAL_ORDER, PROVISIONAL_US, turn_of
from gatekeeper.policy.phase import phase_of
from gatekeeper.policy.tokens import Ticket, VisitorId
from gatekeeper.room.visitor_calls import ArrivalRequest, PollRequest, poll_of
from tests.property.room_account import Visitor
from tests.property.room_calls import LANES, REPLICAS, RoomCalls
from tests.property.room_ledger import ActiveState, Revocation, UnconfirmedSlot, WaitingState

TURNS = st.sampled_from(["first", "tied", "tied", "tied last", "last"])
INDEXES = st.integers(0, 10_000)  # picks one of the existing visitors


class VisitorRules(RoomCalls):
    @rule(at=REPLICAS, count=st.integers(1, 6), confirm=st.booleans())
    def newcomers(self, at: int, count: int, *, confirm: bool) -> None:
        """Some return their tickets at once, like the page, and some later or never."""
        names = [VisitorId(f"v{self.arrived + number:04}") for number in range(count)]
        self.arrived += count
        replies = self.call("arrive", at, names)
        arrivals = [reply.turn_us for reply in replies]
        assert arrivals == sorted(set(arrivals))
        for name, reply in zip(names, replies, strict=True):
            self.visitors.append(Visitor(name, None))
            self.keep_token(self.visitors[-1], reply, None)
        for visitor in self.visitors[-count:] if confirm else []:
            if isinstance(visitor.token, Ticket):
                self.request(at, visitor)

    @rule(at=REPLICAS, count=st.integers(1, 20), singles=st.integers(0, 5))
    def clients_without_cookies(self, at: int, count: int, singles: int) -> None:
        """They never return a token. Requests that create no place are mixed in."""
        names: list[VisitorId | None] = [VisitorId(f"x{self.arrived + n:04}") for n in range(count)]
        self.arrived += count
        waiting = len(self.model.line())
        self.call("arrive", at, [None] * (singles // 2) + names + [None] * (singles - singles // 2))
        assert len(self.model.line()) == waiting

    @precondition(lambda self: self.promised.lanes)
    @rule(
        at=REPLICAS,
        lanes=st.lists(st.sampled_from(LANES), min_size=1, max_size=4),
        may_enter=st.booleans(),
        confirm=st.booleans(),
    )
    def visitors_of_lanes(
        self, at: int, lanes: list[Lane], *, may_enter: bool, confirm: bool
    ) -> None:
        """Newcomers with a head start. None gets a turn at or before a released one."""
        requests = [
            ArrivalRequest(VisitorId(f"v{self.arrived + n:04}"), lane.head_start_us, may_enter)
            for n, lane in enumerate(lanes)
        ]
        self.arrived += len(requests)
        replies = self.call("arrive", at, requests)
        for request, lane, reply in zip(requests, lanes, replies, strict=True):
            visitor = Visitor(request.visitor, None)
            self.visitors.append(visitor)
            self.keep_token(visitor, reply, None)
            assert may_enter or isinstance(visitor.token, Ticket), "entered unconfirmed"
            if isinstance(visitor.token, Ticket):
                assert reply.turn_us > self.model.watermark_us
                visitor.token = visitor.ticket = in_lane(visitor.token, lane.name)
                if confirm:
                    self.request(at, visitor)

    @rule(at=REPLICAS, turns=st.lists(TURNS, min_size=1, max_size=6))
    def visitors_come_with_turns(self, at: int, turns: list[str]) -> None:
        """Turns in another order than arrivals: equal, before all waiting visitors, or after
        all."""
        self.replica(at)
        for turn in turns:
            name = VisitorId(f"v{self.arrived:04}")
            self.arrived += 1
            waiting = [us % PROVISIONAL_US for us, _ in self.model.line()]
            waiting = sorted(waiting) or [self.model.last_us + 1]
            turn_us = {
                "first": max(waiting[0] - 1, 0),
                "tied": waiting[0],
                "tied last": waiting[-1],
                "last": waiting[-1] + 1,
            }[turn]
            ticket = ticket_of(
                name,
                arrival_us=self.model.now_us,
                turn_us=turn_us,
                rules=self.promised,
                now_s=self.now_s,
            )
            self.visitors.append(Visitor(name, ticket, ticket))
            self.request(at, self.visitors[-1])
            if isinstance(held := self.visitors[-1].token, Ticket):
                assert turn_of(held, self.model.order()) % PROVISIONAL_US == turn_us

    @rule(at=REPLICAS, count=st.integers(1, 4), ran=st.sampled_from(["before", "after", "never"]))
    def the_reply_to_newcomers_is_lost(self, at: int, count: int, ran: str) -> None:
        """The replica stamps them, they return the ticket and the replica polls for them; it does
        not know whether the call has run."""
        names = [VisitorId(f"v{self.arrived + number:04}") for number in range(count)]
        self.arrived += count
        self.replica(at)
        came_us = max(self.model.now_us, self.watermarks[at] + 1)
        tickets = [
            ticket_of(name, arrival_us=came_us + number, rules=self.promised, now_s=self.now_s)
            for number, name in enumerate(names)
        ]
        if ran == "before":
            self.call("arrive", at, names)
        order = self.model.order()
        turns_us = [turn_of(ticket, order) % PROVISIONAL_US for ticket in tickets]
        add_stamped = [
            PollRequest(ticket.visitor, turn_us, has_pass=False, by_proxy=True)
            for ticket, turn_us in zip(tickets, turns_us, strict=True)
        ]
        self.call("poll", at, add_stamped)
        if ran == "after":
            self.call("arrive", at, names)
        for ticket, asked_us in zip(tickets, turns_us, strict=True):
            match self.model.visitor_states[ticket.visitor]:
                case WaitingState(turn_us=turn_us):
                    assert turn_us % PROVISIONAL_US == asked_us, "two places"
                case visitor_state:
                    assert isinstance(visitor_state, ActiveState | UnconfirmedSlot)
            self.visitors.append(Visitor(ticket.visitor, ticket, ticket))

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS, picked=st.lists(INDEXES, min_size=1, max_size=8))
    def visitors_poll(self, at: int, picked: list[int]) -> None:
        """Requests of visitors, as the gate handles them."""
        for visitor in self.some(picked):
            self.request(at, visitor)

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS)
    def every_visitor_polls(self, at: int) -> None:
        for visitor in self.visitors:
            self.request(at, visitor)

    def request(self, at: int, visitor: Visitor) -> None:
        token = visitor.token
        if token is None or token.read_until_s <= self.now_s:
            return
        self.replica(at)
        view = RoomView(
            phase_of(self.model.mode),
            self.model.watermark_us,
            frozenset(),
            store_up=True,
            ordering=self.model.order(),
        )
        match decide(token, view, rules=self.promised, now_s=self.now_s):
            case Forward(pass_=pass_, renew=True):
                visitor.token = renewed(pass_, rules=self.promised, now_s=self.now_s)
                until_us = round(visitor.token.expires_at_s * 1_000_000)
                ends_us = round(visitor.token.ends_at_s * 1_000_000)
                self.call("touch", at, [(visitor.name, until_us, ends_us)])
                visitor.is_counted = True
            case Forward():
                pass
            case Poll(visitor=name, turn_us=turn_us):
                assert name == token.visitor
                [standing] = self.call("poll", at, [poll_of(token, turn_us)])
                if isinstance(standing, VoidToken):
                    assert visitor.ever_left or visitor.has_claimed, "lost"
                if visitor.has_left:
                    assert standing == VoidToken()
                self.keep_token(visitor, standing, token)
            case decision:
                assert isinstance(decision, Arrive), decision

    @precondition(lambda self: self.visitors)
    @rule(
        at=REPLICAS,
        picked=st.lists(st.tuples(INDEXES, st.booleans()), min_size=2, max_size=12),
        is_late=st.booleans(),
    )
    def several_visitors_poll_in_one_turn(
        self, at: int, picked: list[tuple[int, bool]], *, is_late: bool
    ) -> None:
        """Waiting visitors in one call; some of them twice, or connected as well. `is_late`: their
        replica has not received the event of the running prequeue yet."""
        self.replica(at)
        is_gathering = self.model.is_gathering(self.model.now_us)
        order = ARRIVAL_ORDER if is_late and is_gathering else self.model.order()
        poll_request: list[tuple[Visitor, Ticket, PollRequest]] = []
        for each, connected in picked:
            visitor = self.visitors[each % len(self.visitors)]
            ticket = visitor.token
            if isinstance(ticket, Ticket) and ticket.expires_at_s > self.now_s:
                one = poll_of(ticket, turn_of(ticket, order), connected=connected)
                poll_request.append((visitor, ticket, one))
        if not poll_request:
            return
        standings = self.call("poll", at, [one for _, _, one in poll_request])
        for (visitor, ticket, one), standing in zip(poll_request, standings, strict=True):
            if isinstance(standing, VoidToken):
                assert visitor.ever_left or visitor.has_claimed, "lost"
            if not one.connected:
                self.keep_token(visitor, standing, ticket)

    @precondition(lambda self: any(each.ticket for each in self.visitors))
    @rule(at=REPLICAS, picked=INDEXES)
    def old_ticket_is_presented_again(self, at: int, picked: int) -> None:
        visitors = [each for each in self.visitors if each.ticket and each.has_claimed]
        if not visitors:
            return
        visitor = visitors[picked % len(visitors)]
        ticket = visitor.ticket
        assert ticket is not None
        if ticket.expires_at_s <= self.now_s:
            return
        poll_request = poll_of(ticket, turn_of(ticket, self.model.order()))
        [standing] = self.call("poll", at, [poll_request])
        if visitor.is_over or visitor.has_left:
            assert standing == VoidToken(), "accepted twice"
        if isinstance(standing, SlotGrant):
            self.keep_token(visitor, standing, ticket)

    @precondition(lambda self: self.visitors)
    @rule(at=REPLICAS, picked=st.lists(INDEXES, min_size=1, max_size=3))
    def leave(self, at: int, picked: list[int]) -> None:
        leaving = self.some(picked)
        for with_tickets in (True, False):
            some = [each for each in leaving if isinstance(each.token, Ticket) is with_tickets]
            if some:
                self.call("leave", at, ([each.name for each in some], with_tickets))
            for visitor in some:
                visitor.has_left = visitor.ever_left = True
                visitor.is_revoked = isinstance(self.model.visitor_states[visitor.name], Revocation)

    def some(self, picked: list[int]) -> list[Visitor]:
        return list(
            {
                at: self.visitors[at] for at in (each % len(self.visitors) for each in picked)
            }.values()
        )
