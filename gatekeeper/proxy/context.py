"""The words of this package: who asked, what the gate knows of them, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.web import BaseRequest

Fields = tuple[tuple[bytes, bytes], ...]

# Called once, when the final head arrived, with its status and `Gatekeeper-Command`; returns
# fields to add to the head that the client gets.
OnHead = Callable[[int, str | None], Fields]


@dataclass(frozen=True, slots=True)
class Client:
    """Who asked, by the rules of `client_of`.

    `host` is the Host of the request itself, "" if none: it routes, and goes on as Host.
    `forwarded_host` is what a trusted proxy says the visitor used; it is only passed on, since
    many a proxy passes a visitor's own on, who could choose their room with it.
    """

    address: str
    scheme: str
    host: str
    forwarded_host: str = ""


@dataclass(frozen=True, slots=True)
class ForwardContext:
    """What the gate knows about an admitted request."""

    room: str
    visitor: str
    client: Client
    strip_cookies: frozenset[str]  # the gate's own cookies, which the origin does not see
    response_headers: Fields = ()  # added to the head of the answer


@dataclass(slots=True)
class ProxiedResponse:
    """An answer whose bytes are with the client already, in the shape aiohttp's server takes.

    `cut` is why the answer was broken off after its head, together with the client's connection.
    """

    status: int
    command: str | None
    origin_seconds: float  # from the request until its head
    keep_alive: bool
    cut: Exception | None = None

    async def prepare(self, _request: BaseRequest) -> None:
        """Nothing: the head is with the client."""

    async def write_eof(self) -> None:
        """Nothing: the body is with the client."""
