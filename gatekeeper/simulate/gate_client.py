"""The HTTP requests of visitors, to any address of a gate.

Rules. A few keep-alive connections carry all visitors (`connection`), so tokens are set by hand and
never by a cookie jar. Redirects are not followed. `gate_response` parses the responses.
"""

from __future__ import annotations

import asyncio
import json
from typing import Self

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.connection import ConnectionPool, GateAddress, PendingRequest, RawResponse
from gatekeeper.simulate.gate_response import Token
from gatekeeper.simulate.plan import CrowdPlan

_PREFIX = "/.gatekeeper/"
_HEALTH_TIMEOUT_S = 5.0
_HTML = "Accept: text/html\r\nAccept-Encoding: gzip\r\n"
_JSON = "Accept: */*\r\n"


class GateClient:
    """The connections of one crowd to one gate. `at` is the index of an address."""

    def __init__(self, plan: CrowdPlan, *, connections: int | None = None) -> None:
        """`connections`: their maximum number, instead of the plan's."""
        self._urls = plan.urls
        self._room = "" if plan.room == "default" else f"?room={plan.room}"
        addresses = [GateAddress.of(url) for url in plan.urls]
        limit = max((connections or plan.connections) // len(addresses), 1)
        self._pools = [
            ConnectionPool(address, limit=limit, timeout_s=plan.request_timeout_s)
            for address in addresses
        ]
        self._ends = [
            f" HTTP/1.1\r\nHost: {address.authority}\r\nUser-Agent: gatekeeper-crowd\r\n"
            for address in addresses
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channels in self._pools:
            await channels.close()

    @property
    def addresses(self) -> int:
        return len(self._pools)

    def send(self, pending: PendingRequest, *, at: int) -> None:
        """Send the request to address `at` as soon as a connection there is free."""
        self._pools[at].send(pending)

    async def check_gates(self) -> None:
        """Raise GatekeeperError unless a gate responds at every address."""
        for at, url in enumerate(self._urls):
            health_check = _HealthCheck(self._bytes("GET", _PREFIX + "health", None, _JSON, at=at))
            self.send(health_check, at=at)
            try:
                async with asyncio.timeout(_HEALTH_TIMEOUT_S):
                    response = await health_check.response
            except TimeoutError:
                response = "timed out"
            if isinstance(response, str):
                raise GatekeeperError(f"no gate responds at {url} ({response}); is it running?")
            if (status := response.head.status) != 200:
                raise GatekeeperError(f"{url} is not a gate: {_PREFIX}health returned {status}")
            if b'"status"' not in response.body:
                raise GatekeeperError(f"{url} is not a gate: unexpected body of {_PREFIX}health")

    # The requests of a visitor.

    def enqueue(self, *, at: int, invitation: str = "") -> bytes:
        path = f"{_PREFIX}enqueue{self._room}"
        return self._bytes("POST", path, None, _JSON + _invited(invitation), at=at)

    def navigate(self, path: str, *, at: int, invitation: str = "") -> bytes:
        """Open a page like a browser without a cookie."""
        return self._bytes("GET", path, None, _HTML + _invited(invitation), at=at)

    def visit(self, path: str, token: Token, *, at: int) -> bytes:
        return self._bytes("GET", path, token, _HTML if token.cookie else _JSON, at=at)

    def poll(self, token: Token, *, at: int) -> bytes:
        return self._bytes("GET", f"{_PREFIX}status{self._room}", token, _JSON, at=at)

    def solve(self, token: Token, proof: str, *, at: int) -> bytes:
        """Send the proof of a challenge."""
        body = json.dumps({"payload": proof}).encode()
        path = f"{self._pools[at].address.base}{_PREFIX}challenge{self._room}"
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head = f"POST {path}{self._ends[at]}{_JSON}{fields}{token.header}\r\n"
        return head.encode() + body

    def leave(self, token: Token, *, at: int) -> bytes:
        return self._bytes("POST", f"{_PREFIX}leave{self._room}", token, _JSON, at=at)

    def without_token(self, method: str, path: str, *, fields: str, at: int) -> bytes:
        """A request of a client that keeps no cookies; `fields` are its field lines."""
        base = self._pools[at].address.base
        return f"{method} {base}{path}{self._ends[at]}{fields}\r\n".encode()

    def _bytes(self, method: str, path: str, token: Token | None, accept: str, *, at: int) -> bytes:
        base = self._pools[at].address.base
        carried = token.header if token else ""
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        return f"{method} {base}{path}{self._ends[at]}{accept}{length}{carried}\r\n".encode()


def _invited(invitation: str) -> str:
    return f"X-Queue-Invitation: {invitation}\r\n" if invitation else ""


def forwarded_for(request: bytes, address: str) -> bytes:
    """The request as a proxy forwards it for a client with this address."""
    line, end, rest = request.partition(b"\r\n")
    return b"".join([line, end, b"X-Forwarded-For: ", address.encode(), end, rest])


class _HealthCheck:
    """A request whose response can be awaited."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.response: asyncio.Future[RawResponse | str] = (
            asyncio.get_running_loop().create_future()
        )

    def encode(self) -> bytes:
        return self._request

    def complete(self, response: RawResponse | str) -> None:
        if not self.response.done():
            self.response.set_result(response)
