"""Types of this package's interface: client, context of a request, proxied response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp.web import BaseRequest

from gatekeeper.policy.facts import Client
from gatekeeper.proxy.response import ResponseHead

Fields = tuple[tuple[bytes, bytes], ...]

# Called once with the final response head; returns the fields to add to it, which make the response
# private to this client. None: the response is unchanged.
OnHead = Callable[[ResponseHead], Fields | None]


class OnResponse(Protocol):
    def __call__(self, status: int, /, *, seconds: float) -> None:
        """Count a response head that arrived `seconds` after the request."""
        ...


class OriginMeter(Protocol):
    """Measures the origin by requests that it received completely: a slow upload is due to the
    client."""

    def count(self, status: int, /, *, seconds: float) -> None:
        """Count a response whose head arrived `seconds` after the request."""
        ...

    def count_abandoned(self, *, seconds: float) -> None:
        """Count a request whose client disconnected after waiting that long for a head."""
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

    `cut` is the reason why the response was aborted after its head, with the client's connection.
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
