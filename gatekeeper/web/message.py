"""What the gate reads of a request and what it answers, as plain values.

Rules: pure. Two parsers read requests, aiohttp's and that of the express lane; behind `Asked` and
`Reply` nobody can tell which it was. So the gate's own answers are the same, byte for byte, on
either way. Fields that came several times are joined as lists are (RFC 9110 section 5.3), but for
cookies, which are no list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from aiohttp.web import BaseRequest, Response
from multidict import CIMultiDict

Headers = tuple[tuple[str, str], ...]

QUEUE_TOKEN = "X-Queue-Token"  # noqa: S105  a header's name
_HTML = frozenset({"text/html", "application/xhtml+xml"})


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The facts of a request that shape the gate's own answer to it."""

    method: str
    accept: str = ""
    accept_encoding: str = ""
    accept_language: str = ""
    cookies: tuple[str, ...] = ()  # the values of the `Cookie` fields
    queue_token: str | None = None
    has_body: bool = False

    @property
    def is_navigation(self) -> bool:
        """Whether a person will look at the answer: a safe method that accepts HTML."""
        return self.method in {"GET", "HEAD"} and not _HTML.isdisjoint(_kinds(self.accept))

    def accepts(self, kind: str) -> bool:
        """Whether this very media type is named, not by a wildcard."""
        return kind in _kinds(self.accept)

    @property
    def accepts_gzip(self) -> bool:
        for coding in self.accept_encoding.split(","):
            name, _, quality = coding.partition(";")
            if name.strip().lower() == "gzip":
                return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        return False


class GateResponse(NamedTuple):
    """An answer of the gate's own. `close`: nothing else may follow on its connection."""

    status: int
    headers: Headers
    body: bytes
    close: bool = False

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> GateResponse:
        return GateResponse(self.status, (*self.headers, *headers), self.body, self.close)


def facts_of_request(request: BaseRequest) -> RequestFacts:
    headers = request.headers
    return RequestFacts(
        method=request.method,
        accept=",".join(headers.getall("Accept", ())),
        accept_encoding=",".join(headers.getall("Accept-Encoding", ())),
        accept_language=",".join(headers.getall("Accept-Language", ())),
        cookies=tuple(headers.getall("Cookie", ())),
        queue_token=headers.get(QUEUE_TOKEN),
        has_body=request.body_exists,
    )


def response_of(response: GateResponse) -> Response:
    """The reply as aiohttp sends it."""
    sent = Response(
        status=response.status, headers=CIMultiDict(response.headers), body=response.body
    )
    if response.close:
        sent.force_close()
    return sent


def _kinds(accept: str) -> set[str]:
    return {kind.partition(";")[0].strip().lower() for kind in accept.split(",")}
