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
from gatekeeper.proxy.passage import Become, HandOver, Own, Said, Words
from gatekeeper.proxy.plain import PlainRequest
from gatekeeper.web.answers import Answers
from gatekeeper.web.endpoints import Endpoints, Visit, stay_reply
from gatekeeper.web.entrance import Enter, Outcome, Stay, Turned
from gatekeeper.web.reply import Asked, Reply
from gatekeeper.web.stream import Streams

log = structlog.get_logger()

# Of a head that `parse_plain` took: one space follows each colon.
_NEGOTIATED = re.compile(rb"\r\n(accept(?:-encoding|-language)?): ([^\r]*)", re.IGNORECASE)


def asked_plainly(head: bytes, request: PlainRequest) -> Asked:
    """The same as `asked_of` says when aiohttp parsed it."""
    found = {"accept": "", "accept-encoding": "", "accept-language": ""}
    for name, value in _NEGOTIATED.findall(head):
        key = name.decode("ascii").lower()
        text = value.decode("utf-8", "surrogateescape")
        found[key] = f"{found[key]},{text}" if found[key] else text
    return Asked(
        method=request.method,
        accept=found["accept"],
        accept_encoding=found["accept-encoding"],
        accept_language=found["accept-language"],
        cookies=() if request.cookie is None else (request.cookie.decode("latin-1"),),
    )


def said(reply: Reply) -> Said:
    """The reply as aiohttp would write it."""
    length = f"Content-Length: {len(reply.body)}\r\n"
    return Said(_head(reply, length), reply.body, reply.close)


def _head(reply: Reply, framing: str = "") -> bytes:
    """All lines of the head, without the empty one at its end."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
    return f"{_status_line(reply.status)}{lines}{framing}Date: {_date(int(time()))}\r\n".encode()


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"


@lru_cache(maxsize=1)
def _date(at_s: int) -> str:
    return formatdate(at_s, usegmt=True)


class AtOnce(Own):
    """A reply that is there already."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Reply, *, keep_alive: bool) -> None:
        super().__init__(keep_alive=keep_alive)
        self._reply = reply

    def begin(self, then: Callable[[Words], None]) -> None:
        then(said(self._reply))


class Status(Own):
    """`GET status`: the heartbeat, and the claim once released."""

    __slots__ = ("_endpoints", "_visit")

    def __init__(self, endpoints: Endpoints, visit: Visit, *, keep_alive: bool) -> None:
        super().__init__(keep_alive=keep_alive)
        self._endpoints = endpoints
        self._visit = visit

    def begin(self, then: Callable[[Words], None]) -> None:
        metrics.answered.count("", "own")

        def told(outcome: Outcome | BaseException) -> None:
            if isinstance(outcome, BaseException):
                then(HandOver())
                return
            standing = None if isinstance(outcome, Turned) else outcome
            then(_said_or_not(lambda: said(self._endpoints.status_reply(self._visit, standing))))

        self._visit.entrance.standing_soon(self._visit.held.token, told)


class Streaming(Own):
    """`GET status` as a stream of events, for one who waits. Everybody else, and one for whom no
    stream can be had, gets 204: it tells an EventSource to stop, and the page to poll."""

    __slots__ = ("_answers", "_endpoints", "_streams", "_visit")

    def __init__(
        self,
        endpoints: Endpoints,
        answers: Answers,
        streams: Streams,
        visit: Visit,
        *,
        keep_alive: bool,
    ) -> None:
        super().__init__(keep_alive=keep_alive)
        self._endpoints = endpoints
        self._answers = answers
        self._streams = streams
        self._visit = visit

    def begin(self, then: Callable[[Words], None]) -> None:
        metrics.answered.count("", "own")

        def told(outcome: Outcome | BaseException) -> None:
            if isinstance(outcome, BaseException):
                then(HandOver())
                return
            standing = None if isinstance(outcome, Turned) else outcome
            then(_said_or_not(lambda: self._words(standing)))

        self._visit.entrance.standing_soon(self._visit.held.token, told)

    def _words(self, standing: Enter | Stay | None) -> Words:
        visit = self._visit
        if isinstance(standing, Stay):
            stream = self._streams.open(visit.entrance, standing)
            if stream is not None:
                headers = visit.headers(standing.ticket) if standing.changed else ()
                head = _head(self._answers.stream(headers=headers))
                return Become(head + b"\r\n" + stream.first, stream)
        reply = self._endpoints.status_reply(visit, standing)
        headers = tuple(each for each in reply.headers if each[0] != "Content-Type")
        return Said(_head(Reply(204, headers, b"")), b"")  # RFC 9110 section 8.6: no length


class Waiting(Own):
    """Any other address, asked for by one who has no pass: a place in line, and its page."""

    __slots__ = ("_answers", "_asked", "_visit")

    def __init__(self, answers: Answers, asked: Asked, visit: Visit, *, keep_alive: bool) -> None:
        super().__init__(keep_alive=keep_alive)
        self._answers = answers
        self._asked = asked
        self._visit = visit

    def begin(self, then: Callable[[Words], None]) -> None:
        def told(outcome: Outcome | BaseException) -> None:
            match outcome:
                case Stay():
                    then(
                        _said_or_not(
                            lambda: said(
                                stay_reply(
                                    self._answers, self._asked, visit=self._visit, stay=outcome
                                )
                            ),
                            known=outcome,
                        )
                    )
                case Enter() | Turned():
                    then(HandOver(outcome))
                case _:
                    then(HandOver())

        self._visit.entrance.admit_soon(self._visit.held.token, told)


def _said_or_not(words: Callable[[], Words], *, known: object = None) -> Words:
    """The words, or aiohttp's handler, which knows what to say of an error of ours."""
    try:
        return words()
    except Exception:
        log.exception("reply_failed")
        return HandOver(known)
