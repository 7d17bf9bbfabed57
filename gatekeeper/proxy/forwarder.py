"""Forwards an admitted request to the origin and relays the response.

Order: the request head is sent (`headers`), then the body as it arrives (`upload`). Response heads
are read until a final one (`upstream`, `response`). Then the body is relayed as it arrives
(`framing`), or both sides become a tunnel (`tunnel`).

Rules: a failure before the final head is sent to the client is raised. A later failure aborts the
client's connection, so that a truncated response never looks complete. A client that disconnects
cancels the handler, and with it the exchange.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from aiohttp.web import BaseRequest

from gatekeeper.config.schema import OriginConfig
from gatekeeper.errors import GatekeeperError, OriginProtocolError
from gatekeeper.proxy import upload
from gatekeeper.proxy.context import Fields, ForwardContext, OnHead, OriginMeter, ProxiedResponse
from gatekeeper.proxy.downstream import Downstream
from gatekeeper.proxy.framing import Body
from gatekeeper.proxy.handled_request import ends_connection
from gatekeeper.proxy.headers import (
    interim_head,
    request_head,
    response_head,
    switching_head,
    wants_upgrade,
)
from gatekeeper.proxy.pool import FRESH_IDLE_S, MAX_IDLE_S, OriginPool, authority_of
from gatekeeper.proxy.response import UNREQUESTED_PROTOCOL, ResponseHead, body_of
from gatekeeper.proxy.tunnel import Tunnel
from gatekeeper.proxy.upstream import OriginConnection, OriginDisconnect

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_SWITCHING_PROTOCOLS = 101


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
        context: ForwardContext,
        *,
        session_end: asyncio.Future[None] | None = None,
        on_head: OnHead | None = None,
        meter: OriginMeter | None = None,
    ) -> ProxiedResponse:
        """Forward the request and relay its response.

        Raises `OriginError`, `BadRequest` and the errors of `on_head`, all before a final head is
        sent to the client. `session_end` closes a tunnel. `meter` receives the time from
        the whole request to the final head, or to the client's disconnect before it.
        """
        client = Downstream(request, timeout_s=self._timeout_s)
        head = request_head(
            request, context, origin_host=self._origin_host, preserve_host=self._preserve_host
        )
        repeatable = request.method in _IDEMPOTENT and not request.body_exists
        max_idle_s = MAX_IDLE_S if repeatable else FRESH_IDLE_S
        while True:
            connection = await self._pool.acquire(max_idle_s=max_idle_s)
            exchange = _Exchange(
                request,
                client,
                connection,
                own=context.strip_cookies,
                on_head=on_head,
                meter=meter,
                session_end=session_end,
            )
            try:
                return await exchange.run(head, timeout_s=self._timeout_s)
            except OriginDisconnect:
                # RFC 9110 section 9.2.2: repeat once, on a new connection, an idempotent request
                # to which a reused connection sent no byte of a response.
                if not repeatable or connection.requests == 1 or connection.has_response:
                    raise
                max_idle_s = 0.0
            finally:
                self._pool.release(connection)

    async def close(self) -> None:
        """Close idle connections; those in use close when their exchange ends."""
        self._pool.close()


class _Exchange:
    """One request and its response on one origin connection."""

    __slots__ = (
        *("_client", "_connection", "_meter", "_on_head", "_own"),
        *("_request", "_sending", "_sent_s", "_session_end"),
    )

    def __init__(
        self,
        request: BaseRequest,
        client: Downstream,
        connection: OriginConnection,
        *,
        own: frozenset[str],
        on_head: OnHead | None,
        meter: OriginMeter | None,
        session_end: asyncio.Future[None] | None,
    ) -> None:
        self._request = request
        self._client = client
        self._connection = connection
        self._own = own
        self._on_head = on_head
        self._meter = meter
        self._sending: asyncio.Task[None] | None = None
        self._sent_s = 0.0
        self._session_end = session_end

    async def run(self, head: bytes, *, timeout_s: float) -> ProxiedResponse:
        started_s = self._sent_s = perf_counter()
        sending = upload.send(self._request, self._connection, head=head, timeout_s=timeout_s)
        if sending is not None:
            self._sending = sending
            sending.add_done_callback(self._note_sent)
        try:
            response = await self._awaited_head()
            origin_seconds = perf_counter() - started_s
            # After a response to an incomplete request the connection closes: the rest of the body
            # is not read, and a client that waited for 100 may or may not send it (RFC 9112
            # section 9.3).
            request_complete = self._origin_has_request()
            proxied = ProxiedResponse(
                status=response.status,
                command=response.command,
                origin_seconds=origin_seconds,
                keep_alive=request_complete
                and self._request.keep_alive
                and not ends_connection(self._request),
            )
            if response.status == _SWITCHING_PROTOCOLS:
                await self._switch(response, proxied)
            else:
                await self._relay(response, proxied)
                self._connection.reusable &= sending is None or sending.done()
        finally:
            if sending is not None and not sending.done():
                await upload.stop(sending)
        return proxied

    def _note_sent(self, _upload: asyncio.Task[None]) -> None:
        self._sent_s = perf_counter()

    def _origin_has_request(self) -> bool:
        return self._sending is None or self._sending.done()

    def _measure(self, response: ResponseHead) -> None:
        """Measure a valid response whose head is about to be sent."""
        if self._meter is not None and self._origin_has_request():
            self._meter.count(response.status, seconds=perf_counter() - self._sent_s)

    async def _awaited_head(self) -> ResponseHead:
        try:
            return await self._final_head()
        except asyncio.CancelledError:
            if self._meter is not None and self._origin_has_request():
                self._meter.count_abandoned(seconds=perf_counter() - self._sent_s)
            raise

    async def _final_head(self) -> ResponseHead:
        while True:
            response = await self._connection.next_head(self._own)
            if not response.is_interim or response.status == _SWITCHING_PROTOCOLS:
                return response
            if self._client.http11:
                self._client.write(interim_head(response))

    def _added(self, response: ResponseHead) -> Fields | None:
        return None if self._on_head is None else self._on_head(response)

    async def _relay(self, response: ResponseHead, proxied: ProxiedResponse) -> None:
        connection, client = self._connection, self._client
        body = body_of(response, method=self._request.method, http11_client=client.http11)
        proxied.keep_alive &= not body.until_close
        head = response_head(
            response,
            body,
            http11_client=client.http11,
            keep_alive=proxied.keep_alive,
            added=self._added(response),
        )
        self._measure(response)

        def deliver(data: bytes) -> None:
            relayed = body.take(data)
            if relayed:
                client.write(relayed)
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
            proxied.keep_alive, proxied.cut = False, error
            client.abort()
        if body.until_close and body.complete:
            client.reset_when_closed(False)
        connection.reusable = response.persistent and body.complete and not body.surplus

    async def _flow(self, body: Body) -> None:
        """Wait until the body is complete and the client has read most of it."""
        connection, client = self._connection, self._client
        while not body.complete or client.slow:
            if client.slow:
                with connection.waiting_for_client():
                    await client.drained()
                connection.resume_reading()
            elif connection.ended:
                if connection.broken is not None:
                    raise OriginProtocolError("the connection to the origin was reset")
                client.write(body.end())
            else:
                await connection.changed()

    async def _switch(self, response: ResponseHead, proxied: ProxiedResponse) -> None:
        if not wants_upgrade(self._request) or response.tokens(b"upgrade") != (b"websocket",):
            raise OriginProtocolError(UNREQUESTED_PROTOCOL)
        proxied.keep_alive = False
        head = switching_head(response, added=self._added(response))
        self._measure(response)
        tunnel = Tunnel(self._client, self._connection)
        await tunnel.run(self._request, head=head, session_end=self._session_end)
