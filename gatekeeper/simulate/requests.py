"""Speaks HTTP to a gate on behalf of many visitors, at any of its addresses.

Rules. Few keep-alive connections carry everybody (`channel`), so tokens are put on and taken off by
hand and never by a cookie jar. Redirects are not followed. What comes back is told by `meaning`.
"""

from __future__ import annotations

import asyncio
from typing import Self

from gatekeeper.errors import GatekeeperError
from gatekeeper.simulate.connection import Address, Channels, Question, Reply
from gatekeeper.simulate.gate_answer import Token
from gatekeeper.simulate.plan import CrowdPlan

_PREFIX = "/.gatekeeper/"
_GREETING_TIMEOUT_S = 5.0
_HTML = "Accept: text/html\r\nAccept-Encoding: gzip\r\n"
_JSON = "Accept: */*\r\n"


class Wire:
    """The connections of one crowd to one gate. Requests are made for the address `at`."""

    def __init__(self, plan: CrowdPlan) -> None:
        self._urls = plan.urls
        self._room = "" if plan.room == "default" else f"?room={plan.room}"
        addresses = [Address.of(url) for url in plan.urls]
        most = max(plan.connections // len(addresses), 1)
        self._channels = [
            Channels(address, most=most, timeout_s=plan.request_timeout_s) for address in addresses
        ]
        self._ends = [
            f" HTTP/1.1\r\nHost: {address.authority}\r\nUser-Agent: gatekeeper-crowd\r\n"
            for address in addresses
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channels in self._channels:
            await channels.close()

    @property
    def addresses(self) -> int:
        return len(self._channels)

    def ask(self, question: Question, *, at: int) -> None:
        """Put the question at address `at`, as soon as a connection there is free."""
        self._channels[at].ask(question)

    async def greet(self) -> None:
        """Raise GatekeeperError unless a gate answers at every address."""
        for at, url in enumerate(self._urls):
            greeting = _Greeting(self._bytes("GET", _PREFIX + "health", None, _JSON, at=at))
            self.ask(greeting, at=at)
            try:
                async with asyncio.timeout(_GREETING_TIMEOUT_S):
                    reply = await greeting.reply
            except TimeoutError:
                reply = "timed out"
            if isinstance(reply, str):
                raise GatekeeperError(f"no gate answers at {url} ({reply}); is it running?")
            if (status := reply.head.status) != 200:
                raise GatekeeperError(f"{url} is no gate: {_PREFIX}health answers {status}")
            if b'"status"' not in reply.body:
                raise GatekeeperError(f"{url} is no gate: {_PREFIX}health answers something else")

    # What a visitor can ask.

    def enqueue(self, *, at: int) -> bytes:
        return self._bytes("POST", f"{_PREFIX}enqueue{self._room}", None, _JSON, at=at)

    def navigate(self, path: str, *, at: int) -> bytes:
        """Open a page as a browser without a cookie does."""
        return self._bytes("GET", path, None, _HTML, at=at)

    def visit(self, path: str, token: Token, *, at: int) -> bytes:
        return self._bytes("GET", path, token, _HTML if token.cookie else _JSON, at=at)

    def poll(self, token: Token, *, at: int) -> bytes:
        return self._bytes("GET", f"{_PREFIX}status{self._room}", token, _JSON, at=at)

    def leave(self, token: Token, *, at: int) -> bytes:
        return self._bytes("POST", f"{_PREFIX}leave{self._room}", token, _JSON, at=at)

    def _bytes(self, method: str, path: str, token: Token | None, accept: str, *, at: int) -> bytes:
        base = self._channels[at].address.base
        carried = token.header if token else ""
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        return f"{method} {base}{path}{self._ends[at]}{accept}{length}{carried}\r\n".encode()


class _Greeting:
    """A question that somebody awaits."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.reply: asyncio.Future[Reply | str] = asyncio.get_running_loop().create_future()

    def put(self) -> bytes:
        return self._request

    def answered(self, reply: Reply | str) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)
