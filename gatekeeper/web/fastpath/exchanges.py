"""The gate's own responses on the fast path: the status, the waiting page, its assets.

Rules. Nothing is decided here: endpoints, admission and responses are those of the handler, called
without a task and written without response objects, since waiting visitors send far more requests
than admitted ones. Any other outcome than a plain response to a GET is handed over to aiohttp: an
admitted newcomer, a denial, an error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

import structlog

from gatekeeper import metrics
from gatekeeper.policy.decision import WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.proxy.fastpath.interface import (
    CompleteResponse,
    FastPathReply,
    GateExchange,
    HandOver,
    SwitchProtocol,
)
from gatekeeper.web.endpoints import Endpoints
from gatekeeper.web.forward_auth import ForwardAuth
from gatekeeper.web.message import GateResponse, Headers, head_of
from gatekeeper.web.outcome import Admit, Deny, Outcome, Wait
from gatekeeper.web.pipeline import (
    KnownOutcome,
    Visit,
    response_without_place,
    waiting_response,
)
from gatekeeper.web.responses import Responses
from gatekeeper.web.stream import Streams

log = structlog.get_logger()


def complete_response(response: GateResponse) -> CompleteResponse:
    """The response as the fast path sends it."""
    return CompleteResponse(head_of(response), response.body, response.close)


def header_lines(headers: Headers) -> bytes:
    """Headers as lines of a head."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode()


class CorsExchange(GateExchange):
    """Adds the CORS lines of a room to the response of another exchange."""

    __slots__ = ("_exchange", "_lines")

    def __init__(self, exchange: GateExchange, lines: bytes) -> None:
        self.keep_alive = exchange.keep_alive
        self._exchange = exchange
        self._lines = lines

    async def respond(self) -> FastPathReply:
        reply = await self._exchange.respond()
        match reply:
            case CompleteResponse(head=head):
                return reply._replace(head=self._with_lines(head))
            case SwitchProtocol(head=head):
                return replace(reply, head=self._with_lines(head))
            case HandOver():
                return reply
            case _:
                assert_never(reply)

    def _with_lines(self, head: bytes) -> bytes:
        status_line, end, rest = head.partition(b"\r\n")
        return b"".join([status_line, end, self._lines, rest])


class ReadyResponse(GateExchange):
    """A response that is complete already."""

    __slots__ = ("_response",)

    def __init__(self, response: GateResponse, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self._response = response

    async def respond(self) -> FastPathReply:
        return complete_response(self._response)


class StatusExchange(GateExchange):
    """`GET status`: the heartbeat, and the claim once released."""

    __slots__ = ("_endpoints", "_visit")

    def __init__(self, endpoints: Endpoints, visit: Visit, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self._endpoints = endpoints
        self._visit = visit

    async def respond(self) -> FastPathReply:
        metrics.own_responses.count("", "own")
        visit = self._visit
        outcome = await visit.admit_as("denied")
        return complete_response(self._endpoints.status_response(visit, outcome))


class StreamExchange(GateExchange):
    """`GET status` as a stream of events, for a waiting visitor. Without a place, or without a free
    stream, 204: it stops an EventSource, and the page polls."""

    __slots__ = ("_endpoints", "_responses", "_streams", "_visit")

    def __init__(
        self,
        endpoints: Endpoints,
        responses: Responses,
        streams: Streams,
        visit: Visit,
        *,
        keep_alive: bool,
    ) -> None:
        self.keep_alive = keep_alive
        self._endpoints = endpoints
        self._responses = responses
        self._streams = streams
        self._visit = visit

    async def respond(self) -> FastPathReply:
        metrics.own_responses.count("", "own")
        visit = self._visit
        outcome = await visit.admit_as("denied")
        if isinstance(outcome, Wait):
            stream = self._streams.open(visit.admission, outcome)
            if stream is not None:
                headers = visit.headers(outcome.ticket) if outcome.changed else ()
                head = head_of(self._responses.stream(headers=headers), has_length=False)
                return SwitchProtocol(head + b"\r\n" + stream.first, stream)
        response = self._endpoints.status_response(visit, outcome)
        headers = tuple(each for each in response.headers if each[0] != "Content-Type")
        # RFC 9110 section 8.6: a 204 has no length.
        head = head_of(GateResponse(204, headers, b""), has_length=False)
        return CompleteResponse(head, b"")


class AuthExchange(GateExchange):
    """`GET auth`: a check of forward auth."""

    __slots__ = ("_auth", "_check")

    def __init__(self, auth: ForwardAuth, check: RequestFacts, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self._auth = auth
        self._check = check

    async def respond(self) -> FastPathReply:
        return complete_response(await self._auth.respond(self._check))


class PageExchange(GateExchange):
    """A request for the site without a pass: a place in line and its page, or the waiting status
    for a request that creates no place."""

    __slots__ = ("_responses", "_visit")

    def __init__(self, responses: Responses, visit: Visit, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self._responses = responses
        self._visit = visit

    async def respond(self) -> FastPathReply:
        outcome = await self._visit.admit()
        try:
            response = self._response(outcome)
        except Exception:
            log.exception("response_failed")
            response = None
        if response is None:
            return HandOver(KnownOutcome(self._visit, outcome))
        return complete_response(response)

    def _response(self, outcome: Outcome) -> GateResponse | None:
        match outcome:
            case Wait():
                return waiting_response(self._responses, self._visit, outcome)
            case WaitWithoutPlace() as wait:
                return response_without_place(self._responses, self._visit, wait)
            case Admit() | Deny():
                return None
            case _:
                assert_never(outcome)
