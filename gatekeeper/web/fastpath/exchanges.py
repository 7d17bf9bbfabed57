"""The gate's own answers on the express lane: the status, the page of those who wait, its assets.

Rules. Nothing is decided here: these are the same endpoints, entrances and replies as on the long
way, called without a task and written without response objects, since those who wait ask far more
often than those inside. What is no plain answer to a GET goes on to aiohttp, with the outcome if
there is one: a newcomer who was let in, a refusal, an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time

import structlog

from gatekeeper import metrics
from gatekeeper.proxy.fastpath.interface import (
    CompleteResponse,
    FastPathReply,
    GateExchange,
    HandOver,
    SwitchProtocol,
)
from gatekeeper.proxy.fastpath.plain_head import PlainRequest
from gatekeeper.web.admission import Admit, Deny, Outcome, Wait
from gatekeeper.web.endpoints import Endpoints, Visit, waiting_response
from gatekeeper.web.message import GateResponse, RequestFacts
from gatekeeper.web.responses import Responses
from gatekeeper.web.stream import Streams

log = structlog.get_logger()

# Of a head that `parse_plain` took: one space follows each colon.
_NEGOTIATED = re.compile(rb"\r\n(accept(?:-encoding|-language)?): ([^\r]*)", re.IGNORECASE)


def facts_of_plain_head(head: bytes, request: PlainRequest) -> RequestFacts:
    """The same as `asked_of` says when aiohttp parsed it."""
    found = {"accept": "", "accept-encoding": "", "accept-language": ""}
    for name, value in _NEGOTIATED.findall(head):
        key = name.decode("ascii").lower()
        text = value.decode("utf-8", "surrogateescape")
        found[key] = f"{found[key]},{text}" if found[key] else text
    return RequestFacts(
        method=request.method,
        accept=found["accept"],
        accept_encoding=found["accept-encoding"],
        accept_language=found["accept-language"],
        cookies=() if request.cookie is None else (request.cookie.decode("latin-1"),),
    )


def complete_response(response: GateResponse) -> CompleteResponse:
    """The response as aiohttp would write it."""
    length = f"Content-Length: {len(response.body)}\r\n"
    return CompleteResponse(_head(response, length), response.body, response.close)


def _head(response: GateResponse, framing: str = "") -> bytes:
    """All lines of the head, without the empty one at its end."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    return f"{_status_line(response.status)}{lines}{framing}Date: {_date(int(time()))}\r\n".encode()


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"


@lru_cache(maxsize=1)
def _date(at_s: int) -> str:
    return formatdate(at_s, usegmt=True)


class AtOnce(GateExchange):
    """A response that is there already."""

    __slots__ = ("_reply",)

    def __init__(self, response: GateResponse, *, keep_alive: bool) -> None:
        super().__init__(keep_alive=keep_alive)
        self._reply = response

    def begin(self, then: Callable[[FastPathReply], None]) -> None:
        then(complete_response(self._reply))


class Status(GateExchange):
    """`GET status`: the heartbeat, and the claim once released."""

    __slots__ = ("_endpoints", "_visit")

    def __init__(self, endpoints: Endpoints, visit: Visit, *, keep_alive: bool) -> None:
        super().__init__(keep_alive=keep_alive)
        self._endpoints = endpoints
        self._visit = visit

    def begin(self, then: Callable[[FastPathReply], None]) -> None:
        metrics.answered.count("", "own")

        def told(outcome: Outcome | BaseException) -> None:
            if isinstance(outcome, BaseException):
                then(HandOver())
                return
            standing = None if isinstance(outcome, Deny) else outcome
            then(
                _said_or_not(
                    lambda: complete_response(self._endpoints.status_reply(self._visit, standing))
                )
            )

        self._visit.admission.standing_soon(self._visit.held.token, told)


class Streaming(GateExchange):
    """`GET status` as a stream of events, for one who waits. Everybody else, and one for whom no
    stream can be had, gets 204: it tells an EventSource to stop, and the page to poll."""

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
        super().__init__(keep_alive=keep_alive)
        self._endpoints = endpoints
        self._responses = responses
        self._streams = streams
        self._visit = visit

    def begin(self, then: Callable[[FastPathReply], None]) -> None:
        metrics.answered.count("", "own")

        def told(outcome: Outcome | BaseException) -> None:
            if isinstance(outcome, BaseException):
                then(HandOver())
                return
            standing = None if isinstance(outcome, Deny) else outcome
            then(_said_or_not(lambda: self._words(standing)))

        self._visit.admission.standing_soon(self._visit.held.token, told)

    def _words(self, standing: Admit | Wait | None) -> FastPathReply:
        visit = self._visit
        if isinstance(standing, Wait):
            stream = self._streams.open(visit.admission, standing)
            if stream is not None:
                headers = visit.headers(standing.ticket) if standing.changed else ()
                head = _head(self._responses.stream(headers=headers))
                return SwitchProtocol(head + b"\r\n" + stream.first, stream)
        response = self._endpoints.status_reply(visit, standing)
        headers = tuple(each for each in response.headers if each[0] != "Content-Type")
        return CompleteResponse(
            _head(GateResponse(204, headers, b"")), b""
        )  # RFC 9110 section 8.6: no length


class Waiting(GateExchange):
    """Any other address, asked for by one who has no pass: a place in line, and its page."""

    __slots__ = ("_asked", "_responses", "_visit")

    def __init__(
        self, responses: Responses, facts: RequestFacts, visit: Visit, *, keep_alive: bool
    ) -> None:
        super().__init__(keep_alive=keep_alive)
        self._responses = responses
        self._asked = facts
        self._visit = visit

    def begin(self, then: Callable[[FastPathReply], None]) -> None:
        def told(outcome: Outcome | BaseException) -> None:
            match outcome:
                case Wait():
                    then(
                        _said_or_not(
                            lambda: complete_response(
                                waiting_response(
                                    self._responses, self._asked, visit=self._visit, stay=outcome
                                )
                            ),
                            known=outcome,
                        )
                    )
                case Admit() | Deny():
                    then(HandOver(outcome))
                case _:
                    then(HandOver())

        self._visit.admission.admit_soon(self._visit.held.token, told)


def _said_or_not(words: Callable[[], FastPathReply], *, known: object = None) -> FastPathReply:
    """The words, or aiohttp's handler, which knows what to say of an error of ours."""
    try:
        return words()
    except Exception:
        log.exception("reply_failed")
        return HandOver(known)
