"""The exit of the fast path: the gate's decision on plain requests, without a store call.

Rules. No await and no store call. A request goes to the origin only if the whole pipeline
would forward it without a store call: with a pass that counts, renewed by its response where that
is due, or on a route outside of rooms. A GET that the gate itself responds to becomes an exchange.
None for everything else, and for an
address that may hold an invitation: aiohttp parses it, and the pipeline decides in full.

A browser sends the same fields repeatedly and changes the path. So the outcome for a block of
fields is cached for its peer (`known_forwards`), once its visitor was forwarded without a new
token. Its key contains every fact except the request line. No rule or room depends on an *ordinary*
request line, as the start of its target shows. All ordinary lines with a block have one route. For
other lines the route is cached by request line and host if it read nothing else, else by all facts.
Whether the pass still counts is checked for each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from gatekeeper import metrics
from gatekeeper.config.schema import OriginConfig
from gatekeeper.policy.facts import Fact, RequestFacts, no_fields
from gatekeeper.policy.invitation_address import line_may_hold_invitation
from gatekeeper.policy.original_request import is_check
from gatekeeper.policy.routing import Blocked, Bypassed, InRoom, Rejected, Route, Ungated, rule_of
from gatekeeper.policy.tokens import Pass
from gatekeeper.proxy import ForwardContext
from gatekeeper.proxy.client_address import EDGE_PEER, is_trusted
from gatekeeper.proxy.context import OnResponse
from gatekeeper.proxy.fastpath.interface import GateExchange
from gatekeeper.proxy.headers import plain_head
from gatekeeper.proxy.plain_head import METHOD, TARGET, PlainRequest, parse_plain_head
from gatekeeper.proxy.pool import authority_of
from gatekeeper.web.endpoints import PREFIX, Endpoints
from gatekeeper.web.facts_reader import FactsReader, FieldTable
from gatekeeper.web.fastpath.check_cache import CheckCache, KnownCheck
from gatekeeper.web.fastpath.exchanges import (
    respond_check,
    respond_page,
    respond_ready,
    respond_status,
    respond_stream,
)
from gatekeeper.web.fastpath.head_cache import HeadCache, HeadEntry
from gatekeeper.web.fastpath.known_forwards import (
    VARYING_FACTS,
    KnownForward,
    KnownForwards,
    VariedForward,
    passes_of,
)
from gatekeeper.web.message import GateResponse
from gatekeeper.web.outcome import Admit
from gatekeeper.web.pass_uses import CountedPass
from gatekeeper.web.pipeline import Pipeline, Visit, response_beyond_concurrent
from gatekeeper.web.responses import Responses
from gatekeeper.web.stream import Streams

_PREFIX = PREFIX.encode()
_STATUS = b"GET %bstatus" % _PREFIX
_MAX_ROUTES = 8192  # request lines, usually 150 bytes each
_ADMITTED: Final = Admit(None, changed=False)
# Routes that read only these facts are shared by visitors.
_SHARED: Final = Fact.METHOD | Fact.TARGET | Fact.HOST


class FastPathLookup:
    """Decides plain requests of one listener (a `FastPathPolicy`)."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        facts: FactsReader,
        origin: OriginConfig,
        endpoints: Endpoints,
        responses: Responses,
        streams: Streams,
        own_cookies: frozenset[str],
    ) -> None:
        self._pipeline = pipeline
        self._facts = facts
        self._endpoints = endpoints
        self._responses = responses
        self._streams = streams
        self._origin_host = authority_of(origin)
        self._has_origin = not origin.is_none
        self._preserve_host = origin.preserve_host
        self._own_cookies = own_cookies
        self._match_line = _request_lines(except_for=())
        self._match_ordinary_line = _request_lines(except_for=pipeline.router.deciding_prefixes)
        self._known = KnownForwards(own_cookies)
        self._routes: dict[tuple[object, bytes], Route] = {}  # bounded by `_MAX_ROUTES`
        self._one_of: dict[Route, Route] = {}
        self._heads = HeadCache()
        self._checks = CheckCache(pipeline.router)

    def recall(self, data: bytes, peer: str) -> KnownForward | VariedForward | GateExchange | None:
        """A known block ends with the only empty line: with exactly one request line before it,
        `data` is one whole head. So is the known head of a poll."""
        if data.startswith(_STATUS):
            recalled = self._heads.recall(data, trusted=self._is_trusted(peer))
            return None if recalled is None else self._exchange(*recalled)
        line, _, block = data.partition(b"\r\n")
        known, varied = self._known.whole(block), None
        if known is None:
            varied = self._known.varied(block, peer, self._renew)
            if varied is None:
                return None
            known = varied.known
        elif known.peer != peer:
            return None
        if b"?" in line and line_may_hold_invitation(line):
            return None
        if known.is_ordinary and self._match_ordinary_line(line) is not None:
            has_same_route = True
        else:
            has_same_route = self._route_of(line, known, varied=varied) is known.route
        return (varied or known) if has_same_route and known.passes() else None

    def _renew(self, known: KnownForward, cookie: bytes) -> KnownForward | None:
        """The outcome of a known request with another Cookie; None: it has no pass that is
        forwarded unchanged."""
        if known.visit.gate is None:  # outside of rooms there is no pass
            return None
        visit = self._pipeline.visit_again(known.visit, cookie.decode("utf-8", "surrogateescape"))
        token = visit.held.token
        if visit.route != known.route or not isinstance(token, Pass):
            return None
        admit = visit.admission.forward(token, by_header=False)
        if admit is None or admit.changed:
            return None
        counted = visit.counted(admit)
        return replace(
            known,
            visit=visit,
            passes=passes_of(visit, token, counted),
            on_response=_counter(visit, admit),
            admit=admit,
            counted=counted,
        )

    def _route_of(
        self, line: bytes, known: KnownForward, *, varied: VariedForward | None
    ) -> Route | None:
        """The route of the known request with another request line, and with other values if it is
        `varied`; None: the line is malformed, or under the gate's own prefix, or its route depends
        on these values."""
        route = self._routes.get((known.host, line))
        if route is not None:
            return route
        every_fact = (known.peer, known.block)
        if varied is None and (route := self._routes.get((every_fact, line))) is not None:
            return route
        if self._match_line(line) is None:
            return None
        method, target, _ = line.decode("ascii").split(" ")
        fresh = self._pipeline.router.route(known.visit.facts, method=method, target=target)
        if varied is not None and fresh.reads & VARYING_FACTS:
            return None
        route = self._interned(fresh)
        is_shared = not fresh.reads & ~_SHARED
        if is_shared or varied is None:
            if len(self._routes) >= _MAX_ROUTES:
                del self._routes[next(iter(self._routes))]
            self._routes[known.host if is_shared else every_fact, line] = route
        return route

    def _interned(self, route: Route) -> Route:
        """The shared object of equal routes: as many as rules, rooms and errors of a router."""
        return self._one_of.setdefault(route, route)

    def resolve(self, head: bytes, peer: str) -> KnownForward | GateExchange | None:
        """Read the whole head, decide, and keep the outcome if the request is forwarded."""
        if (check := self._checks.recall(head, peer)) is not None:
            return partial(respond_ready, check.response)
        trusted = self._is_trusted(peer)
        if (recalled := self._heads.recall(head, trusted=trusted)) is not None:
            entry, visit = recalled  # of a page: `recall` has found the polls
            if not isinstance(visit.held.token, Pass):
                return self._exchange(entry, visit)
        request = parse_plain_head(head)
        if request is None or line_may_hold_invitation(request.target):
            return None
        facts = self._facts.of_plain_head(head, request, peer)
        if request.target.startswith(_PREFIX):
            return self._endpoint(head, request, facts, peer=peer, trusted=trusted)
        if request.page_ticket is not None or not self._has_origin:
            return None
        visit = self._pipeline.visit(facts)
        match visit.route:
            case Bypassed() | Ungated():
                return self._forward(head, request, visit, _ADMITTED, peer=peer, passes=_always)
            case InRoom():
                token = visit.held.token
                if not isinstance(token, Pass):
                    return self._page(head, request, visit, trusted=trusted)
                admit = visit.admission.forward(token, by_header=visit.held.by_header)
                if admit is None:
                    return None
                counted = visit.counted(admit)
                if counted is not None and not counted.is_free():
                    return self._beyond_concurrent(request, visit, counted)
                passes = passes_of(visit, token, counted)
                return self._forward(
                    head, request, visit, admit, peer=peer, passes=passes, counted=counted
                )
            case Blocked() | Rejected():
                return None

    def _forward(
        self,
        head: bytes,
        request: PlainRequest,
        visit: Visit,
        admit: Admit,
        *,
        peer: str,
        passes: Callable[[], bool],
        counted: CountedPass | None = None,
    ) -> KnownForward:
        room, pass_ = visit.room or "", admit.pass_
        context = ForwardContext(
            room=room,
            visitor="" if pass_ is None else pass_.visitor,
            client=visit.facts.client,
            strip_cookies=self._own_cookies,
        )
        origin_head = plain_head(
            request, context, origin_host=self._origin_host, preserve_host=self._preserve_host
        )
        line, _, block = head.partition(b"\r\n")
        forward = KnownForward(
            peer=peer,
            visit=visit,
            passes=passes,
            on_response=_counter(visit, admit),
            rest=origin_head[len(head) - len(block) :],  # the client's own request line
            keep_alive=request.keep_alive,
            is_ordinary=self._match_ordinary_line(line) is not None,
            block=block,
            host=visit.facts.client.host,
            route=self._interned(visit.route),
            admit=admit,
            may_add=admit.changed,
            own_cookies=self._own_cookies,
            counted=counted,
        )
        if not admit.changed:
            self._known.keep(forward)
        return forward

    def _beyond_concurrent(
        self, request: PlainRequest, visit: Visit, counted: CountedPass
    ) -> GateExchange | None:
        if request.method != "GET":
            return None
        response = response_beyond_concurrent(self._responses, visit, counted)
        response = self._responses.cors.shared(response, visit.facts, visit.room)
        return _ready(response, request)

    def _endpoint(
        self,
        head: bytes,
        request: PlainRequest,
        facts: RequestFacts,
        *,
        peer: str,
        trusted: bool,
    ) -> GateExchange | None:
        """A request under the prefix; None: it needs aiohttp."""
        if request.method != "GET":
            return None
        name, _, query = facts.target.removeprefix(PREFIX).partition("?")
        if name == "status":
            visit = self._endpoints.visit(facts, query)
            if visit is None or not isinstance(visit.route, InRoom):
                return None
            return self._kept(head, request, visit, trusted=trusted, is_status=True)
        if is_check(name):
            return self._check(head, request, facts, peer=peer)
        response = self._endpoints.respond_without_room(facts, name)
        return None if response is None else _ready(response, request)

    def _check(
        self, head: bytes, request: PlainRequest, facts: RequestFacts, *, peer: str
    ) -> GateExchange:
        """A check of forward auth."""
        auth = self._endpoints.forward_auth
        check = replace(facts, fields=FieldTable(head))
        allowed = auth.allow_on_sight(check)
        if allowed is None:
            return partial(respond_check, auth, check, keep_alive=request.keep_alive)
        visit, response = allowed
        response = response.closing(keep_alive=request.keep_alive)
        token, by_header = visit.held.token, visit.held.by_header
        assert isinstance(token, Pass)
        known = KnownCheck(
            response=response,
            room=visit.room or "",
            route=visit.route,
            passes=partial(visit.admission.forwards_unchanged, token, by_header),
            facts=visit.facts,
        )
        self._checks.keep(head, peer, known)
        return partial(respond_ready, response)

    def _page(
        self, head: bytes, request: PlainRequest, visit: Visit, *, trusted: bool
    ) -> GateExchange | None:
        """A request for a page without a pass: its visitor may have to wait."""
        if request.method != "GET":
            return None
        return self._kept(head, request, visit, trusted=trusted, is_status=False)

    def _kept(
        self, head: bytes, request: PlainRequest, visit: Visit, *, trusted: bool, is_status: bool
    ) -> GateExchange:
        assert visit.gate is not None
        streams = is_status and self._streams.serve(visit.admission, visit.facts)
        entry = HeadEntry(
            facts=replace(visit.facts, cookies=(), fields=no_fields),
            route=visit.route,
            gate=visit.gate,
            keep_alive=request.keep_alive,
            is_status=is_status,
            creates_place=visit.creates_place,
            wants_stream=streams,
            cors=self._responses.cors.headers(visit.facts, visit.room),
        )
        # A cached head has no client address, and this room limits newcomers by address.
        counts_client = visit.admission.newcomer_limit is not None
        if request.page_ticket is None and (is_status or not counts_client):
            self._heads.keep(head, entry, cookie=request.cookie, trusted=trusted)
        return self._exchange(entry, visit)

    def _exchange(self, entry: HeadEntry, visit: Visit) -> GateExchange:
        if entry.wants_stream:
            return partial(
                respond_stream, self._endpoints, self._responses, self._streams, visit, entry
            )
        if entry.is_status:
            return partial(respond_status, self._endpoints, visit, entry)
        return partial(respond_page, self._responses, visit, entry)

    def _is_trusted(self, peer: str) -> bool:
        """Whether `X-Forwarded-*` were written by the edge, or by a proxy that is trusted."""
        trusted = self._facts.trusted
        return (bool(trusted) or peer == EDGE_PEER) and is_trusted(peer, trusted=trusted)


def _request_lines(*, except_for: Iterable[str]) -> Callable[[bytes], re.Match[bytes] | None]:
    """A pattern of request lines whose target starts neither with the gate's prefix nor with
    these."""
    excluded = b"|".join(re.escape(prefix.encode()) for prefix in (PREFIX, *except_for))
    return re.compile(rb"%b (?!%b)%b HTTP/1\.1" % (METHOD, excluded, TARGET)).fullmatch


def _ready(response: GateResponse, request: PlainRequest) -> GateExchange:
    return partial(respond_ready, response.closing(keep_alive=request.keep_alive))


def _counter(visit: Visit, admit: Admit) -> OnResponse:
    count: OnResponse = metrics.forwarded.of(visit.room or "").count
    tally = visit.origin_tally(admit)
    if tally is not None:
        count = _both(count, tally.count)
    rule = rule_of(visit.route)
    if rule is None:
        return count

    def count_by_rule(status: int, /, *, seconds: float) -> None:
        count(status, seconds=seconds)
        metrics.by_rule.count(rule)

    return count_by_rule


def _both(one: OnResponse, other: OnResponse) -> OnResponse:
    def count(status: int, /, *, seconds: float) -> None:
        one(status, seconds=seconds)
        other(status, seconds=seconds)

    return count


def _always() -> bool:
    """A route outside of rooms is always forwarded."""
    return True
