"""The gate's own responses on the fast path: the status, the waiting page, its assets.

Rules. Nothing is decided here: endpoints, admission and responses are those of the handler, called
without a task and written without response objects, since waiting visitors send far more requests
than admitted ones. Any other outcome than a plain response to a GET is handed over to aiohttp: an
admitted newcomer, a denial, an error.
"""

from __future__ import annotations

from typing import assert_never

import structlog

from gatekeeper import metrics
from gatekeeper.policy.decision import WaitWithoutPlace
from gatekeeper.policy.facts import RequestFacts
from gatekeeper.proxy.fastpath.interface import FastPathReply, HandOver, SwitchProtocol
from gatekeeper.web.endpoints import Endpoints
from gatekeeper.web.fastpath.head_cache import HeadEntry
from gatekeeper.web.forward_auth import ForwardAuth
from gatekeeper.web.message import GateResponse
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


async def respond_ready(response: GateResponse) -> FastPathReply:
    """A response that is complete already."""
    return response


async def respond_status(endpoints: Endpoints, visit: Visit, entry: HeadEntry) -> FastPathReply:
    """`GET status`: the heartbeat, and the claim once released."""
    metrics.own_responses.count("", "own")
    outcome = await visit.admit_as("denied")
    return entry.completed(endpoints.status_response(visit, outcome))


async def respond_stream(
    endpoints: Endpoints, responses: Responses, streams: Streams, visit: Visit, entry: HeadEntry
) -> FastPathReply:
    """`GET status` as a stream of events, for a waiting visitor. Without a place, or without a free
    stream, 204: it stops an EventSource, and the page polls."""
    metrics.own_responses.count("", "own")
    outcome = await visit.admit_as("denied")
    if isinstance(outcome, Wait):
        stream = streams.open(visit.admission, outcome)
        if stream is not None:
            headers = visit.headers(outcome.ticket) if outcome.changed else ()
            response = entry.completed(responses.stream(headers=headers))
            head = response.head(has_length=False) + b"\r\n"
            return SwitchProtocol(head + stream.first, stream)
    response = endpoints.status_response(visit, outcome)
    headers = tuple(each for each in response.headers if each[0] != "Content-Type")
    return entry.completed(GateResponse(204, headers, b""))


async def respond_check(
    auth: ForwardAuth, check: RequestFacts, *, keep_alive: bool
) -> FastPathReply:
    """`GET auth`: a check of forward auth."""
    return (await auth.respond(check)).closing(keep_alive=keep_alive)


async def respond_page(responses: Responses, visit: Visit, entry: HeadEntry) -> FastPathReply:
    """A request for the site without a pass: a place in line and its page, or the waiting status
    for a request that creates no place."""
    outcome = await visit.admit()
    try:
        response = _page(responses, visit, outcome)
    except Exception:
        log.exception("response_failed")
        response = None
    if response is None:
        return HandOver(KnownOutcome(visit, outcome))
    return entry.completed(response)


def _page(responses: Responses, visit: Visit, outcome: Outcome) -> GateResponse | None:
    match outcome:
        case Wait():
            return waiting_response(responses, visit, outcome)
        case WaitWithoutPlace() as wait:
            return response_without_place(responses, visit, wait)
        case Admit() | Deny():
            return None
        case _:
            assert_never(outcome)
