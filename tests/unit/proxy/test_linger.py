"""The wait for a client to close, after the last response on its connection."""

from __future__ import annotations

import asyncio
import errno

from aiohttp import web

from gatekeeper.proxy.aiohttp_server import ConnectionHandler


class ResetTransport(asyncio.Transport):
    """A transport whose client has reset the connection; the loop has not noticed it yet."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")


async def no_response(_request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError


async def test_client_that_reset_is_no_error() -> None:
    handler = ConnectionHandler(web.Server(no_response), lingering_time=0.0)
    handler.transport = ResetTransport()
    await handler.linger()
