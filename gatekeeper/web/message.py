"""The gate's own response as a plain value, whichever path sends it.

Rules: pure. The same response goes out on the fast path and through aiohttp, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aiohttp.web import Response
from multidict import CIMultiDict

Headers = tuple[tuple[str, str], ...]

QUEUE_TOKEN = "X-Queue-Token"  # noqa: S105  a header's name


class GateResponse(NamedTuple):
    """A response of the gate. `close`: nothing else may follow on its connection."""

    status: int
    headers: Headers
    body: bytes
    close: bool = False

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> GateResponse:
        return GateResponse(self.status, (*self.headers, *headers), self.body, self.close)


def response_of(response: GateResponse) -> Response:
    """The response as aiohttp sends it."""
    sent = Response(
        status=response.status, headers=CIMultiDict(response.headers), body=response.body
    )
    if response.close:
        sent.force_close()
    return sent
