"""Which way a request takes: past the gate, into a room, or to an error.

Rules. Pure: `Router.route(facts)` reads nothing else. Rules come first, in order, then rooms: by host,
then by the longest path prefix. A path is matched as it came *and* as an origin could understand it
(percent-decoded, dot segments resolved), so that no other spelling leads around a room. A path that
could be read into two rooms is rejected: the laxer room must not open the stricter one.

Every route declares the facts that it depended on (`reads`). A route is the same for all requests that
agree in these facts, so a cache may keep it only under a key that holds all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.access import AccessRule, RequestReadings
from gatekeeper.policy.facts import Client, Fact, FactSet, RequestFacts
from gatekeeper.policy.readings import host_labels, labels_match


@dataclass(frozen=True, slots=True)
class Bypassed:
    """To the origin by this rule: uncounted, without a token and without a store call."""

    rule: str
    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Refused by this rule."""

    rule: str
    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class Ungated:
    """In no room: the operator named the rooms, and everything else is forwarded."""

    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class InRoom:
    """In this room, which decides."""

    room: RoomName
    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An error of the request."""

    status: int
    reason: str
    reads: FactSet = field(default=Fact.NONE, compare=False)


Route = Bypassed | Blocked | Ungated | InRoom | Rejected


class Router:
    """The rules and rooms of one site."""

    def __init__(self, rooms: Iterable[RoomConfig], rules: Iterable[AccessRule] = ()) -> None:
        # A room with a host is more specific than one for any host, a literal label more than *.
        self._rooms = [
            (None if room.host is None else host_labels(room.host), room.path, room.name)
            for room in sorted(rooms, key=_specificity, reverse=True)
        ]
        self.rules = tuple(rules)
        # The common case, one room for everything, needs no look at host or path.
        self._only: RoomName | None = None
        if len(self._rooms) == 1 and self._rooms[0][:2] == (None, "/"):
            self._only = self._rooms[0][2]
        self._room_reads: FactSet = Fact.NONE
        if self._only is None and self._rooms:
            self._room_reads = Fact.HOST | Fact.TARGET
        self.reads = self._room_reads  # the facts that any route can depend on
        for rule in self.rules:
            self.reads |= rule.reads

    def route(
        self, facts: RequestFacts, *, method: str | None = None, target: str | None = None
    ) -> Route:
        """The route of a request; of the same request with another method and target, if given."""
        request = RequestReadings(facts, method=method, target=target)
        reads: FactSet = Fact.NONE
        for rule in self.rules:
            holds, read = self.evaluate(rule, request)
            reads |= read
            if not holds:
                continue
            match rule.action:
                case "bypass":
                    return Bypassed(rule.name, reads)
                case "block":
                    return Blocked(rule.name, reads)
                case "queue":
                    break
        reads |= self._room_reads
        rooms = self.rooms_of(request) - {None}
        if len(rooms) > 1:
            return Rejected(400, "the path can be read in two ways", reads)
        room = rooms.pop() if rooms else None
        return Ungated(reads) if room is None else InRoom(room, reads)

    def room_of(self, host: str, path: str) -> RoomName | None:
        """The one room of this host (with or without a port) and path."""
        facts = RequestFacts(Client("", "", host), "GET", path)
        rooms = self.rooms_of(RequestReadings(facts)) - {None}
        return rooms.pop() if len(rooms) == 1 else None

    def evaluate(self, rule: AccessRule, request: RequestReadings) -> tuple[bool, FactSet]:
        """Whether a rule holds, and the facts that were read to find out."""
        if rule.room is None:
            return rule.evaluate(request)
        rooms = self.rooms_of(request)
        if rule.room not in rooms or (rule.action == "bypass" and len(rooms) > 1):
            return False, self._room_reads
        holds, reads = rule.evaluate(request)
        return holds, reads | self._room_reads

    def rooms_of(self, request: RequestReadings) -> set[RoomName | None]:
        """The rooms that the readings of a path fall in; None for a reading in no room."""
        if self._only is not None:
            return {self._only}
        labels = host_labels(request.facts.client.host)
        return {self._match(labels, path) for path in request.paths}

    def _match(self, labels: tuple[str, ...], path: str) -> RoomName | None:
        for pattern, prefix, name in self._rooms:
            if (pattern is None or labels_match(pattern, labels)) and _path_matches(prefix, path):
                return name
        return None


def _specificity(room: RoomConfig) -> tuple[bool, int, int]:
    literals = sum(label != "*" for label in (room.host or "").split("."))
    return (room.host is not None, literals if room.host else 0, len(room.path))


def _path_matches(prefix: str, path: str) -> bool:
    # "/checkout/" also covers "/checkout", which origins answer with a redirect or the same page.
    return path.startswith(prefix) or (prefix.endswith("/") and path == prefix[:-1])
