"""Who may take the express lane: the gate's decision for plain requests, on sight.

Rules. No await and no trip. To the origin goes only what the whole gate would forward just so,
without a word to the visitor: a proven pass that is not yet due for renewal, or a path that falls
in no room. A GET that the gate answers itself is handed to `own`. Everything else returns None and
takes the long way, where the same decision is made again in full.

A browser says the same fields again and again and changes the path. So what a block of fields
came to is kept by its very bytes, once its visitor was let through; what can change from request
to request (the path's room, the pass's validity, the decision) is looked at each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network

from gatekeeper import metrics
from gatekeeper.config.schema import OriginConfig
from gatekeeper.config.types import RoomName
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import Pass
from gatekeeper.proxy import Client, ForwardContext
from gatekeeper.proxy.client import client_behind, is_trusted
from gatekeeper.proxy.context import Fields
from gatekeeper.proxy.fastpath.interface import GateExchange, OnResponse
from gatekeeper.proxy.fastpath.plain_head import METHOD, TARGET, PlainRequest, parse_plain_head
from gatekeeper.proxy.headers import plain_head
from gatekeeper.proxy.pool import authority_of
from gatekeeper.web.admission import Admission
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.endpoints import PREFIX, Endpoints, Visit
from gatekeeper.web.fastpath.exchanges import (
    PageExchange,
    ReadyResponse,
    StatusExchange,
    StreamExchange,
    facts_of_plain_head,
)
from gatekeeper.web.fastpath.head_cache import HeadCache, HeadEntry
from gatekeeper.web.handler import run_origin_command
from gatekeeper.web.message import RequestFacts
from gatekeeper.web.responses import Responses
from gatekeeper.web.stream import Streams

_PREFIX = PREFIX.encode()
_LINE = re.compile(rb"%b (?!%b)%b HTTP/1\.1" % (METHOD, re.escape(_PREFIX), TARGET))
# What is kept of a block is about as long again. A browser's has about 1 KB; one visitor who says
# new fields with each request can fill this, but not past 50 MB.
_MOST_KNOWN = 8192
_MOST_KNOWN_BYTES = 3072


@dataclass(frozen=True, slots=True)
class KnownForward:
    """What a block of fields came to, for the peer that sent it (a `Passage`)."""

    peer: str
    host: str
    room: RoomName | None
    visit: Visit | None
    passes: Callable[[], bool]  # whether the gate would still let it in without a word
    answered: OnResponse
    rest: bytes
    keep_alive: bool

    def command(self, command: str) -> Fields:
        if self.visit is None or self.visit.held.token is None:
            return ()
        return run_origin_command(command, self.visit, self.visit.held.token.visitor)


class FastPathLookup:
    """Looks at plain requests for the lane of one listener."""

    def __init__(
        self,
        *,
        router: Router,
        admissions: Mapping[RoomName, Admission],
        credentials: Mapping[RoomName, Credentials],
        origin: OriginConfig,
        endpoints: Endpoints,
        responses: Responses,
        streams: Streams,
        own_cookies: frozenset[str],
        trusted: Sequence[IPv4Network | IPv6Network],
        tls: bool,
    ) -> None:
        self._router = router
        self._admissions = admissions
        self._credentials = credentials
        self._endpoints = endpoints
        self._responses = responses
        self._streams = streams
        self._origin_host = authority_of(origin)
        self._preserve_host = origin.preserve_host
        self._own_cookies = own_cookies
        self._trusted = trusted
        self._tls = tls
        self._known: dict[bytes, KnownForward] = {}
        self._shapes = HeadCache()

    def recall(self, data: bytes, peer: str) -> KnownForward | None:
        """A block that is known ends with the empty line and holds no other: what is before it,
        if it is one request line, makes it one whole head."""
        line, _, block = data.partition(b"\r\n")
        known = self._known.get(block)
        if known is None or known.peer != peer or _LINE.fullmatch(line) is None:
            return None
        if self._router.only is None:
            target = line.split(b" ")[1].decode("ascii")
            if known.room != self._router.room_of(known.host, target):
                return None
        return known if known.passes() else None

    def look(self, head: bytes, peer: str) -> KnownForward | GateExchange | None:
        """Read the whole head, decide, and keep what came out if the request may pass."""
        trusted = self._believes(peer)
        if (recalled := self._shapes.recall(head, trusted=trusted)) is not None:
            shape, cookie = recalled
            asking = shape.visit(cookie)
            if shape.is_status or not isinstance(asking.held.token, Pass):
                return self._answering(shape, asking)
        request = parse_plain_head(head)
        if request is None:
            return None
        client = client_behind(
            peer,
            request.host.decode("ascii"),
            request.forwarded_values,
            trusted=self._trusted,
            tls=self._tls,
        )
        if request.target.startswith(_PREFIX):
            return self._own(head, request, client, trusted=trusted)
        secure = client.scheme == "https"
        room = self._router.room_of(client.host, request.target.decode("ascii"))
        if room is AMBIGUOUS:
            return None
        visit, visitor, passes = None, "", _ungated
        if room is not None:
            admission, credentials = self._admissions[room], self._credentials[room]
            cookies = (request.cookie or b"").decode("latin-1")
            token = credentials.read_cookie(cookies, secure=secure, now_s=admission.now_s())
            visit = Visit(admission, credentials, Held(token, by_header=False), secure)
            if not isinstance(token, Pass):
                return self._unadmitted(head, request, visit, trusted=trusted)
            if not admission.lets_pass(token):
                return None
            visitor, passes = token.visitor, partial(admission.lets_pass, token)
        crossing = ForwardContext(
            room=room or "", visitor=visitor, client=client, strip_cookies=self._own_cookies
        )
        origin_head = plain_head(
            request, crossing, origin_host=self._origin_host, preserve_host=self._preserve_host
        )
        block = head.partition(b"\r\n")[2]
        forwarded = KnownForward(
            peer=peer,
            host=client.host,
            room=room,
            visit=visit,
            passes=passes,
            answered=partial(metrics.forwarded.count, room or ""),
            rest=origin_head[len(head) - len(block) :],  # the request line is the client's own
            keep_alive=request.keep_alive,
        )
        if len(block) <= _MOST_KNOWN_BYTES:
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[block] = forwarded
        return forwarded

    def _own(
        self, head: bytes, request: PlainRequest, client: Client, *, trusted: bool
    ) -> GateExchange | None:
        """A request under the prefix, if it can be answered without aiohttp."""
        if request.method != "GET":
            return None
        facts = facts_of_plain_head(head, request)
        rest, _, query = request.target[len(_PREFIX) :].decode("ascii").partition("?")
        if rest == "status":
            visit = self._endpoints.visit(facts, query, client)
            if visit is None:
                return None
            return self._kept(head, request, facts, visit, trusted=trusted, is_status=True)
        response = self._endpoints.at_once(facts, rest)
        return None if response is None else ReadyResponse(response, keep_alive=request.keep_alive)

    def _unadmitted(
        self, head: bytes, request: PlainRequest, visit: Visit, *, trusted: bool
    ) -> GateExchange | None:
        """A request of one who holds no pass, and so may have to wait."""
        if request.method != "GET":
            return None
        facts = facts_of_plain_head(head, request)
        return self._kept(head, request, facts, visit, trusted=trusted, is_status=False)

    def _kept(
        self,
        head: bytes,
        request: PlainRequest,
        facts: RequestFacts,
        visit: Visit,
        *,
        trusted: bool,
        is_status: bool,
    ) -> GateExchange:
        shape = HeadEntry(
            facts=replace(facts, cookies=()),
            admission=visit.admission,
            credentials=visit.credentials,
            secure=visit.secure,
            keep_alive=request.keep_alive,
            is_status=is_status,
            wants_stream=is_status and self._streams.serve(visit.admission, facts),
        )
        self._shapes.keep(head, shape, trusted=trusted)
        return self._answering(shape, visit)

    def _answering(self, shape: HeadEntry, visit: Visit) -> GateExchange:
        if shape.wants_stream:
            return StreamExchange(
                self._endpoints, self._responses, self._streams, visit, keep_alive=shape.keep_alive
            )
        if shape.is_status:
            return StatusExchange(self._endpoints, visit, keep_alive=shape.keep_alive)
        return PageExchange(self._responses, shape.facts, visit, keep_alive=shape.keep_alive)

    def _believes(self, peer: str) -> bool:
        return bool(self._trusted) and is_trusted(peer, trusted=self._trusted)


def _ungated() -> bool:
    """What falls in no room passes."""
    return True
