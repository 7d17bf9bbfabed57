"""Types at the border of this package: client, context of a request, proxied response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp.web import BaseRequest

from gatekeeper.policy.facts import Client
from gatekeeper.proxy.response import ResponseHead

Fields = tuple[tuple[bytes, bytes], ...]

# Called once with the final response head; returns the fields to add to it for the client, which
# make the response one for this client alone. None: it stays as it is.
OnHead = Callable[[ResponseHead], Fields | None]


class OnResponse(Protocol):
    def __call__(self, status: int, /, *, seconds: float) -> None:
        """Count a response head that arrived `seconds` after the request."""
        ...


class OriginMeter(Protocol):
    """Measures the origin by requests that it has completely: a slow upload is the client's."""

    def count(self, status: int, /, *, seconds: float) -> None:
        """A response whose head arrived `seconds` after the request."""
        ...

    def count_abandoned(self, *, seconds: float) -> None:
        """A request whose client disconnected after waiting that long for a head."""
        ...


@dataclass(frozen=True, slots=True)
class ForwardContext:
    """What the gate adds to an admitted request and removes from it."""

    room: str
    visitor: str
    client: Client
    strip_cookies: frozenset[str]  # the gate's own cookies


@dataclass(slots=True)
class ProxiedResponse:
    """A response whose bytes were sent to the client, in the form that aiohttp's server expects.

    `cut` is why the response, and with it the client's connection, was aborted after the head.
    """

    status: int
    command: str | None
    origin_seconds: float  # from the request to the response head
    keep_alive: bool
    cut: Exception | None = None

    async def prepare(self, _request: BaseRequest) -> None:
        """Do nothing: the head was sent."""

    async def write_eof(self) -> None:
        """Do nothing: the body was sent."""
