"""A visitor at a proxy: one browser or app with its own cookies."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from gatekeeper.config.types import RoomName
from gatekeeper.policy.tokens import Pass, Ticket, Token
from tests.builders import make_pass, read_token, sign_token
from tests.gates.http_visitor import HTML, TIMEOUT, Response
from tests.integration.forward_auth.auth_stage import RunningProxy

ADDRESS = "127.0.0.2"  # not a trusted address
PRIVATE = "private, no-store"  # of a response that hands over a pass


class ProxyVisitor:
    """Sends requests through a proxy to the host of one kind of room (`KINDS`)."""

    def __init__(self, served: RunningProxy, kind: str, *, address: str = ADDRESS) -> None:
        self.served = served
        self.kind = kind
        self.room = RoomName(served.stage.room(served.proxy, kind))
        self.host = f"{kind}.{served.proxy.name}.localhost"
        self.cookie = ""
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        self.session = aiohttp.ClientSession(
            connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.session.close()

    @property
    def token(self) -> Token | None:
        """The token in its cookie."""
        now_s = self.served.stage.gate.now_s()
        return read_token(self.cookie, room=self.room, now_s=now_s)

    @property
    def pass_(self) -> Pass:
        assert isinstance(self.token, Pass)
        return self.token

    @property
    def ticket(self) -> Ticket:
        assert isinstance(self.token, Ticket)
        return self.token

    def fields(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        cookies = f"theme=dark; gatekeeper-{self.room}={self.cookie}" if self.cookie else ""
        return {"Host": self.host} | ({"Cookie": cookies} if cookies else {}) | dict(more or {})

    def hold_pass(self, *, ago_s: float = 0) -> Pass:
        """Hold a pass as if admitted `ago_s` seconds ago."""
        gate = self.served.stage.gate
        held = make_pass(self.room, now_s=gate.now_s(), ago_s=ago_s, expires_in_s=1800 - ago_s)
        self.cookie = sign_token(held)
        return held

    async def get(
        self, path: str = "/", fields: Mapping[str, str] | None = None, **options: Any
    ) -> Response:
        return await self.send("GET", path, fields, **options)

    async def page(self, path: str = "/") -> Response:
        return await self.get(path, HTML)

    async def send(
        self, method: str, path: str, fields: Mapping[str, str] | None = None, **options: Any
    ) -> Response:
        """The response. A cookie of the gate in it is stored."""
        async with self.session.request(
            method,
            self.served.url + path,
            headers=self.fields(fields),
            allow_redirects=False,
            **options,
        ) as response:
            body = await response.read()
        for line in response.headers.getall("Set-Cookie", ()):
            name, _, rest = line.partition("=")
            if name == f"gatekeeper-{self.room}":
                self.cookie = rest.partition(";")[0]
        return Response(response.status, response.headers, body)

    async def status(self) -> dict[str, Any]:
        """One poll."""
        return (await self.get(f"/.gatekeeper/status?room={self.room}")).json
