"""The handler of the public listener: the exit for every request that aiohttp parsed.

Rules. The request is checked, then runs through the pipeline (`gatekeeper.web.pipeline`); only
admitted requests are forwarded. Requests under `/.gatekeeper/` never reach the origin. The body of
a request that is not admitted stays unread. An internal error refuses the request.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import assert_never

import structlog
from aiohttp.web import BaseRequest

from gatekeeper import metrics
from gatekeeper.errors import N_, BadRequest, OriginError, OriginTimeout, OriginUnreachable
from gatekeeper.policy.decision import WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.policy.routing import UNKNOWN_HOST, Blocked, Rejected
from gatekeeper.proxy import ForwardContext, Forwarder, ProxiedResponse, check_request
from gatekeeper.proxy.context import Fields
from gatekeeper.proxy.downstream import reset
from gatekeeper.proxy.handled_request import (
    ends_connection,
    is_complete,
    take_failure,
    take_known,
    watch_input,
)
from gatekeeper.proxy.headers import forwards_left, wants_upgrade
from gatekeeper.proxy.own_response import OwnResponse, StreamedResponse
from gatekeeper.proxy.response import ResponseHead
from gatekeeper.web.added_fields import added_fields
from gatekeeper.web.draws import MAX_LIST_S, ListResponse
from gatekeeper.web.endpoints import PREFIX, Endpoints
from gatekeeper.web.facts_reader import FactsReader
from gatekeeper.web.invitation_redirect import invitation_in, redirected
from gatekeeper.web.invited_admission import admit
from gatekeeper.web.lasting_exchanges import HandledExchange, LastingExchanges
from gatekeeper.web.message import GateResponse, Headers
from gatekeeper.web.outcome import Admit, Deny, Outcome, Wait
from gatekeeper.web.pass_uses import RequestUse
from gatekeeper.web.pipeline import (
    KnownOutcome,
    Pipeline,
    Visit,
    response_beyond_concurrent,
    response_without_place,
    waiting_response,
)
from gatekeeper.web.request_body import read_body
from gatekeeper.web.responses import Responses

_ORIGIN_FAILED = N_("The site is not responding right now.")
ORIGIN_FAILED_IN_LINE = N_("The site is not responding right now. Your place is kept.")
_NO_ORIGIN = (
    'this gate has no origin (origin.url = "none"): proxies ask it at /.gatekeeper/auth, and '
    "forward by themselves"
)
_MALFORMED = N_("The request is malformed.")
_FAULTS = {408: N_("The request did not arrive in time.")}
_FAILED = N_("Something went wrong on our side. Please try again.")
_SWITCHING_PROTOCOLS = 101

log = structlog.get_logger()


class GateHandler:
    """The handler that aiohttp's server calls for every request."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        facts: FactsReader,
        forwarder: Forwarder,
        responses: Responses,
        endpoints: Endpoints,
        own_cookies: frozenset[str],
        lasting: LastingExchanges,
        has_origin: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._facts = facts
        self._forwarder = forwarder
        self._responses = responses
        self._endpoints = endpoints
        self._own_cookies = own_cookies
        self._lasting = lasting
        self._has_origin = has_origin

    async def handle(
        self, request: BaseRequest
    ) -> OwnResponse | StreamedResponse | ProxiedResponse:
        """Respond to one request; raises only when its response was aborted, or it was
        cancelled."""
        response = await self._respond(request)
        if isinstance(response, ProxiedResponse):
            return response
        keep_alive = request.keep_alive and not ends_connection(request)
        if isinstance(response, ListResponse):
            head = response.head.head(has_length=False)
            return StreamedResponse(head, response.parts, keep_alive=keep_alive, limit_s=MAX_LIST_S)
        keep_alive = keep_alive and not response.close
        return OwnResponse(response.head(), response.body, keep_alive=keep_alive)

    async def _respond(self, request: BaseRequest) -> GateResponse | ListResponse | ProxiedResponse:
        facts = self._facts.of_request(request)
        try:
            known = take_known(request)
            check_request(request)
            return await self._exit(request, facts, known)
        except BadRequest as error:
            # The violated HTTP rule is for developers; visitors get a general message.
            reason = _FAULTS.get(error.status, _MALFORMED) if facts.accepts_html else error.public
            return self._shared(self._bad_request(facts, reason, status=error.status), facts)
        except Exception as error:
            # Else the client disconnected, or does not read.
            if not isinstance(error, ConnectionError):
                log.exception("request_failed")
            if request.writer.output_size > 0:
                # A response has begun, possibly in another protocol: the gate must not send
                # another.
                metrics.requests.labels("", "cut").inc()
                if request.transport is not None:
                    reset(request.transport)
                raise
        finally:
            take_failure(request)  # drop it if unused: it must not apply to the next request
        metrics.requests.labels("", "failed").inc()
        return self._shared(self._responses.problem(facts, _FAILED, status=500, close=True), facts)

    def _shared(self, response: GateResponse, facts: RequestFacts) -> GateResponse:
        """A response without a visit, with the CORS fields of the room that the request would have
        been in; without a known room, none."""
        if facts.target.startswith(PREFIX):
            room = self._endpoints.room_of(facts)
        else:
            room = self._pipeline.router.room_of(facts.client.host, facts.target)
        return response if room is None else self._responses.cors.shared(response, facts, room)

    async def _exit(
        self, request: BaseRequest, facts: RequestFacts, known: object
    ) -> GateResponse | ListResponse | ProxiedResponse:
        """Serve the request by its exit. `known`: the `KnownOutcome` of the fast path, if it handed
        the request over."""
        if facts.target.startswith(PREFIX):
            return await self._endpoints.respond(facts, partial(read_body, request))
        if not self._has_origin:
            return self._without_origin(facts)
        known_outcome = None
        if isinstance(known, KnownOutcome):  # the configuration may have been replaced since
            visit, known_outcome = replace(known.visit, facts=facts), known.outcome
        else:
            visit = self._pipeline.visit(facts)
        found = invitation_in(visit)
        response = (
            await self._exit_of(request, visit, known_outcome)
            if found is None
            else await redirected(self._responses, visit, found)
        )
        if isinstance(response, GateResponse):
            return self._responses.cors.shared(response, facts, visit.room)
        return response

    def _without_origin(self, facts: RequestFacts) -> GateResponse:
        """421 (RFC 9110 section 15.5.20): not for this server. Takes no place and no admission."""
        log.warning("no_origin", host=facts.client.host, problem=_NO_ORIGIN)
        metrics.requests.labels("", "refused").inc()
        reason = UNKNOWN_HOST if facts.accepts_html else _NO_ORIGIN
        response = self._responses.problem(facts, reason, status=421, close=True)
        return self._shared(response, facts)

    async def _exit_of(
        self, request: BaseRequest, visit: Visit, known: Outcome | None
    ) -> GateResponse | ProxiedResponse:
        if forwards_left(request) == 0 and not isinstance(visit.route, Blocked | Rejected):
            return self._end_here(visit.facts)
        outcome = await admit(visit) if known is None else known
        match outcome:
            case Admit():
                return await self._forward(request, visit, outcome)
            case Wait():
                return waiting_response(self._responses, visit, outcome)
            case WaitWithoutPlace() as wait:
                return response_without_place(self._responses, visit, wait)
            case Deny():
                return self._deny(visit, outcome)
            case _:
                assert_never(outcome)

    def _end_here(self, facts: RequestFacts) -> GateResponse:
        """Respond to a request whose Max-Forwards is 0 (RFC 9110 section 7.6.2). TRACE would return
        the fields that a proxy in front has added, possibly a shared secret."""
        if facts.method == "OPTIONS":
            metrics.requests.labels("", "own").inc()
            return self._responses.no_content(())
        metrics.requests.labels("", "refused").inc()
        reason = _MALFORMED if facts.accepts_html else "TRACE ends here, and is not supported"
        allow = [("Allow", "OPTIONS")]
        return self._responses.problem(facts, reason, status=405, headers=allow, close=True)

    def _deny(self, visit: Visit, deny: Deny) -> GateResponse:
        visit.count_rule()
        if isinstance(visit.route, Rejected):
            return self._bad_request(visit.facts, deny.reason, status=deny.status)
        metrics.requests.labels(visit.room or "", "refused").inc()
        return self._responses.problem(
            visit.facts, deny.reason, status=deny.status, close=True, room=visit.config
        )

    def _bad_request(self, facts: RequestFacts, reason: str, *, status: int) -> GateResponse:
        metrics.requests.labels("", "bad_request").inc()
        return self._responses.problem(facts, reason, status=status, close=True)

    async def _forward(
        self, request: BaseRequest, visit: Visit, admit: Admit
    ) -> GateResponse | ProxiedResponse:
        pass_ = admit.pass_
        context = ForwardContext(
            room=visit.room or "",
            visitor="" if pass_ is None else pass_.visitor,
            client=visit.facts.client,
            strip_cookies=self._own_cookies,
        )

        counted = visit.counted(admit)
        if counted is not None and not counted.is_free():
            return response_beyond_concurrent(self._responses, visit, counted)
        end: asyncio.Future[None] | None = None
        exchange: HandledExchange | None = None
        if pass_ is not None:
            exchange = HandledExchange(request, visit.admission, pass_)
            if wants_upgrade(request):
                end = visit.admission.session_end(pass_)
            else:
                self._lasting.handled.add(exchange)

        def on_head(response: ResponseHead) -> Fields | None:
            if exchange is not None:
                if response.status != _SWITCHING_PROTOCOLS:  # also if an upgrade was requested
                    self._lasting.handled.add(exchange)
                if response.command is not None:
                    exchange.is_last = True
            return added_fields(visit, admit, response, own=self._own_cookies)

        tally = visit.origin_tally(admit)
        use = None
        if counted is not None:
            use = RequestUse(counted)
            watch_input(request, use.close_half)
        try:
            failure = take_failure(request)
            if failure is not None:
                raise failure
            relayed = await self._forwarder.forward(
                request,
                context,
                session_end=end,
                on_head=on_head,
                meter=tally,
            )
        except OriginError as error:
            if tally is not None and (isinstance(error, OriginUnreachable) or is_complete(request)):
                tally.count_failure()
            headers = visit.headers(pass_) if admit.changed else ()
            return self._origin_problem(visit, error, headers=headers)
        finally:
            if use is not None:
                watch_input(request, None)
                use.end()
            if end is not None:
                end.cancel()
            if exchange is not None:
                self._lasting.handled.discard(exchange)
        metrics.forwarded.of(context.room).count(relayed.status, seconds=relayed.origin_seconds)
        visit.count_rule()
        return relayed

    def _origin_problem(
        self, visit: Visit, error: OriginError, *, headers: Headers
    ) -> GateResponse:
        room = visit.room or ""
        timed_out = isinstance(error, OriginTimeout)
        kind = metrics.TIMEOUT if timed_out else metrics.UNREACHABLE
        metrics.origin_errors.labels(room, kind).inc()
        metrics.requests.labels(room, "origin_failed").inc()
        log.warning("origin_failed", error=error.public, cause=repr(error.__cause__))
        return self._responses.problem(
            visit.facts,
            ORIGIN_FAILED_IN_LINE if room else _ORIGIN_FAILED,
            status=504 if timed_out else 502,
            headers=headers,
            retry=True,
            close=visit.facts.has_body,
            room=visit.config,
        )
