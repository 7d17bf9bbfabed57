"""The pipeline: facts, route, admit, exit. Every request on every path takes these four steps.

    FactsReader ──▶ Router.route ──▶ Visit.admit ──▶ an exit
     (web.facts_reader)    (policy.routing)  Admit          forwards
                                      Wait           the waiting page, or its JSON
                          WaitWithoutPlace           the same status, without a token
                                      Deny           an error

Rules. Nothing else decides. `admit` is pure except for the one store call that `decide` asks for;
a request with several tokens costs a few (`token_choice`). An exit matches all four outcomes: the
handler of aiohttp's requests, the fast path, the endpoints. Of waiting responses, only those to
requests that create a place, and to polls, set a token. Requests under `/.gatekeeper/` are for the
gate itself. Those of a room are blocked by the rules that block their client from the site; no
other rule applies.
"""

from __future__ import annotations

import math
import random
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, assert_never

from gatekeeper import metrics
from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import N_
from gatekeeper.pages.event_view import DrawNumber, renewal_s, retry_s
from gatekeeper.pages.waiting_view import reload_seconds
from gatekeeper.policy.decision import DeniedReason, WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.fetch_metadata import creates_place, outlasts_admission
from gatekeeper.policy.next_token import ticket_of
from gatekeeper.policy.routing import (
    Blocked,
    Bypassed,
    InRoom,
    Rejected,
    Route,
    Router,
    Ungated,
    rule_of,
)
from gatekeeper.policy.tokens import Ticket, Token, new_visitor_id
from gatekeeper.record import record
from gatekeeper.room.origin_tally import GroupTally
from gatekeeper.room.replica import RoomReplica
from gatekeeper.web.admission import Admission
from gatekeeper.web.confirmation_elsewhere import Confirmations
from gatekeeper.web.credentials import PresentedToken
from gatekeeper.web.event_status import event_view_of
from gatekeeper.web.message import GateResponse, Headers
from gatekeeper.web.outcome import Admit, Deny, Newcomers, Outcome, Wait
from gatekeeper.web.pass_uses import CountedPass
from gatekeeper.web.responses import Responses, wants_page
from gatekeeper.web.room_gate import RoomGate
from gatekeeper.web.token_choice import admit_one_of
from gatekeeper.web.waiting_status import WaitingStatus, waiting_status_of

BLOCKED = N_("This request is blocked.")
_TOO_MANY = N_(
    "Too many requests came from your visit at the same time. Please try again in a moment."
)
_NO_TOKEN = PresentedToken(None)


@record
class Visit:
    """One request in the pipeline: its facts, its route, and in a room its token."""

    facts: RequestFacts
    route: Route
    gate: RoomGate | None = None
    held: PresentedToken = _NO_TOKEN
    kept_creates_place: bool | None = None  # from the head cache, which keeps no fields

    @property
    def room(self) -> RoomName | None:
        """The room that the request is in."""
        return self.route.room if isinstance(self.route, InRoom) else None

    @property
    def config(self) -> RoomConfig | None:
        """The configuration of the room that the request is in."""
        return None if self.gate is None else self.gate.admission.config

    @property
    def admission(self) -> Admission:
        """The room's admission; only for a request in a room."""
        assert self.gate is not None
        return self.gate.admission

    @property
    def creates_place(self) -> bool:
        """Whether this request makes a visitor without a token a newcomer."""
        kept = self.kept_creates_place
        return creates_place(self.facts) if kept is None else kept

    async def admit(self) -> Outcome:
        """The outcome for this request."""
        match self.route:
            case InRoom():
                if outlasts_admission(self.facts):
                    outcome = await self.admit_as("denied")
                    return WaitWithoutPlace() if isinstance(outcome, Deny) else outcome
                return await self.admit_as("queued" if self.creates_place else "once")
            case Bypassed() | Ungated():
                return Admit(None, changed=False)
            case Blocked():
                return Deny(BLOCKED)
            case Rejected(status=status, reason=reason):
                return Deny(reason, status=status)
            case _:
                assert_never(self.route)

    def admit_as(self, newcomers: Newcomers) -> Coroutine[Any, Any, Outcome]:
        """The outcome for the token held; `newcomers`: what the request does without one."""
        assert self.gate is not None
        held, admission = self.held, self.gate.admission
        if held.others or held.ended:
            return admit_one_of(held, admission, newcomers=newcomers, facts=self.facts)
        return admission.admit(held.token, held.by_header, newcomers=newcomers, facts=self.facts)

    def count_rule(self) -> None:
        """Count this request for the rule that decided its route, if any."""
        rule = rule_of(self.route)
        if rule is not None:
            metrics.by_rule.count(rule)

    def counted(self, admit: Admit) -> CountedPass | None:
        """The request counter of this pass; None: the requests are not limited."""
        if self.gate is None or self.gate.uses is None or admit.pass_ is None:
            return None
        return self.gate.uses.counted(admit.pass_.visitor, self.facts.client.address)

    def origin_tally(self, admit: Admit) -> GroupTally | None:
        """The tally for the origin's response to this request, for autotune; None: the request is
        in no room."""
        if self.gate is None or admit.pass_ is None:
            return None
        return self.gate.admission.room.autotune.tally.of(admit.pass_.visitor)

    def waiting_status(self, wait: Wait, *, on_page: bool = False) -> WaitingStatus:
        """The current status of a waiting visitor; `on_page`: for a page, which may be without
        script."""
        status = self._status_of(wait)
        again_s = status.refresh_seconds
        if on_page:
            again_s = reload_seconds(again_s, is_new=wait.is_new)
        self.admission.room.view.note_poll_interval(wait.ticket, wait.position, again_s)
        return status

    def _status_of(self, wait: Wait) -> WaitingStatus:
        assert self.gate is not None
        admission = self.gate.admission
        view, ticket = admission.room.view, wait.ticket
        state, event = view.state, None
        if state is not None and state.events:
            event = event_view_of(state, now_s=view.now_s(), ticket=ticket)
        challenge, challenges = None, self.gate.challenges
        if challenges is not None and not ticket.confirmed and admission.is_unsolved(ticket):
            challenge = challenges.of_ticket(ticket)
        position, about_ahead = view.estimated(ticket, wait.position)
        return waiting_status_of(
            ticket,
            position,
            state,
            rules=admission.rules,
            newcomer=wait.is_new,
            event=event,
            challenge=challenge,
            about_ahead=about_ahead,
        )

    def drawn_number(self) -> DrawNumber | None:
        """The drawn number of the ticket held. The poll that claims it may be the first after the
        draw."""
        view, ticket = self.admission.room.view, self.held.token
        if not isinstance(ticket, Ticket):
            return None
        event = event_view_of(view.state, now_s=view.now_s(), ticket=ticket)
        return None if event is None else event.draw

    def unknown_status(self) -> WaitingStatus:
        """The status without the store of a visitor with an expired pass, whose slot only the store
        knows, or of a newcomer without a place yet. It has the format of a place; no ticket is
        signed."""
        admission, pass_ = self.admission, self.held.pass_
        now_s = admission.now_s()
        place = ticket_of(
            new_visitor_id() if pass_ is None else pass_.visitor,
            arrival_us=round(now_s * 1_000_000) if pass_ is None else pass_.arrival_us,
            rules=admission.rules,
            now_s=now_s,
        )
        return self._status_of(Wait(place, None, changed=False))

    def headers(self, token: Token | None, *, minted: str = "") -> Headers:
        """The headers that give `token` to the visitor; None deletes the held one. `minted`: its
        signed text, if it exists already."""
        assert self.gate is not None
        if token is not None:
            self.gate.admission.note_issued(token, by_header=self.held.by_header)
        return self.gate.credentials.headers(
            token,
            facts=self.facts,
            held=self.held,
            minted=minted,
            now_s=self.gate.admission.now_s(),
        )

    def mint(self, token: Token) -> str:
        """The signed text of `token`."""
        assert self.gate is not None
        return self.gate.credentials.mint(token)


class KnownOutcome(NamedTuple):
    """An outcome that the fast path has computed already, with its visit."""

    visit: Visit
    outcome: Outcome


class Pipeline:
    """The rooms and rules of one listener."""

    def __init__(self, router: Router, gates: Mapping[RoomName, RoomGate]) -> None:
        self.router = router
        self._gates = gates
        self._confirmations = Confirmations(gates.values())

    @property
    def rooms(self) -> Mapping[RoomName, RoomReplica]:
        """The rooms on this replica."""
        return {name: gate.admission.room for name, gate in self._gates.items()}

    def visit(self, facts: RequestFacts) -> Visit:
        """Route a request, and read its token if the route is into a room."""
        route = self.router.route(facts)
        visit = self._in_room(facts, route) if isinstance(route, InRoom) else Visit(facts, route)
        if facts.cookies and (visit.gate is None or len(self._gates) > 1):
            self._confirmations.confirm(facts, but=visit.room)
        return visit

    def visit_again(self, visit: Visit, cookie: str) -> Visit:
        """The visit of the same request with another Cookie, on which its route does not depend. On
        a site with one room, the facts stay those of `visit`."""
        gate = visit.gate
        if gate is None or len(self._gates) > 1:
            return self.visit(replace(visit.facts, cookies=(cookie,)))
        held = gate.read_cookie(cookie, secure=visit.facts.is_secure)
        return Visit(visit.facts, visit.route, gate, held, visit.kept_creates_place)

    def visit_room(self, facts: RequestFacts, name: str | None, *, path: str = "/") -> Visit | None:
        """A visit of the room `name` at an endpoint, or without a name, of the room of `path` on
        this host; None: there is no such room."""
        room = RoomName(name) if name else self.router.room_of(facts.client.host, path)
        if room is None or room not in self._gates:
            return None
        route = self.router.route_of_endpoint(facts, room)
        return self._in_room(facts, route) if isinstance(route, InRoom) else Visit(facts, route)

    def _in_room(self, facts: RequestFacts, route: InRoom) -> Visit:
        gate = self._gates[route.room]
        admission = gate.admission
        held = gate.credentials.read(
            facts,
            now_s=admission.now_s(),
            revoked=admission.room.view.decisive.revoked,
        )
        return Visit(facts, route, gate, held)


def waiting_response(responses: Responses, visit: Visit, wait: Wait) -> GateResponse:
    """The response to a waiting visitor, at any path: the page, or its JSON."""
    config = visit.admission.config
    metrics.own_responses.count(config.name, "waiting")
    visit.count_rule()
    sets_token = wait.changed and visit.creates_place
    minted = visit.mint(wait.ticket) if sets_token else ""
    response = responses.waiting(
        visit.facts,
        visit.waiting_status(wait, on_page=wants_page(visit.facts, config)),
        room=config,
        now_s=visit.admission.now_s(),
        headers=visit.headers(wait.ticket, minted=minted) if sets_token else (),
        is_new=wait.is_new,
        ticket=minted,
    )
    return response.closing(keep_alive=not visit.facts.has_body)  # the body stays unread


def _unknown_response(responses: Responses, visit: Visit) -> GateResponse:
    """The waiting page while the store is unreachable, for a visitor with an expired pass, or a
    newcomer without a place: it sets no token, reloads itself, and continues when the store
    recovers."""
    config = visit.admission.config
    metrics.own_responses.count(config.name, "waiting")
    response = responses.waiting(
        visit.facts,
        visit.unknown_status(),
        room=config,
        now_s=visit.admission.now_s(),
        headers=(),
    )
    return response.closing(keep_alive=not visit.facts.has_body)  # the body stays unread


def response_beyond_concurrent(
    responses: Responses, visit: Visit, counted: CountedPass
) -> GateResponse:
    """The response to a request of a pass that has as many in flight as `concurrent` allows. Only
    the exits that forward know when a request ends, so they call this."""
    counted.turn_away()
    metrics.own_responses.count(visit.admission.config.name, "refused")
    return responses.problem(
        visit.facts,
        _TOO_MANY,
        status=429,
        retry=True,
        close=visit.facts.has_body,
        room=visit.config,
    )


def response_without_place(
    responses: Responses, visit: Visit, wait: WaitWithoutPlace
) -> GateResponse:
    """The response to a request that gets no place: no token is set."""
    admission = visit.admission
    visit.count_rule()
    state = admission.room.view.state
    event = event_view_of(state, now_s=admission.now_s())
    spread_s = admission.rules.longest_poll_interval_s
    share = random.random()  # noqa: S311  no secret
    reason = wait.reason
    match reason:
        case "before":
            left_s = 0.0 if event is None else event.joins_in_s
            spread_s = spread_s if event is None else event.joining_spread_s(spread_s)
            again_s = renewal_s(left_s, spread_s=spread_s, share=share)
        case "queue_full":
            metrics.queue_full.labels(admission.config.name).inc()
            again_s = retry_s(spread_s=spread_s, share=share)
        case "address_limit":  # all visitors of the address retry
            again_s = math.ceil(wait.free_in_s) + retry_s(spread_s=spread_s, share=share)
        case "busy":
            again_s = math.ceil(spread_s)
        case "reconnecting":
            return _unknown_response(responses, visit)
        case _:
            return _denied_response(responses, visit, reason)
    metrics.own_responses.count(admission.config.name, "waiting")
    return responses.without_place(
        visit.facts,
        room=admission.config,
        reason=reason,
        message=state.shown_message if state else "",
        event=event,
        retry_after_s=again_s,
        now_s=admission.now_s(),
    )


def _denied_response(responses: Responses, visit: Visit, reason: DeniedReason) -> GateResponse:
    """The response to a visitor who is denied, and must not wait."""
    config, headers = visit.admission.config, denied_headers(visit, reason)
    return responses.denied(visit.facts, reason, room=config, headers=headers)


def denied_headers(visit: Visit, reason: DeniedReason) -> Headers:
    """The headers for a denied visitor, whom this counts. The ticket of a device that does not hold
    the place is deleted: its next request is that of a newcomer."""
    metrics.requests.labels(visit.admission.config.name, "refused").inc()
    has_ticket = isinstance(visit.held.token, Ticket)
    is_taken_back = reason == "other_device" and has_ticket and visit.creates_place
    return visit.headers(None) if is_taken_back else ()
