"""Visitors: HTTP clients that keep their cookies, and the responses they read."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDictProxy
from yarl import URL

if TYPE_CHECKING:
    from tests.gates.gate import Gate

TIMEOUT = aiohttp.ClientTimeout(total=40)
HTML = {"Accept": "text/html"}
_POLL_S = 0.05


@dataclass(frozen=True)
class Response:
    """A response, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> dict[str, Any]:
        assert self.headers["Content-Type"].startswith("application/json"), self.text
        value: dict[str, Any] = json.loads(self.body)
        return value

    def check_fields(self) -> None:
        """No field of the gate's own response occurs twice: a browser would reject a repeated
        `Access-Control-Allow-Origin`, and read other fields as lists."""
        if "X-Gatekeeper-State" not in self.headers:
            return
        names = [name.lower() for name in self.headers]
        assert not {each for each in names if names.count(each) > 1} - _SEVERAL, self.headers


_SEVERAL = frozenset({"set-cookie", "vary"})  # fields that a response may have several times


class OneMachine(AbstractResolver):
    """Resolves every name to this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(
            hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
        )
        return [found]

    async def close(self) -> None: ...


class Visitor:
    """A browser or app. It keeps its cookies for all replicas."""

    def __init__(self, *gates: Gate | str, tls: ssl.SSLContext | None = None) -> None:
        self.urls = [gate if isinstance(gate, str) else gate.url for gate in gates]
        self.session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            connector=aiohttp.TCPConnector(ssl=tls or True),
            timeout=TIMEOUT,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def get(
        self, path: str = "/", *, at: int = 0, html: bool = True, **options: Any
    ) -> tuple[int, str]:
        """Status and text of a page, requested as a navigation unless `html` is false."""
        headers = {**(HTML if html else {}), **options.pop("headers", {})}
        async with self.session.get(self.urls[at] + path, headers=headers, **options) as response:
            return response.status, await response.text()

    async def request(
        self, method: str, path: str = "/", *, at: int = 0, **options: Any
    ) -> Response:
        """The response to a request by an app, which does not accept HTML."""
        async with self.session.request(
            method, self.urls[at] + path, allow_redirects=False, **options
        ) as response:
            found = Response(response.status, response.headers, await response.read())
        found.check_fields()
        return found

    async def enter(self, path: str = "/", *, at: int = 0) -> Response:
        """The site's response to a newcomer, who waits in line after a pause of the machine: a gate
        in a process of its own takes that for an outage."""
        async with asyncio.timeout(40):
            while (response := await self.request("GET", path, at=at)).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        return response

    async def status(self, *, at: int = 0, room: str | None = None) -> dict[str, Any]:
        """The JSON of `GET /.gatekeeper/status`: one heartbeat."""
        query = f"?room={room}" if room else ""
        async with self.session.get(f"{self.urls[at]}/.gatekeeper/status{query}") as response:
            assert response.status == 200
            value: dict[str, Any] = await response.json()
            return value

    async def join(self, path: str = "/", *, at: int = 0) -> dict[str, Any]:
        """Arrive, and return the ticket like the waiting page; this puts the visitor in line."""
        await self.get(path, at=at)
        return await self.status(at=at)

    async def leave(self, *, at: int = 0) -> Response:
        """Give the place or slot back."""
        return await self.request("POST", "/.gatekeeper/leave", at=at)

    async def wait_until_admitted(self, *, timeout_s: float = 40, room: str | None = None) -> None:
        """Poll every 50 ms, the replicas in turn, until admitted."""
        async with asyncio.timeout(timeout_s):
            count = 0
            while (await self.status(at=count % len(self.urls), room=room))["state"] != "admitted":
                count += 1
                await asyncio.sleep(_POLL_S)

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    def set_cookie(self, name: str, value: str) -> None:
        """Replace every cookie of that name by this one."""
        self.session.cookie_jar.update_cookies({name: value}, URL(self.urls[0]))
