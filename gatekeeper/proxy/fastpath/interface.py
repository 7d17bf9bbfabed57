"""What can become of a plain request on the express lane: the lane's words for it.

Rules: the lane decides nothing and knows no answers. A passage goes to the origin; what is the
gate's own is answered by it, at once or when it knows more, and the lane only sends what it is
handed. What cannot be said in these few words goes to aiohttp after all, together with what was
found out already, so that nothing is asked of the store twice.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from gatekeeper.proxy.context import Fields


class OnResponse(Protocol):
    def __call__(self, status: int, /, *, seconds: float) -> None:
        """The head of the answer came, so long after the request."""
        ...


class ForwardPlan(Protocol):
    """What a request with certain fields came to: it may pass. The same for all that say them."""

    @property
    def rest(self) -> bytes:
        """Of the head for the origin: all that follows the request line."""
        ...

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection may stay open."""
        ...

    def command(self, command: str) -> Fields:
        """The origin said `Gatekeeper-Command`: fields to add to the answer's head."""
        ...

    @property
    def on_response(self) -> OnResponse:
        """Called when the head of the response came."""
        ...


@dataclass(frozen=True, slots=True)
class CompleteResponse:
    """A whole answer. The lane ends the head, since it knows whether the connection stays open."""

    head: bytes  # the lines from the status line on, each with its CRLF; not the empty one
    body: bytes
    close: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """For aiohttp, and the gate behind it, which finds `known` in the handler."""

    known: object = None


@dataclass(frozen=True, slots=True)
class SwitchProtocol:
    """From here on the connection is this protocol's, as if it had just been made."""

    head: bytes  # what the client gets first
    protocol: asyncio.Protocol


FastPathReply = CompleteResponse | HandOver | SwitchProtocol


class GateExchange(ABC):
    """A plain request that the gate itself responds to."""

    __slots__ = ("keep_alive",)

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive  # the client's connection may stay open

    @abstractmethod
    async def respond(self) -> FastPathReply:
        """The reply. Stepped (`gatekeeper.stepper`); it does no harm when the client has left."""


class FastPathPolicy(Protocol):
    """The gate's look at requests, given the address of their peer."""

    def recall(self, data: bytes, peer: str) -> ForwardPlan | None:
        """The passage, if `data` is one whole head and the gate knows what its fields come to.

        This is asked first, and answers nearly always: None is no refusal.
        """
        ...

    def look(self, head: bytes, peer: str) -> ForwardPlan | GateExchange | None:
        """A passage goes to the origin, what is the gate's own is asked for its words, and None,
        for a head that is not plain, takes the connection to aiohttp."""
        ...
