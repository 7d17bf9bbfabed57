"""A lookup of the fast path with the test's rooms and rules, and its results."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from gatekeeper.config.patterns import NetworkSet
from gatekeeper.config.schema import OriginConfig, RoomConfig
from gatekeeper.config.types import RoomName
from gatekeeper.pages.renderer import Pages
from gatekeeper.policy.access import (
    AccessRule,
    ClientCondition,
    Condition,
    PathCondition,
)
from gatekeeper.policy.routing import Route, Router
from gatekeeper.policy.rules import Rules
from gatekeeper.policy.tokens import Keyring, Pass, Tokens, VisitorId
from gatekeeper.room.event_bus import NoEvents
from gatekeeper.room.replica import RoomReplica
from gatekeeper.room.store import RedisStore
from gatekeeper.web.admission import Admission
from gatekeeper.web.credentials import Credentials, all_cookie_names
from gatekeeper.web.endpoints import Endpoints
from gatekeeper.web.facts_reader import FactsReader
from gatekeeper.web.fastpath.known_forwards import KnownForward, VariedForward
from gatekeeper.web.fastpath.lookup import FastPathLookup
from gatekeeper.web.pipeline import Pipeline, Visit
from gatekeeper.web.responses import Responses
from gatekeeper.web.room_gate import RoomGate
from gatekeeper.web.stream import Streams

SECRET = b"a secret of the tests, longer than 32 bytes"
DAY_S = 86_400.0  # `make fuzz` takes hours
KEYRING = Keyring([SECRET])
TRUSTED_PEER, PEER, OTHER_PEER = "127.0.0.1", "192.0.2.7", "198.51.100.7"
RESPONSES = Responses(Pages())
ONE_ROOM = (RoomConfig(rate=0),)
ROOMS = (
    RoomConfig(),
    RoomConfig(name=RoomName("checkout"), path=("/free/checkout/",)),
    RoomConfig(name=RoomName("tickets"), host=("tickets.example",)),
)

NAMED_ROOM = (RoomConfig(name=RoomName("checkout"), path=("/secret",)),)


def cookie(
    room: str, *, visitor: str = "A" * 22, life_s: float = DAY_S, issued_ago_s: float = -DAY_S
) -> str:
    """A cookie with a pass of `visitor`, by default not due for renewal."""
    now_s = time.time()
    pass_ = Pass(
        room=RoomName(room),
        visitor=VisitorId(visitor),
        arrival_us=round(now_s * 1e6),
        issued_at_s=now_s - issued_ago_s,
        expires_at_s=now_s + life_s,
        ends_at_s=now_s + life_s,
    )
    name = "gatekeeper" if room == "default" else f"gatekeeper-{room}"
    return f"{name}={Tokens(KEYRING, pass_.room).mint(pass_)}"


PASSES = {room: cookie(room) for room in ("default", "checkout", "tickets")}
PASS_FIELD = f"Cookie: {PASSES['default']}"


def gate_of(room: RoomConfig) -> RoomGate:
    store = RedisStore("redis://127.0.0.1:1", timeout_s=1)  # never connected
    replica = RoomReplica(store, NoEvents(), Rules.of(room), replica="test")
    tokens = Tokens(KEYRING, room.name)
    return RoomGate(
        Admission(replica, room), Credentials(tokens, cookie="gatekeeper", room=room.name)
    )


GATES = {room.name: gate_of(room) for room in (*ROOMS, *NAMED_ROOM)}


def lookup(rooms: Sequence[RoomConfig], rules: Sequence[AccessRule] = ()) -> FastPathLookup:
    pipeline = Pipeline(Router(rooms, rules), GATES)
    return FastPathLookup(
        pipeline=pipeline,
        facts=FactsReader(trusted=[ip_network("127.0.0.0/8")], tls=False),
        origin=OriginConfig(),
        endpoints=Endpoints(pipeline, RESPONSES),
        responses=RESPONSES,
        streams=Streams([]),
        own_cookies=all_cookie_names("gatekeeper", GATES),
    )


def head(target: str, *fields: str, method: str = "GET", host: str = "shop.example") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return "\r\n".join(lines).encode()


@dataclass(frozen=True)
class Exit:
    """The outcome of a request: the path it takes, its route, and the head for the origin."""

    way: str
    route: Route | None = None
    origin_head: bytes = b""
    creates_place: bool = False


def exit_of(looked: FastPathLookup, data: bytes, peer: str) -> Exit:
    found = looked.recall(data, peer) or looked.resolve(data, peer)
    match found:
        case KnownForward():
            return Exit("forward", found.visit.route, found.rest)
        case VariedForward(known=known):
            return Exit("forward", known.visit.route, found.rest)
        case partial():
            visit = next((each for each in found.args if isinstance(each, Visit)), None)
            if visit is None:
                return Exit(found.func.__name__)
            return Exit(found.func.__name__, visit.route, creates_place=visit.creates_place)
        case None:
            return Exit("aiohttp")


def client(network: str) -> ClientCondition:
    return ClientCondition(NetworkSet([ip_network(network)]))


def bypass(*conditions: Condition) -> AccessRule:
    return AccessRule("free", "bypass", conditions)


def block(*conditions: Condition) -> AccessRule:
    return AccessRule("closed", "block", (*conditions, PathCondition(("/secret",))))
