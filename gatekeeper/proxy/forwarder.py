"""An admitted request's way to the origin, and the answer's way back.

The order of things: the head goes out (`headers`), the body follows as it comes (`upload`), heads
are read until a final one (`upstream`, `answer`), then the body flows to the client as it arrives
(`framing`) or both sides become a tunnel (`tunnel`).

Rules: until the final head was sent to the client, every failure is raised; after it, a failure
breaks the client's connection, so that a cut answer never looks whole. A client that leaves
cancels the handler, and with it the exchange.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from aiohttp.web import BaseRequest

from gatekeeper.config.schema import OriginConfig
from gatekeeper.errors import GatekeeperError, OriginProtocolError
from gatekeeper.proxy import upload
from gatekeeper.proxy.aiohttp_server import ends_connection
from gatekeeper.proxy.context import ForwardContext, OnHead, ProxiedResponse
from gatekeeper.proxy.downstream import Downstream
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.headers import (
    interim_head,
    request_head,
    response_head,
    switching_head,
    wants_upgrade,
)
from gatekeeper.proxy.pool import FRESH_IDLE_S, MAX_IDLE_S, OriginPool, authority_of
from gatekeeper.proxy.response import ResponseHead, body_of
from gatekeeper.proxy.tunnel import Tunnel
from gatekeeper.proxy.upstream import OriginClosed, OriginConnection

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL = 200


class Forwarder:
    """Forwards to one origin over a pool of connections."""

    def __init__(self, origin: OriginConfig, *, max_idle: int = 256) -> None:
        self.pool = self._pool = OriginPool(origin, max_idle=max_idle)
        self._origin_host = authority_of(origin)
        self._preserve_host = origin.preserve_host
        self._timeout_s = origin.read_timeout

    async def forward(
        self,
        request: BaseRequest,
        crossing: ForwardContext,
        *,
        session_end: asyncio.Future[None] | None = None,
        on_head: OnHead | None = None,
    ) -> ProxiedResponse:
        """Relay the request and its answer.

        Raises `OriginError` or `BadRequest`, and whatever `on_head` raises, while nothing but
        interim answers was sent to the client. `session_end` closes a tunnel.
        """
        client = Downstream(request, timeout_s=self._timeout_s)
        head = request_head(
            request, crossing, origin_host=self._origin_host, preserve_host=self._preserve_host
        )
        repeatable = request.method in _IDEMPOTENT and not request.body_exists
        max_idle_s = MAX_IDLE_S if repeatable else FRESH_IDLE_S
        while True:
            connection = await self._pool.acquire(max_idle_s=max_idle_s)
            exchange = _Exchange(
                request, crossing, client, connection, on_head=on_head, session_end=session_end
            )
            try:
                return await exchange.run(head, timeout_s=self._timeout_s)
            except OriginClosed:
                # RFC 9110 section 9.2.2: once more, on a new connection, if nothing can have
                # come of the first try.
                if not repeatable or connection.requests == 1 or connection.answered:
                    raise
                max_idle_s = 0.0
            finally:
                self._pool.release(connection)

    async def close(self) -> None:
        """Close the idle connections; those in use close when their exchange ends."""
        self._pool.close()


class _Exchange:
    """One request and its answer on one connection."""

    __slots__ = ("_client", "_connection", "_crossing", "_on_head", "_request", "_session_end")

    def __init__(
        self,
        request: BaseRequest,
        crossing: ForwardContext,
        client: Downstream,
        connection: OriginConnection,
        *,
        on_head: OnHead | None,
        session_end: asyncio.Future[None] | None,
    ) -> None:
        self._request = request
        self._crossing = crossing
        self._client = client
        self._connection = connection
        self._on_head = on_head
        self._session_end = session_end

    async def run(self, head: bytes, *, timeout_s: float) -> ProxiedResponse:
        started_s = perf_counter()
        sending = upload.send(self._request, self._connection, head=head, timeout_s=timeout_s)
        try:
            answer = await self._final_answer()
            origin_seconds = perf_counter() - started_s
            # An answer before the request is whole: its rest is not worth waiting for, and what
            # a client that waited for 100 sends next cannot be told (RFC 9112 section 9.3).
            whole = sending is None or sending.done()
            relayed = ProxiedResponse(
                status=answer.status,
                command=answer.command,
                origin_seconds=origin_seconds,
                keep_alive=whole
                and self._request.keep_alive
                and not ends_connection(self._request),
            )
            if answer.status == _SWITCHING_PROTOCOLS:
                await self._switch(answer, relayed)
            else:
                await self._relay(answer, relayed)
                self._connection.reusable &= sending is None or sending.done()
        finally:
            if sending is not None and not sending.done():
                await upload.stop(sending)
        return relayed

    async def _final_answer(self) -> ResponseHead:
        while True:
            answer = await self._connection.next_head()
            if answer.status >= _FIRST_FINAL or answer.status == _SWITCHING_PROTOCOLS:
                return answer
            if self._client.http11:
                self._client.write(interim_head(answer))

    def _added(self, answer: ResponseHead) -> tuple[tuple[bytes, bytes], ...]:
        added = self._crossing.response_headers
        if self._on_head is None:
            return added
        return added + self._on_head(answer.status, answer.command)

    async def _relay(self, answer: ResponseHead, relayed: ProxiedResponse) -> None:
        connection, client = self._connection, self._client
        body = body_of(answer, method=self._request.method, http11_client=client.http11)
        relayed.keep_alive &= not body.until_close
        head = response_head(
            answer,
            body,
            http11_client=client.http11,
            keep_alive=relayed.keep_alive,
            added=self._added(answer),
        )

        def deliver(data: bytes) -> None:
            taken = body.take(data)
            if taken:
                client.write(taken)
            if body.complete:
                connection.wake()
            elif client.slow:
                connection.pause_reading()
                connection.wake()

        early = connection.deliver_to(deliver)
        first = head + body.take(early) if early else head
        if body.until_close:
            client.reset_when_closed(True)
        client.begin(first)
        try:
            if not body.complete or client.slow:
                await self._flow(body)
        except (GatekeeperError, ConnectionError) as error:
            relayed.keep_alive, relayed.cut = False, error
            client.abort()
        if body.until_close and body.complete:
            client.reset_when_closed(False)
        connection.reusable = answer.persistent and body.complete and not body.surplus

    async def _flow(self, body: Body) -> None:
        """Until the client has taken most of the answer, and the origin sent all."""
        connection, client = self._connection, self._client
        while not body.complete or client.slow:
            if client.slow:
                with connection.excused():
                    await client.drained()
                connection.resume_reading()
            elif connection.ended:
                if connection.broken is not None:
                    raise OriginProtocolError("the origin's connection broke")
                client.write(body.end())
            else:
                await connection.changed()

    async def _switch(self, answer: ResponseHead, relayed: ProxiedResponse) -> None:
        if not wants_upgrade(self._request) or answer.tokens(b"upgrade") != (b"websocket",):
            raise OriginProtocolError("the origin switched to a protocol nobody asked for")
        relayed.keep_alive = False
        head = switching_head(answer, added=self._added(answer))
        tunnel = Tunnel(self._client, self._connection)
        await tunnel.run(self._request, head=head, session_end=self._session_end)
