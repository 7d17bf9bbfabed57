"""Closes the oldest idle connections near the limit of open files, so that new ones are accepted.

Rules. The files of the whole process are counted: connections to the origin and the store take
their part, and an eighth of the limit is kept for them. Above it, the oldest idle connections are
aborted until the count is a thirty-second of the limit lower. A connection is idle while it waits
for a request, or for the rest of its head; so is one in its TLS handshake, and one that discards
input after its response. The newest quarter is kept, so that new clients have time to send their
requests.

The event loop accepts a burst at once, before any `connection_made`, and resets the rest of it when
no file is left. It then makes no callback for new connections. So open files are counted after
every 1/32 of the limit in new connections, and four times a second while more than half of the
limit is open.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from heapq import nsmallest
from typing import Final, Protocol

from gatekeeper import metrics

_INTERVAL_S: Final = 0.25
_PAUSE_S: Final = 0.1  # after a check that found no idle connection
_OPEN_FILES: Final = "/proc/self/fd"


class IdleConnection(Protocol):
    """A connection that can be closed while it is idle."""

    @property
    def idle_since_s(self) -> float | None:
        """Since when it is idle, by the loop's clock; None: it serves a request."""
        ...

    def evict(self) -> None:
        """Abort it if it is idle."""
        ...


def count_open_files() -> int | None:
    """The number of open files of this process; None: no file is left to count them."""
    with suppress(FileNotFoundError):
        if size := os.stat(_OPEN_FILES).st_size:  # Linux 6.2 and later; needs no file
            return size
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return None


class IdleConnections:
    """The connections of one listener that can be evicted."""

    def __init__(
        self,
        connections: Callable[[], Iterable[IdleConnection]],
        *,
        file_limit: int,
        count_files: Callable[[], int | None] = count_open_files,
    ) -> None:
        self._connections = connections
        self._count_files = count_files
        self._limit = file_limit
        self._step = max(file_limit // 32, 2)
        self.most = file_limit - max(file_limit // 8, 8)
        self._until_check = self._step
        self._check_is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._not_before_s = 0.0

    def accept(self, count: int = 1) -> None:
        """`count` connections were accepted, and not made yet."""
        self._until_check -= count
        if self._until_check <= 0 and not self._check_is_due:
            self._check_is_due = True
            asyncio.get_running_loop().call_soon(self.check)

    def check(self) -> None:
        """Count the open files; near the limit, evict connections and check again soon."""
        self._until_check, self._check_is_due = self._step, False
        self.close()
        files = self._count_files()
        if files is None:
            files = self._limit
        if files > self.most:
            self._make_room(files - self.most + self._step)
        if files > self._limit // 2:
            self._timer = asyncio.get_running_loop().call_later(_INTERVAL_S, self.check)

    def close(self) -> None:
        """Stop checking until the next connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_room(self, files: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._not_before_s:
            return
        idle = [
            (since_s, number, connection)
            for number, connection in enumerate(self._connections())
            if (since_s := connection.idle_since_s) is not None
        ]
        count = min(files, len(idle) * 3 // 4)
        if not count:
            self._not_before_s = now_s + _PAUSE_S
        for _, _, connection in nsmallest(count, idle):
            connection.evict()
            metrics.connections_evicted.inc()
