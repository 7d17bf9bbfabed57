"""Which room a request falls in: by host, then by the longest path prefix.

Rules. No I/O. A request that falls in no room is not gated: the caller gets `None` and must name
that case. A path is matched as it came *and* as an origin could understand it (percent-decoded,
dot segments resolved): nobody walks around a room by spelling its path differently. One that could
be read into two rooms is AMBIGUOUS, and refused: the laxer room must not open the stricter one.
What is forwarded stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from posixpath import normpath
from typing import Final
from urllib.parse import unquote

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName

_PLAIN = re.compile(r"(/[A-Za-z0-9_~-]+)*/?")  # has one reading only
_SLASHES = re.compile(r"/{2,}")
_DECODE_ROUNDS = 2  # an origin behind another proxy may decode twice


class Ambiguous(Enum):
    """Could be read into two rooms."""

    AMBIGUOUS = "ambiguous"


AMBIGUOUS: Final = Ambiguous.AMBIGUOUS


def path_readings(path: str) -> Iterator[str]:
    """The path as it came, without its query, and as an origin could read it.

    That `//` is `/` is no second reading: sloppy links have it, and no origin tells them apart.
    """
    reading = _SLASHES.sub("/", path.partition("?")[0].partition("#")[0])
    yield reading
    if _PLAIN.fullmatch(reading):
        return
    for _ in range(_DECODE_ROUNDS):
        reading = unquote(reading, errors="replace").replace("\\", "/")
        # RFC 3986 section 3.3: parameters of a segment; some servers drop them before matching.
        plain = "/".join(segment.partition(";")[0] for segment in reading.split("/"))
        resolved = "/" + normpath("/" + plain).lstrip("/")
        yield resolved + "/" if plain.endswith("/") and resolved != "/" else resolved


class Router:
    """Rooms of one site."""

    def __init__(self, rooms: Iterable[RoomConfig]) -> None:
        # A room with a host is more specific than one for any host, a literal label more than *.
        self._rooms = [
            (_labels(room.host), room.path, room.name)
            for room in sorted(rooms, key=_specificity, reverse=True)
        ]
        # The common case, one room for everything, needs no look at host or path.
        self.only: RoomName | None = None
        if len(self._rooms) == 1 and self._rooms[0][:2] == (None, "/"):
            self.only = self._rooms[0][2]

    def room_of(self, host: str, path: str) -> RoomName | Ambiguous | None:
        """The room for this host (with or without a port) and path; None: not gated."""
        if self.only is not None:
            return self.only
        labels = _labels(_without_port(host))
        readings = dict.fromkeys(path_readings(path))
        rooms = {self._match(labels, reading) for reading in readings} - {None}
        if len(rooms) > 1:
            return AMBIGUOUS
        return rooms.pop() if rooms else None

    def _match(self, labels: tuple[str, ...] | None, path: str) -> RoomName | None:
        for pattern, prefix, name in self._rooms:
            if _host_matches(pattern, labels) and _path_matches(prefix, path):
                return name
        return None


def _specificity(room: RoomConfig) -> tuple[bool, int, int]:
    literals = sum(label != "*" for label in (room.host or "").split("."))
    return (room.host is not None, literals if room.host else 0, len(room.path))


def _labels(host: str | None) -> tuple[str, ...] | None:
    return None if host is None else tuple(host.lower().rstrip(".").split("."))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _host_matches(pattern: tuple[str, ...] | None, labels: tuple[str, ...] | None) -> bool:
    if pattern is None:
        return True
    if labels is None or len(pattern) != len(labels):
        return False
    return all(want in ("*", have) for want, have in zip(pattern, labels, strict=True))


def _path_matches(prefix: str, path: str) -> bool:
    # "/checkout/" also covers "/checkout", which origins answer with a redirect or the same page.
    return path.startswith(prefix) or (prefix.endswith("/") and path == prefix[:-1])
