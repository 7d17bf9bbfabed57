"""A WebSocket: after the origin's 101, bytes are relayed both ways without being parsed.

Rules: the end of either side, and the end of the visitor's session, ends both sides. There is no
read timeout: a WebSocket may be idle for hours, and TCP keep-alive detects dead peers.
"""

from __future__ import annotations

import asyncio

from aiohttp.web import BaseRequest

from gatekeeper import metrics
from gatekeeper.proxy.downstream import Downstream
from gatekeeper.proxy.upstream import OriginConnection


class Tunnel:
    """The tunnel between one client and one origin connection; aiohttp feeds it as a parser."""

    def __init__(self, client: Downstream, connection: OriginConnection) -> None:
        self._client = client
        self._connection = connection
        self._client_paused = False
        self._session_ended = False

    async def run(
        self, request: BaseRequest, *, head: bytes, session_end: asyncio.Future[None] | None
    ) -> None:
        """Run until the origin, the session or the client ends; the client's end cancels this."""
        connection, client = self._connection, self._client
        connection.on_writable = self._resume_client
        early = connection.deliver_to(self._from_origin)
        client.begin(head + early)
        request.protocol.set_parser(self)  # type: ignore[arg-type]
        if session_end is not None:
            session_end.add_done_callback(self._end_session)
        try:
            with connection.waiting_for_client(), metrics.tunnels.track_inprogress():
                while not (connection.ended or self._session_ended):
                    if client.slow:
                        await client.drained()
                        connection.resume_reading()
                    else:
                        await connection.changed()
        finally:
            if session_end is not None:
                session_end.remove_done_callback(self._end_session)
            connection.close()

    # From the client: the two methods of a parser, called by aiohttp's server

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._connection.write(data)
        if self._connection.writing_paused and not self._client_paused:
            self._client_paused = True
            self._client.transport.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        """The client disconnected; `run` is cancelled as well."""

    def _resume_client(self) -> None:
        if self._client_paused and not self._client.transport.is_closing():
            self._client_paused = False
            self._client.transport.resume_reading()

    # From the origin

    def _from_origin(self, data: bytes) -> None:
        self._client.write(data)
        if self._client.slow:
            self._connection.pause_reading()
            self._connection.wake()

    def _end_session(self, _: asyncio.Future[None]) -> None:
        self._session_ended = True
        self._connection.wake()
