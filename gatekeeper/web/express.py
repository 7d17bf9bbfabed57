"""Who may take the express lane: the gate's decision for plain requests, on sight.

Rules. No await and no trip. Only what the whole gate would forward just so, without a word to the
visitor: a proven pass that is not yet due for renewal, or a path that falls in no room. Everything
else returns None and takes the long way, where the same decision is made again in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from gatekeeper import metrics
from gatekeeper.config import OriginConfig, RoomName
from gatekeeper.policy.decision import Forward, decide
from gatekeeper.policy.routing import AMBIGUOUS, Router
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.proxy import Client, Crossing
from gatekeeper.proxy.client import client_behind
from gatekeeper.proxy.crossing import Fields
from gatekeeper.proxy.express import Passage
from gatekeeper.proxy.headers import plain_head
from gatekeeper.proxy.plain import PlainRequest
from gatekeeper.proxy.pool import authority_of
from gatekeeper.web.credentials import Credentials, Held
from gatekeeper.web.endpoints import PREFIX, Visit
from gatekeeper.web.entrance import Entrance
from gatekeeper.web.gate import obey

_PREFIX = PREFIX.encode()


@dataclass(slots=True)
class Forwarded:
    """A plain request that passes (a `Passage`)."""

    head: bytes
    room: str
    visit: Visit | None
    visitor: VisitorId | None

    def command(self, command: str) -> Fields:
        if self.visit is None or self.visitor is None:
            return ()
        return obey(command, self.visit, self.visitor)

    def answered(self, origin_seconds: float) -> None:
        metrics.forwarded.count(self.room, origin_seconds)


class ExpressAdmission:
    """Looks at plain requests for the lane of one listener."""

    def __init__(
        self,
        *,
        router: Router,
        entrances: Mapping[RoomName, Entrance],
        credentials: Mapping[RoomName, Credentials],
        origin: OriginConfig,
        own_cookies: frozenset[str],
        trusted: Sequence[IPv4Network | IPv6Network],
        tls: bool,
    ) -> None:
        self._router = router
        self._entrances = entrances
        self._credentials = credentials
        self._origin_host = authority_of(origin)
        self._preserve_host = origin.preserve_host
        self._own_cookies = own_cookies
        self._trusted = trusted
        self._tls = tls

    def __call__(self, request: PlainRequest, peer: str) -> Passage | None:
        if request.target.startswith(_PREFIX):
            return None
        client = client_behind(
            peer,
            request.host.decode("ascii"),
            request.forwarded_values,
            trusted=self._trusted,
            tls=self._tls,
        )
        room = self._router.room_of(client.host, request.target.decode("ascii"))
        if room is AMBIGUOUS:
            return None
        if room is None:
            return Forwarded(self._head(request, client, "", ""), "", None, None)
        entrance, credentials = self._entrances[room], self._credentials[room]
        secure, now_s = client.scheme == "https", entrance.now_s()
        if request.cookie is None:
            return None
        token = credentials.read_cookie(
            request.cookie.decode("latin-1"), secure=secure, now_s=now_s
        )
        view, rules = entrance.room.view.decisive, entrance.room.rules
        decision = decide(token, view, rules=rules, now_s=now_s)
        if not isinstance(decision, Forward) or decision.renew:
            return None
        visitor = decision.pass_.visitor
        visit = Visit(entrance, credentials, Held(token, by_header=False), secure)
        return Forwarded(self._head(request, client, room, visitor), room, visit, visitor)

    def _head(self, request: PlainRequest, client: Client, room: str, visitor: str) -> bytes:
        crossing = Crossing(
            room=room, visitor=visitor, client=client, strip_cookies=self._own_cookies
        )
        return plain_head(
            request,
            crossing,
            origin_host=self._origin_host,
            preserve_host=self._preserve_host,
        )
