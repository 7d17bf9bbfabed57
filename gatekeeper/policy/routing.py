"""The route of a request: past the gate, into a room, or to an error.

Rules. Pure: `Router.route(facts)` reads nothing else. Rules come first, in order, then rooms: by
host, then by a parameter of the query, then by the longest path prefix. The original path is
matched *and* all its readings by origins (percent-decoded, dot segments resolved), so that no other
spelling bypasses a room. A path whose readings are in two rooms is rejected: the laxer room must
not open the stricter one.

Every route declares the facts that it depended on (`reads`). A route is the same for all requests
that agree in these facts, so a cache may store it only under a key that contains all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gatekeeper.config.schema import RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.errors import N_
from gatekeeper.policy.access import (
    AccessRule,
    ClientCondition,
    Condition,
    NamedValue,
)
from gatekeeper.policy.facts import Client, Fact, FactSet, RequestFacts
from gatekeeper.policy.methods import MethodCondition
from gatekeeper.policy.parameters import TooManyValues
from gatekeeper.policy.readings import (
    TooManyReadings,
    decoded_path,
    host_labels,
    labels_match,
)
from gatekeeper.policy.request_readings import RequestReadings

_SEVERAL_READINGS = N_("The address can be read in more than one way.")
_MALFORMED = N_("The request is malformed.")
UNKNOWN_HOST = N_("This host is not served here.")


@dataclass(frozen=True, slots=True)
class Bypassed:
    """Forwarded to the origin by this rule: uncounted, without a token and without a store call."""

    rule: str
    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Refused by this rule."""

    rule: str
    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class Ungated:
    """In no room: requests outside of the configured rooms are forwarded."""

    reads: FactSet = field(default=Fact.NONE, compare=False)


@dataclass(frozen=True, slots=True)
class InRoom:
    """In this room, which decides; `rule` is the `queue` rule of the route, if any."""

    room: RoomName
    reads: FactSet = field(default=Fact.NONE, compare=False)
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An error of the request."""

    status: int
    reason: str
    reads: FactSet = field(default=Fact.NONE, compare=False)


Route = Bypassed | Blocked | Ungated | InRoom | Rejected


def rule_of(route: Route) -> str | None:
    """The rule that decided this route."""
    return route.rule if isinstance(route, Bypassed | Blocked | InRoom) else None


@dataclass(frozen=True, slots=True)
class _Place:
    """One place of a room on the site: a host, a path prefix, and a parameter."""

    room: RoomName
    labels: tuple[str, ...] | None  # None: any host
    prefix: str
    ignore_case: bool
    parameter: NamedValue | None

    @property
    def specificity(self) -> tuple[bool, int, bool, int]:
        """A host is more specific than any host, a literal label than `*`, a parameter than none,
        and a long path than a short one."""
        labels = self.labels or ()
        literals = sum(label != "*" for label in labels)
        return (bool(labels), literals, self.parameter is not None, len(self.prefix))

    def may_cover(self, request: RequestReadings) -> bool:
        """Whether host and parameter of the request match, regardless of the path."""
        if self.labels is not None and not labels_match(self.labels, request.labels):
            return False
        return self.parameter is None or self.parameter.is_parameter_of(request)

    def has_path(self, path: str, lowered: str) -> bool:
        """Whether this place contains a reading of the path, also given in lower case."""
        path = lowered if self.ignore_case else path
        # "/checkout/" also covers "/checkout": origins redirect it, or serve the same page.
        prefix = self.prefix
        return path.startswith(prefix) or (len(path) + 1 == len(prefix) and prefix == path + "/")


class Router:
    """The rules and rooms of one site."""

    def __init__(self, rooms: Iterable[RoomConfig], rules: Iterable[AccessRule] = ()) -> None:
        places = [place for room in rooms for place in _places(room)]
        self._places = sorted(places, key=lambda place: place.specificity, reverse=True)
        self.rules = tuple(rules)
        # In the common case, one room for everything, host and path need not be read.
        self.only_room: RoomName | None = None
        if len(places) == 1 and not any(places[0].specificity[:3]) and places[0].prefix == "/":
            self.only_room = places[0].room
        self._parameters = [each.parameter for each in places if each.parameter is not None]
        self._names_every_host = bool(places) and all(place.labels for place in places)
        self._endpoint_rules = tuple(_rules_of_endpoints(self.rules))
        self._shared_addresses = tuple(_rules_of_shared_addresses(self.rules))
        self._room_reads: FactSet = Fact.NONE
        if self.only_room is None and places:
            self._room_reads = Fact.HOST | Fact.TARGET
        self.reads = self._room_reads  # the facts that any route can depend on
        for rule in self.rules:
            self.reads |= rule.reads

    @property
    def deciding_prefixes(self) -> tuple[str, ...]:
        """The prefixes of all targets for which the request line of a GET or HEAD can decide the
        route. For all other targets, only the other facts decide."""
        if self._room_reads & Fact.TARGET:
            return ("/",)
        return tuple(prefix for rule in self.rules for prefix in rule.deciding_prefixes)

    def route(
        self, facts: RequestFacts, *, method: str | None = None, target: str | None = None
    ) -> Route:
        """The route of a request, optionally with another method and target."""
        try:
            return self._route(RequestReadings(facts, method=method, target=target))
        except TooManyReadings as error:
            return _rejected(error, self.reads)

    def _route(self, request: RequestReadings) -> Route:
        reads: FactSet = Fact.NONE
        queued_by: str | None = None
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
                    queued_by = rule.name
                    break
        reads |= self._room_reads
        if self._names_every_host and not self._knows_host(request.labels):
            return Rejected(421, UNKNOWN_HOST, reads)
        rooms = set(self.rooms_of(request)) - {None}
        if len(rooms) > 1:
            return Rejected(400, _SEVERAL_READINGS, reads)
        room = rooms.pop() if rooms else None
        return Ungated(reads) if room is None else InRoom(room, reads, queued_by)

    def route_of_endpoint(self, facts: RequestFacts, room: RoomName) -> InRoom | Blocked | Rejected:
        """The route of a request to one of the gate's own endpoints, which names this room. An
        unknown host is refused as on the site. `block` rules apply as on the site. Conditions on
        path and query are about the site: a block with them does not apply here, but an exception
        from a later block with them does, since its visitors poll here. A `bypass` is an exception
        only without such conditions."""
        reads: FactSet = Fact.NONE
        request = RequestReadings(facts)
        if self._names_every_host and not self._knows_host(request.labels):
            return Rejected(421, UNKNOWN_HOST, Fact.HOST)
        for rule in self._endpoint_rules:
            if rule.room not in (None, room):
                continue
            try:
                holds, read = rule.evaluate(request)
            except TooManyReadings as error:
                return _rejected(error, self.reads)
            reads |= read
            if holds:
                return Blocked(rule.name, reads) if rule.action == "block" else InRoom(room, reads)
        return InRoom(room, reads)

    def is_from_shared_address(self, facts: RequestFacts, room: RoomName) -> bool:
        """Whether a `queue` rule with `client` holds, by which operators declare an address that
        many people share. Conditions on method, path and query are about the site and are ignored,
        so that the result is the same at each endpoint; so is the order of rules."""
        request = RequestReadings(facts)
        try:
            return any(
                rule.room in (None, room) and rule.evaluate(request)[0]
                for rule in self._shared_addresses
            )
        except TooManyReadings:
            return False

    def room_of(self, host: str, path: str) -> RoomName | None:
        """The one room of this host (with or without a port) and path."""
        facts = RequestFacts(Client("", "", host), "GET", path)
        try:
            rooms = self.rooms_of(RequestReadings(facts)) - {None}
        except TooManyReadings:
            return None
        return rooms.pop() if len(rooms) == 1 else None

    def evaluate(self, rule: AccessRule, request: RequestReadings) -> tuple[bool, FactSet]:
        """Whether a rule holds, and the facts that were read for it. Some rules yield to the
        parameter of a room."""
        if rule.room is None:
            holds, reads = rule.evaluate(request)
            if holds and rule.yields_to_parameters and self._has_parameter(request):
                holds = False
            return holds, reads
        rooms = self.rooms_of(request)
        if rule.room not in rooms or (rule.action == "bypass" and not self._is_certain(request)):
            return False, self._room_reads
        holds, reads = rule.evaluate(request)
        return holds, reads | self._room_reads

    def _has_parameter(self, request: RequestReadings) -> bool:
        return any(parameter.is_parameter_of(request) for parameter in self._parameters)

    def rooms_of(self, request: RequestReadings) -> set[RoomName | None]:
        """The rooms of the readings of a path; None for a reading in no room."""
        if self.only_room is not None:
            return {self.only_room}
        if request.rooms is None:
            request.rooms = self._rooms_at(request, request.paths)
            if request.rooms == {None}:
                request.rooms |= self._rooms_at(request, request.paths_beyond_authority)
        return request.rooms

    def _is_certain(self, request: RequestReadings) -> bool:
        """Whether all readings of a path are in one room, and the path is not ambiguous."""
        if self.only_room is not None:
            return True
        return len(self.rooms_of(request)) == 1 and not request.readings.is_ambiguous

    def _rooms_at(self, request: RequestReadings, paths: Iterable[str]) -> set[RoomName | None]:
        """The rooms of these readings of a path, each by the first place that covers it."""
        places = [place for place in self._places if place.may_cover(request)]
        return {
            next((place.room for place in places if place.has_path(path, lowered)), None)
            for path, lowered in [(path, path.lower()) for path in paths]
        }

    def _knows_host(self, labels: tuple[str, ...]) -> bool:
        return any(place.labels and labels_match(place.labels, labels) for place in self._places)


def _rejected(error: TooManyReadings, reads: FactSet) -> Rejected:
    reason = _MALFORMED if isinstance(error, TooManyValues) else _SEVERAL_READINGS
    return Rejected(400, reason, reads)


def _rules_of_endpoints(rules: Sequence[AccessRule]) -> Iterable[AccessRule]:
    """The rules for requests to the gate's own endpoints: those up to the last block; none without
    a block."""
    kept: list[AccessRule] = []
    for rule in rules:
        conditions = tuple(each for each in rule.conditions if not _is_of_site(each))
        is_of_site = len(conditions) < len(rule.conditions)
        if rule.action == "queue" or not is_of_site:
            kept.append(replace(rule, conditions=conditions))
        if rule.action == "block" and not is_of_site:
            yield from kept
            kept.clear()


def _rules_of_shared_addresses(rules: Sequence[AccessRule]) -> Iterable[AccessRule]:
    """The `queue` rules with a client. An exemption loosens, so every reading of their conditions
    has to match, as for a bypass."""
    for rule in rules:
        if rule.action == "queue" and any(isinstance(e, ClientCondition) for e in rule.conditions):
            conditions = tuple(
                each
                for each in rule.conditions
                if not isinstance(each, MethodCondition) and not _is_of_site(each)
            )
            yield replace(rule, action="bypass", conditions=conditions)


def _is_of_site(condition: Condition) -> bool:
    """Whether a condition is about the path or query, which differ at an endpoint."""
    return condition.reads == Fact.TARGET


def _places(room: RoomConfig) -> Iterable[_Place]:
    """The places of a room. A path with percent-encoding has two, since the readings of a request's
    path are encoded and decoded."""
    paths = dict.fromkeys(each for path in room.path for each in (path, decoded_path(path)))
    for host in room.host or (None,):
        for path in paths:
            yield _Place(
                room=room.name,
                labels=None if host is None else host_labels(host),
                prefix=path.lower() if room.ignore_case else path,
                ignore_case=room.ignore_case,
                parameter=NamedValue.of(room.query) if room.query else None,
            )
