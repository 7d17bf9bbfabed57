"""Asks the provider of a challenge, Turnstile or hCaptcha, whether a proof solves it.

Rules. Each proof is worth one place: the provider accepts a response once. A call that is repeated
for the same visitor has the same idempotency key, so that a lost reply costs nobody the proof, and
a proof that another visitor sends is a duplicate. Bounded: so many calls at a time, one for each
visitor, a timeout, and a short reply. What is not exactly a success is none. Redirects are not
followed. The secret and the proof are never logged.

The calls are shared: an address, and a /32 of IPv6, has at most as many under way as are free. So
one source alone holds half of them, and leaves the other half to the next. A proof that no provider
makes costs no call.
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

MAX_CALLS: Final = 100  # at a time, of one worker
TIMEOUT_S: Final = 5.0
MAX_REPLY_BYTES: Final = 16_384
ACTION: Final = "gatekeeper"  # of our Turnstile widget
# Turnstile's own limit; hCaptcha's have one to two thousand characters.
_MAX_CHARACTERS: Final = {"turnstile": 2_048, "hcaptcha": 8_192}
_RESPONSE: Final = re.compile(r"[\x20-\x7e]+")
_URLS: Final = {
    "turnstile": "https://challenges.cloudflare.com/turnstile/v0/siteverify",
    "hcaptcha": "https://api.hcaptcha.com/siteverify",
}
# Faults of the provider or of our configuration, which no client can bring about.
_NO_FAULT_OF_THE_CLIENT: Final = frozenset(
    {"internal-error", "missing-input-secret", "invalid-input-secret"}
)

log = structlog.get_logger()


class Proof(NamedTuple):
    """What a visitor's widget returned. `url`: the verifier; "" is the provider's own. `hosts`: of
    the room, where the widget may stand; none: only the provider knows them."""

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
        """Whether a provider could have made it."""
        is_short = len(self.response) <= _MAX_CHARACTERS[self.provider]
        return is_short and _RESPONSE.fullmatch(self.response) is not None

    @property
    def idempotency_key(self) -> str:
        """The same for the same proof of the same visitor."""
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
    """The calls of one worker."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._calls: dict[VisitorId, tuple[str, asyncio.Task[Reply]]] = {}
        self._of_source: Counter[str] = Counter()  # the calls under way

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
        # A client that disconnects does not end the call: the provider may have accepted the proof.
        task = asyncio.create_task(self._call(proof), name="verify a challenge")
        self._calls[proof.visitor] = (proof.response, task)
        self._of_source.update(sources)
        task.add_done_callback(lambda _: self._forget(proof.visitor, sources))
        return await asyncio.shield(task)

    def _forget(self, visitor: VisitorId, sources: Iterable[str]) -> None:
        self._calls.pop(visitor, None)
        self._of_source.subtract(sources)
        self._of_source += Counter()  # without those at 0

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
        if success is not False and status >= 400:  # a client can bring these about
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
    """Whether the widget stood on this host, and was ours, where the reply says so."""
    hostname, action = reply.get("hostname"), reply.get("action")
    if hostname and not _is_own(hostname, proof.hosts):
        log.warning(
            "challenge_of_another_host", provider=proof.provider, hostname=str(hostname)[:100]
        )
        return False
    return not action or action == ACTION


def _is_own(hostname: object, hosts: tuple[str, ...]) -> bool:
    """Whether the room is at this host. The Host of the request says nothing: the client chooses
    it. So without hosts of the room, the list at the provider alone decides."""
    if not isinstance(hostname, str):
        return False
    labels = host_labels(hostname)
    return not hosts or any(labels_match(host_labels(host), labels) for host in hosts)


def _sources_of(address: str) -> tuple[str, ...]:
    """What shares the calls: an address, or of IPv6 a /64 and its /32."""
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
