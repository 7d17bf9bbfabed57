"""Who may take the express lane: the gate's decision for plain requests, on sight.

Rules. No await and no trip. To the origin goes only what the whole gate would forward just so,
without a word to the visitor: a proven pass that is not yet due for renewal, or a path that falls
in no room. A GET that the gate answers itself is handed to `own`. Everything else returns None and
takes the long way, where the same decision is made again in full.

A browser says the same fields again and again and changes the path. So what a block of fields
came to is kept by its very bytes, once its visitor was let through; what can change from request
to request (the path's room, the token's validity, the decision) is looked at each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from gatekeeper import metrics
from gatekeeper.config import OriginConfig, RoomName
from gatekeeper.policy.decision import Forward, decide
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import Pass, Token
from gatekeeper.proxy import Client, Crossing
from gatekeeper.proxy.client import client_behind
from gatekeeper.proxy.crossing import Fields
from gatekeeper.proxy.headers import plain_head
from gatekeeper.proxy.passage import Own
from gatekeeper.proxy.plain import REQUEST_LINE, PlainRequest, parse_plain
from gatekeeper.proxy.pool import authority_of
from gatekeeper.web.answers import Answers
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.endpoints import PREFIX, Endpoints, Visit
from gatekeeper.web.entrance import Entrance
from gatekeeper.web.gate import obey
from gatekeeper.web.own import AtOnce, Status, Waiting, asked_plainly

_PREFIX = PREFIX.encode()
# What is kept of a block is about as long again. A browser's has about 1 KB; one visitor who says
# new fields with each request can fill this, but not past 50 MB.
_MOST_KNOWN = 8192
_MOST_KNOWN_BYTES = 3072


@dataclass(frozen=True, slots=True)
class _Known:
    """What a block of fields came to, for the peer that sent it."""

    peer: str
    host: str
    room: RoomName | None
    token: str  # the value of the cookie that holds the pass
    secure: bool
    keep_alive: bool
    rest: bytes  # of the origin's head, after the request line


@dataclass(slots=True)
class Forwarded:
    """A plain request that passes (a `Passage`)."""

    head: bytes
    method: str
    keep_alive: bool
    room: str
    visit: Visit | None

    def command(self, command: str) -> Fields:
        if self.visit is None or self.visit.held.token is None:
            return ()
        return obey(command, self.visit, self.visit.held.token.visitor)

    def answered(self, status: int, origin_seconds: float) -> None:
        metrics.forwarded.count(self.room, status, seconds=origin_seconds)


class ExpressAdmission:
    """Looks at plain requests for the lane of one listener."""

    def __init__(
        self,
        *,
        router: Router,
        entrances: Mapping[RoomName, Entrance],
        credentials: Mapping[RoomName, Credentials],
        origin: OriginConfig,
        endpoints: Endpoints,
        answers: Answers,
        own_cookies: frozenset[str],
        trusted: Sequence[IPv4Network | IPv6Network],
        tls: bool,
    ) -> None:
        self._router = router
        self._entrances = entrances
        self._credentials = credentials
        self._endpoints = endpoints
        self._answers = answers
        self._origin_host = authority_of(origin)
        self._preserve_host = origin.preserve_host
        self._own_cookies = own_cookies
        self._trusted = trusted
        self._tls = tls
        self._known: dict[bytes, _Known] = {}

    def __call__(self, head: bytes, peer: str) -> Forwarded | Own | None:
        end = head.find(b"\r\n") + 2
        line, block = head[:end], head[end:]
        known = self._known.get(block)
        if known is None or known.peer != peer:
            return self._look(head, block, peer)
        match = REQUEST_LINE.fullmatch(line)
        if match is None:
            return None
        if match[2].startswith(_PREFIX):
            return self._look(head, block, peer)
        if known.room != self._router.room_of(known.host, match[2].decode("ascii")):
            return self._look(head, block, peer)
        visit = None
        if known.room is not None:
            token = self._credentials[known.room].read_value(
                known.token, now_s=self._entrances[known.room].now_s()
            )
            visit = self._visit(known.room, token, secure=known.secure)
            if visit is None:
                del self._known[block]
                return None
        method = "GET" if match[1] == b"GET" else "HEAD"
        return Forwarded(line + known.rest, method, known.keep_alive, known.room or "", visit)

    def _look(self, head: bytes, block: bytes, peer: str) -> Forwarded | Own | None:
        """Read the whole head, decide, and keep what came out if the request may pass."""
        request = parse_plain(head)
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
            return self._own(head, request, client)
        secure = client.scheme == "https"
        room = self._router.room_of(client.host, request.target.decode("ascii"))
        if room is AMBIGUOUS:
            return None
        value, visit, visitor = "", None, ""
        if room is not None:
            cookies = (request.cookie or b"").decode("latin-1")
            now_s = self._entrances[room].now_s()
            found = self._credentials[room].find(cookies, secure=secure, now_s=now_s)
            value, token = ("", None) if found is None else found
            visit = self._visit(room, token, secure=secure)
            if token is None or visit is None:
                return self._unadmitted(head, request, room, token=token, secure=secure)
            visitor = token.visitor
        crossing = Crossing(
            room=room or "", visitor=visitor, client=client, strip_cookies=self._own_cookies
        )
        origin_head = plain_head(
            request, crossing, origin_host=self._origin_host, preserve_host=self._preserve_host
        )
        rest = origin_head[len(head) - len(block) :]  # the request line is the client's own
        known = _Known(peer, client.host, room, value, secure, request.keep_alive, rest)
        if len(block) <= _MOST_KNOWN_BYTES:
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[block] = known
        return Forwarded(origin_head, request.method, request.keep_alive, room or "", visit)

    def _own(self, head: bytes, request: PlainRequest, client: Client) -> Own | None:
        """A request under the prefix, if it can be answered without aiohttp."""
        if request.method != "GET":
            return None
        asked = asked_plainly(head, request)
        rest, _, query = request.target[len(_PREFIX) :].decode("ascii").partition("?")
        if rest == "status":
            visit = self._endpoints.visit(asked, query, client)
            if visit is None:
                return None
            return Status(self._endpoints, visit, keep_alive=request.keep_alive)
        reply = self._endpoints.at_once(asked, rest)
        return None if reply is None else AtOnce(reply, keep_alive=request.keep_alive)

    def _unadmitted(
        self,
        head: bytes,
        request: PlainRequest,
        room: RoomName,
        *,
        token: Token | None,
        secure: bool,
    ) -> Own | None:
        """A request of one who holds no pass, and so may have to wait."""
        if request.method != "GET" or isinstance(token, Pass):
            return None
        held = Held(token, by_header=False)
        visit = Visit(self._entrances[room], self._credentials[room], held, secure)
        asked = asked_plainly(head, request)
        return Waiting(self._answers, asked, visit, keep_alive=request.keep_alive)

    def _visit(self, room: RoomName, token: Token | None, *, secure: bool) -> Visit | None:
        """The visit of one who may pass without a word; None: not on sight."""
        entrance = self._entrances[room]
        decision = decide(
            token,
            entrance.room.view.decisive,
            rules=entrance.room.rules,
            now_s=entrance.now_s(),
        )
        if not isinstance(decision, Forward) or decision.renew:
            return None
        held = Held(token, by_header=False)
        return Visit(entrance, self._credentials[room], held, secure)
