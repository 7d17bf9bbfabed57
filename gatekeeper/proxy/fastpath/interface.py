"""The interface between the fast path and the gate's policy.

Rules: the fast path makes no decisions and no responses. A `ForwardPlan` goes to the origin. A
`GateExchange` is served by the gate, at once or later, and the fast path sends its reply. All other
requests are handed over to aiohttp with the facts so far, so that the store is not called twice.

    FastPathPolicy.recall  ─▶ ForwardPlan | GateExchange | None (resolve)
    FastPathPolicy.resolve ─▶ ForwardPlan | GateExchange | None (hand over)
    GateExchange()         ─▶ CompleteResponse | HandOver | SwitchProtocol
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gatekeeper.proxy.aiohttp_server import ConnectionHandler
from gatekeeper.proxy.context import Fields, OnResponse
from gatekeeper.proxy.fastpath.deadlines import TimedConnection
from gatekeeper.proxy.fastpath.equal_deadlines import EqualDeadlines
from gatekeeper.proxy.fastpath.idle_connections import IdleConnection
from gatekeeper.proxy.fastpath.response_shapes import ResponseShapes
from gatekeeper.proxy.pool import OriginPool
from gatekeeper.proxy.response import ResponseHead


class RequestCount(Protocol):
    """The count of one request in progress."""

    def close_half(self) -> RequestCount:
        """The client closed its half, or everything. Returns the count to use from now on."""
        ...

    def end(self) -> None: ...


class RequestCounter(Protocol):
    """Counts requests from their heads to the ends of their responses."""

    def begin(self) -> RequestCount: ...


class ForwardPlan(Protocol):
    """An admitted request; the same plan serves all requests with the same fields."""

    @property
    def rest(self) -> bytes:
        """The head for the origin after the request line."""
        ...

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection may stay open."""
        ...

    @property
    def may_add(self) -> bool:
        """Whether `added` needs every response head, not only those with a command."""
        ...

    @property
    def own_cookies(self) -> frozenset[str]:
        """The names of the gate's cookies, which no origin may set."""
        ...

    def added(self, response: ResponseHead) -> Fields | None:
        """The fields to add to the response head (`context.OnHead`). Runs its command."""
        ...

    @property
    def counted(self) -> RequestCounter | None:
        """The counter of this request while it is in progress; nearly always None."""
        ...

    @property
    def on_response(self) -> OnResponse:
        """Called when the response head arrives."""
        ...

    def note_abandoned(self, *, seconds: float) -> None:
        """Count a client that disconnected after waiting that long for the response head."""
        ...


class CompleteResponse(Protocol):
    """A response. The fast path completes the head: it knows whether the connection stays open."""

    @property
    def body(self) -> bytes: ...

    @property
    def close(self) -> bool:
        """Whether the connection closes after it."""
        ...

    def head(self) -> bytes:
        """The lines from the status line on, each with CRLF, without the empty line."""
        ...


@dataclass(frozen=True, slots=True)
class HandOver:
    """aiohttp serves the request; the handler finds `known` (`handled_request.take_known`)."""

    known: object = None


@dataclass(frozen=True, slots=True)
class SwitchProtocol:
    """The connection continues with this protocol, as if newly made."""

    head: bytes  # sent to the client first
    protocol: asyncio.Protocol


FastPathReply = CompleteResponse | HandOver | SwitchProtocol


# A plain request that the gate itself responds to. The coroutine that it returns runs under
# `gatekeeper.stepper`, and continues when the client disconnects.
GateExchange = partial[Coroutine[Any, Any, FastPathReply]]


class FastPathPolicy(Protocol):
    """The gate's decision on a request, given the address of the peer."""

    def recall(self, data: bytes, peer: str) -> ForwardPlan | GateExchange | None:
        """The decision, if `data` is one complete head whose fields are known; else None.

        Called first, and nearly always sufficient. None is not a denial: call `resolve`.
        """
        ...

    def resolve(self, head: bytes, peer: str) -> ForwardPlan | GateExchange | None:
        """The decision on one complete head; None hands the connection over to aiohttp."""
        ...


class OpenConnection(IdleConnection, Protocol):
    """A client connection, as its server and the sweep of long exchanges see it."""

    @property
    def exchange(self) -> tuple[float, ForwardPlan] | None:
        """The arrival time and the plan of the request that is being forwarded."""
        ...

    def cut(self, began_s: float) -> None:
        """Abort the response to the request that arrived at `began_s`, if it is in progress."""
        ...

    def close_if_idle(self) -> None: ...

    def abort(self) -> None: ...


class ConnectionOwner(Protocol):
    """The server of a client connection, as the connection uses it."""

    pool: OriginPool
    responses: ResponseShapes
    first_checks: EqualDeadlines[TimedConnection]
    admission: FastPathPolicy
    idle_timeout_s: float
    client_timeout_s: float
    closing: bool
    known_closers: int

    def handler(self, peer: str) -> ConnectionHandler:
        """A new aiohttp protocol for a connection of `peer` that is handed over."""
        ...

    def add(self, connection: OpenConnection) -> None:
        """Count an open connection."""
        ...

    def forget(self, connection: OpenConnection) -> None:
        """The connection was closed or handed over."""
        ...
