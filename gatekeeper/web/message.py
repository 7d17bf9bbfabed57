"""The gate's own response as a plain value, for both paths.

Rules. A response is the same byte for byte on the fast path and through aiohttp: both send the head
of `GateResponse.head`.
"""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time

from aiohttp.web import Response
from multidict import CIMultiDict

from gatekeeper.record import record

Headers = tuple[tuple[str, str], ...]

_WITHOUT_LENGTH = frozenset({204, 304})  # RFC 9110 section 8.6
QUEUE_TOKEN = "X-Queue-Token"  # noqa: S105  a header's name
PAGE_TICKET = "X-Queue-Ticket"
REFERRER_POLICY = "Referrer-Policy"
QUEUE_INVITATION = "X-Queue-Invitation"
VISITOR = "X-Gatekeeper-Visitor"
# These come last in a response, and usually contain a token.
_OF_ONE_VISITOR = frozenset({"Set-Cookie", QUEUE_TOKEN, PAGE_TICKET, VISITOR})


@record
class GateResponse:
    """A response of the gate. `close`: the connection closes after it."""

    status: int
    headers: Headers
    body: bytes
    close: bool = False

    def without_referrer(self) -> GateResponse:
        """The response for an address that must not leak by a referrer."""
        kept = [each for each in self.headers if each[0] != REFERRER_POLICY]
        return replace(self, headers=((REFERRER_POLICY, "no-referrer"), *kept))

    def closing(self, *, keep_alive: bool) -> GateResponse:
        """The response to a request whose client may not keep the connection."""
        return self if keep_alive else replace(self, close=True)

    def head(self, *, has_length: bool = True) -> bytes:
        """The status line and all fields but Connection, each with its CRLF, without the empty
        line."""
        status, headers = self.status, self.headers
        own_at = len(headers)
        while own_at and headers[own_at - 1][0] in _OF_ONE_VISITOR:
            own_at -= 1
        length = len(self.body) if has_length and status not in _WITHOUT_LENGTH else None
        first, last = _common_lines(status, headers[:own_at], length, int(time()))
        if own_at == len(headers):
            return first + last
        own = "".join([f"{name}: {value}\r\n" for name, value in headers[own_at:]])
        return first + own.encode() + last


@lru_cache(maxsize=1024)  # nearly all polls of one second share these lines, and few lengths
def _common_lines(
    status: int, headers: Headers, length: int | None, at_s: int
) -> tuple[bytes, bytes]:
    """The lines before and after those of one visitor."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    last = "" if length is None else f"Content-Length: {length}\r\n"
    last += f"Date: {_date(at_s)}\r\n"
    return f"HTTP/1.1 {status} {phrase(status)}\r\n{lines}".encode(), last.encode()


def phrase(status: int) -> str:
    """The reason phrase of RFC 9110."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


# Python before 3.13 has those of RFC 2616.
_PHRASES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


@lru_cache(maxsize=1)
def _date(at_s: int) -> str:
    return formatdate(at_s, usegmt=True)


def response_of(response: GateResponse) -> Response:
    """The response for an aiohttp application, such as the preview."""
    return Response(
        status=response.status, headers=CIMultiDict(response.headers), body=response.body
    )
