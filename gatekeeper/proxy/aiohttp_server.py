"""Options and connection handler of `aiohttp.web.Server`, which parses the client's side.

Rules: after some requests the connection must close; `ends_connection` gives the reasons. The fast
path hands a connection over together with the failure of its current request, or with what is
known of that request. Both are used for that request only.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp.web import BaseRequest, RequestHandler, Server

from gatekeeper.errors import GatekeeperError

SERVER_OPTIONS: Final[dict[str, Any]] = {
    # A client that disconnects cancels the handler, and with it the exchange with the origin.
    "handler_cancellation": True,
    # Request bodies are forwarded byte for byte.
    "auto_decompress": False,
    # Saves the formatting of a line per request; the gate writes its own logs.
    "access_log": None,
    # Per line and per field; with at most 128 fields a head is limited to about 1 MiB.
    "max_line_size": 8190,
    "max_field_size": 16380,
    "max_headers": 128,
    # How long the rest of an upload is discarded after an early response, so that the client can
    # read that response before the connection closes (RFC 9112 section 9.6).
    "lingering_time": 5.0,
    # Between requests, and for a head to arrive. Longer than the 60 s of the usual load balancer
    # in front, so that the load balancer closes an idle connection first.
    "keepalive_timeout": 75.0,
}


class ConnectionHandler(RequestHandler):
    """aiohttp's protocol of one client connection, with what the fast path hands over."""

    __slots__ = ("failure", "known")

    def __init__(self, server: Server) -> None:
        options = {k: v for k, v in SERVER_OPTIONS.items() if k != "handler_cancellation"}
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.failure: GatekeeperError | None = None
        self.known: object = None


def ends_connection(request: BaseRequest) -> bool:
    """Whether no other request may follow this one on its connection.

    aiohttp's C parser (3.14.5) misreads what follows two kinds of request. It merges the last
    trailer of a chunked request into the next request. Behind a proxy that shares connections,
    that one is another visitor's, and the trailer may be a cookie (RFC 9110 section 6.5.1 forbids
    this merge). After an unknown `Upgrade` it drops the other bytes of the same read, so that
    parsing continues in the middle of the next request.
    """
    if "Transfer-Encoding" in request.headers:
        return True
    upgrade = request.headers.get("Upgrade")
    return upgrade is not None and not (upgrade.isascii() and upgrade.lower() == "websocket")


def take_failure(request: BaseRequest) -> GatekeeperError | None:
    """The failure of this request on the fast path, if any; returned once."""
    handler = request.protocol
    if not isinstance(handler, ConnectionHandler):
        return None
    failure, handler.failure = handler.failure, None
    return failure


def take_known(request: BaseRequest) -> object:
    """What the fast path knows about this request, if it was handed over; returned once."""
    handler = request.protocol
    if not isinstance(handler, ConnectionHandler):
        return None
    known, handler.known = handler.known, None
    return known
