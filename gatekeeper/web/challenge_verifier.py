"""Verifies a proof by the API of the challenge's provider, Turnstile or hCaptcha.

Rules. Each proof confirms one place: the provider accepts a response once. A repeated call for the
same visitor has the same idempotency key, so that a proof survives a lost reply, and a proof that
another visitor sends is a duplicate. Bounded: the calls in flight, one per visitor, a timeout, and
the size of the reply. Only an exact success counts. Redirects are not followed. The secret and the
proof are never logged.

Calls are shared fairly: an address, and a /32 of IPv6, has at most as many calls in flight as are
free. So a single source uses at most half of them. A malformed proof costs no call.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import aiohttp
import orjson
import structlog

from gatekeeper.policy.readings import host_labels, labels_match
from gatekeeper.policy.tokens import VisitorId
from gatekeeper.web.address_limit import source_of

Reply = Literal["solved", "refused", "unreachable", "busy"]

MAX_CALLS: Final = 100  # in flight, per worker
TIMEOUT_S: Final = 5.0
MAX_REPLY_BYTES: Final = 16_384
ACTION: Final = "gatekeeper"  # of our Turnstile widget
# Turnstile's own limit; hCaptcha's responses have one to two thousand characters.
_MAX_CHARACTERS: Final = {"turnstile": 2_048, "hcaptcha": 8_192}
_RESPONSE: Final = re.compile(r"[\x20-\x7e]+")
_URLS: Final = {
    "turnstile": "https://challenges.cloudflare.com/turnstile/v0/siteverify",
    "hcaptcha": "https://api.hcaptcha.com/siteverify",
}
# Faults of the provider or of our configuration, which no client can cause.
_NO_FAULT_OF_THE_CLIENT: Final = frozenset(
    {"internal-error", "missing-input-secret", "invalid-input-secret"}
)

log = structlog.get_logger()


class Proof(NamedTuple):
    """The response of a visitor's widget. `url`: the verifier; "" is the provider's own. `hosts`:
    the hosts of the room, where the widget may be; empty: only the provider knows them."""

    provider: Literal["turnstile", "hcaptcha"]
    url: str
    secret: str
    site_key: str
    response: str
    visitor: VisitorId
    address: str  # the client's
    hosts: tuple[str, ...] = ()

    @property
    def is_well_formed(self) -> bool:
        """Whether the response has the format of the provider's."""
        is_short = len(self.response) <= _MAX_CHARACTERS[self.provider]
        return is_short and _RESPONSE.fullmatch(self.response) is not None

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for the same proof of the same visitor."""
        digest = hashlib.sha256(f"{self.visitor}|{self.response}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    @property
    def form(self) -> dict[str, str]:
        fields = {
            "secret": self.secret,
            "response": self.response,
            "remoteip": self.address,
        }
        if self.provider == "turnstile":
            return fields | {"idempotency_key": self.idempotency_key}
        return fields | {"sitekey": self.site_key}


class ChallengeVerifier:
    """Makes the calls of one worker."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._calls: dict[VisitorId, tuple[str, asyncio.Task[Reply]]] = {}
        self._of_source: Counter[str] = Counter()  # the calls in flight

    async def verify(self, proof: Proof) -> Reply:
        """The provider's reply. A second request with the same proof waits for the same call."""
        if not proof.is_well_formed:
            return "refused"
        known = self._calls.get(proof.visitor)
        if known is not None:
            response, task = known
            return await asyncio.shield(task) if response == proof.response else "busy"
        sources = _sources_of(proof.address)
        free = MAX_CALLS - len(self._calls)
        if any(self._of_source[each] >= free for each in sources):
            return "busy"
        # A disconnecting client does not cancel the call: the provider may have accepted the proof.
        task = asyncio.create_task(self._call(proof), name="verify a challenge")
        self._calls[proof.visitor] = (proof.response, task)
        self._of_source.update(sources)
        task.add_done_callback(lambda _: self._forget(proof.visitor, sources))
        return await asyncio.shield(task)

    def _forget(self, visitor: VisitorId, sources: Iterable[str]) -> None:
        self._calls.pop(visitor, None)
        self._of_source.subtract(sources)
        self._of_source += Counter()  # drop those at 0

    async def close(self) -> None:
        for _, task in tuple(self._calls.values()):
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _call(self, proof: Proof) -> Reply:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=MAX_CALLS)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.post(
                    proof.url or _URLS[proof.provider],
                    data=proof.form,
                    headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                    allow_redirects=False,
                ) as response,
            ):
                body = await _body_of(response)
                if body is None or response.status >= 500 or 300 <= response.status < 400:
                    return self._unreachable(proof, f"HTTP status {response.status}")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return self._unreachable(proof, type(error).__name__)
        return self._reply_in(body, proof, status=response.status)

    def _reply_in(self, body: bytes, proof: Proof, *, status: int = 200) -> Reply:
        try:
            reply = orjson.loads(body)
        except ValueError:
            reply = None
        success = reply.get("success") if isinstance(reply, dict) else None
        if success is True:
            return "solved" if _is_for_us(reply, proof) else "refused"
        if success is not False and status >= 400:  # a client can cause these
            return "refused"
        if success is not False:
            return self._unreachable(proof, "an unexpected reply")
        codes = reply.get("error-codes")
        known = {each for each in codes if isinstance(each, str)} if isinstance(codes, list) else ()
        faults = _NO_FAULT_OF_THE_CLIENT.intersection(known)
        return self._unreachable(proof, min(faults)) if faults else "refused"

    def _unreachable(self, proof: Proof, problem: str) -> Reply:
        log.warning("challenge_not_verified", provider=proof.provider, problem=problem)
        return "unreachable"


def _is_for_us(reply: dict[str, object], proof: Proof) -> bool:
    """Whether the widget was ours, on a host of the room, if the reply contains that."""
    hostname, action = reply.get("hostname"), reply.get("action")
    if hostname and not _is_own(hostname, proof.hosts):
        log.warning(
            "challenge_of_another_host", provider=proof.provider, hostname=str(hostname)[:100]
        )
        return False
    return not action or action == ACTION


def _is_own(hostname: object, hosts: tuple[str, ...]) -> bool:
    """Whether this is a host of the room. The Host of the request is not used: the client chooses
    it. If the room has no hosts, only the list at the provider decides."""
    if not isinstance(hostname, str):
        return False
    labels = host_labels(hostname)
    return not hosts or any(labels_match(host_labels(host), labels) for host in hosts)


def _sources_of(address: str) -> tuple[str, ...]:
    """The sources that share calls: an IPv4 address; for IPv6 a /64 and its /32."""
    source = source_of(address)
    own = f"{source.network} {source.block is None}"
    return (own,) if source.block is None else (own, f"/32 {source.block}")


async def _body_of(response: aiohttp.ClientResponse) -> bytes | None:
    """The body; None: it is too long."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_REPLY_BYTES:
            response.close()
            return None
    return bytes(body)
