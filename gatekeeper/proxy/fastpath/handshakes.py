"""The connections of a TLS listener whose handshake has not ended, to be closed for others.

Rules. The event loop shows a connection to the program when its handshake is done; before that the
system alone knows it. So near the limit of open files all of them are looked at: a connected socket
on the listener's port that never became a connection is in its handshake. It is known by its number
and its inode, since numbers are used again. Its age counts from the first look that found it. When
its socket is shut down, the event loop reads the end of input, and closes it. A look costs about a
microsecond per file, so looks take a tenth of the time at most.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

_PAUSE_PER_LOOK: Final = 9  # times the duration of a look


@dataclass(frozen=True, slots=True)
class Handshake:
    """A connection that was in its handshake when it was found."""

    number: int
    idle_since_s: float | None

    def evict(self) -> None:
        with suppress(OSError):
            connection = socket.socket(fileno=self.number)
            try:
                connection.shutdown(socket.SHUT_RDWR)
            finally:
                connection.detach()  # the event loop closes it


class Handshakes:
    """The handshakes of the listener on `port`. `clock_s` has the origin of the event loop's."""

    def __init__(
        self, port: Callable[[], int], *, file_limit: int, clock_s: Callable[[], float] = monotonic
    ) -> None:
        self._port = port
        self._clock_s = clock_s
        self._file_limit = file_limit
        self._done: dict[int, int] = {}  # the inode by number; bounded, as the numbers are
        self._found: dict[tuple[int, int], float] = {}
        self._not_before_s = 0.0

    def end(self, transport: asyncio.BaseTransport) -> None:
        """This handshake is done."""
        number = transport.get_extra_info("socket").fileno()
        self._done[number] = os.fstat(number).st_ino

    def find(self) -> Iterator[Handshake]:
        """The current ones; none if the last look is too recent."""
        now_s = self._clock_s()
        if now_s < self._not_before_s:
            return
        port = self._port()
        before, self._found = self._found, {}
        for number in range(self._file_limit):
            try:
                status = os.fstat(number)
            except OSError:
                continue
            if not stat.S_ISSOCK(status.st_mode) or self._done.get(number) == status.st_ino:
                continue
            key = number, status.st_ino
            if key in before or _is_client(number, port):
                self._found[key] = before.get(key, now_s)
        self._not_before_s = now_s + (1 + _PAUSE_PER_LOOK) * (self._clock_s() - now_s)
        for (number, _), since_s in self._found.items():
            yield Handshake(number, since_s)


def _is_client(number: int, port: int) -> bool:
    """Whether this socket is a connection that was accepted on the port."""
    try:
        connection = socket.socket(fileno=number)
    except OSError:
        return False
    try:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        connection.getpeername()  # a listener has none
        return int(connection.getsockname()[1]) == port
    except OSError:
        return False
    finally:
        connection.detach()
