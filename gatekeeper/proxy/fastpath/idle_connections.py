"""Closes the oldest idle connections near the limit of open files, so that new ones are accepted.

Rules. The system gives a new connection the lowest free number, so a high number means that few
files are left, whatever holds the others. An eighth of them is kept for connections to the origin
and the store. A connection is idle while it waits for a request, or for the rest of its head. One
look at all connections closes several of them, and a look that finds none is not repeated at once:
so many new connections cost no more than a look for each of them would save. Asking for a number
costs as much as parsing a request, so only some connections are asked: at random, since clients
could leave a low number to each that a count selects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from heapq import nsmallest
from random import random
from typing import Final, Protocol

from gatekeeper import metrics

_PAUSE_S: Final = 0.1  # after a look that found no idle connection
# Of as many new connections as one look closes. Eight times as many files are kept, so the chance
# that they are all taken before one is asked is e^-32.
_ASKED_OF_AT_ONCE: Final = 4


class IdleConnection(Protocol):
    """A connection that can be closed while it is idle."""

    @property
    def idle_since_s(self) -> float | None:
        """By the loop's clock; None: it serves a request."""
        ...

    def close_if_idle(self) -> None: ...


class IdleConnections:
    """The connections of one listener, as far as they can be closed for others."""

    def __init__(
        self, connections: Callable[[], Iterable[IdleConnection]], *, file_limit: int
    ) -> None:
        self._connections = connections
        self.highest = file_limit - max(file_limit // 8, 8)  # number of a file
        self._at_once = max(file_limit // 64, 1)
        self._asked_share = _ASKED_OF_AT_ONCE / self._at_once
        self._not_before_s = 0.0

    def accept(self, transport: asyncio.BaseTransport) -> None:
        """A new connection, which is not yet among the others."""
        if random() >= self._asked_share:  # noqa: S311
            return
        if transport.get_extra_info("socket").fileno() > self.highest:
            self.make_room()

    def make_room(self) -> None:
        """A connection came with a number above `highest`."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._not_before_s:
            return
        idle = [
            (since_s, number, connection)
            for number, connection in enumerate(self._connections())
            if (since_s := connection.idle_since_s) is not None
        ]
        if not idle:
            self._not_before_s = now_s + _PAUSE_S
        for _, _, connection in nsmallest(self._at_once, idle):
            connection.close_if_idle()
            metrics.connections_evicted.inc()
