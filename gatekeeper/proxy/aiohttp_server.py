"""What the proxy relies on in `aiohttp.web.Server`, which parses the client's side.

Rules: nothing follows some requests on their connection; `ends_connection` says why. A connection
that the express lane hands over may bring the failure of the request it is handed over with, or
what is known of it already. Both belong to that request, and end with it or with the connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp.web import BaseRequest, RequestHandler, Server

from gatekeeper.errors import GatekeeperError

SERVER_OPTIONS: Final[dict[str, Any]] = {
    # A client that leaves cancels the handler, and with it the work at the origin.
    "handler_cancellation": True,
    # Uploads pass byte for byte.
    "auto_decompress": False,
    # Nothing is formatted on the hot path; the gate logs for itself.
    "access_log": None,
    # Per line and per field; with at most 128 fields a head stays near 1 MiB.
    "max_line_size": 8190,
    "max_field_size": 16380,
    "max_headers": 128,
    # How long the rest of an upload is read away after an early answer, so that the client gets
    # to read that answer before the connection closes (RFC 9112 section 9.6).
    "lingering_time": 5.0,
    # Between requests, and for a head to arrive; longer than the 60 s of the load balancers
    # that may stand in front, so that it is they who close an idle connection.
    "keepalive_timeout": 75.0,
}


class ConnectionHandler(RequestHandler):
    """aiohttp's side of one connection."""

    __slots__ = ("failure", "known")

    def __init__(self, server: Server) -> None:
        options = {k: v for k, v in SERVER_OPTIONS.items() if k != "handler_cancellation"}
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.failure: GatekeeperError | None = None
        self.known: object = None


def ends_connection(request: BaseRequest) -> bool:
    """Whether no other request may follow this one on its connection.

    aiohttp's C parser (3.14.5) loses its place in two cases. It keeps the last trailer of a chunked
    request and takes it for the first field of the next: behind a proxy that shares its
    connections, that one is of another visitor, and the field may be a cookie (RFC 9110 section
    6.5.1 forbids this very merge). And it drops what came in one read with a request for an
    upgrade that it does not know, so that the middle of the next one looks like a beginning.
    """
    if "Transfer-Encoding" in request.headers:
        return True
    upgrade = request.headers.get("Upgrade")
    return upgrade is not None and not (upgrade.isascii() and upgrade.lower() == "websocket")


def take_failure(request: BaseRequest) -> GatekeeperError | None:
    """What the origin did to this very request when the express lane asked it."""
    handler = request.protocol
    if not isinstance(handler, ConnectionHandler):
        return None
    failure, handler.failure = handler.failure, None
    return failure


def take_known(request: BaseRequest) -> object:
    """What the express lane found out about this very request before it handed it over."""
    handler = request.protocol
    if not isinstance(handler, ConnectionHandler):
        return None
    known, handler.known = handler.known, None
    return known
