"""The connection of a request, as its handler uses it, in addition to aiohttp's API.

Rules. Data from the fast path is returned once, since it belongs to one request. Other connection
types, as in tests, have none.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp.web import BaseRequest

from gatekeeper.errors import GatekeeperError
from gatekeeper.proxy.aiohttp_server import ConnectionHandler


def ends_connection(request: BaseRequest) -> bool:
    """Whether the connection has to close after this request.

    aiohttp's C parser (3.14.5) misreads what follows two kinds of request. It merges the last
    trailer of a chunked request into the next request. Behind a proxy that shares connections, that
    request may be another visitor's, and the trailer may be a cookie (RFC 9110 section 6.5.1
    forbids this merge). After an unknown `Upgrade`, and after one with a body, it drops the
    remaining bytes of the read, so that parsing continues in the middle of the next request.
    """
    if "Transfer-Encoding" in request.headers:
        return True
    upgrade = request.headers.get("Upgrade")
    if upgrade is None:
        return False
    is_known = upgrade.isascii() and upgrade.lower() == "websocket"
    return not is_known or bool(request.headers.get("Content-Length", "").strip("0"))


def is_complete(request: BaseRequest) -> bool:
    """Whether the client has sent the whole request."""
    return not request.body_exists or request.content.is_eof()


def watch_input(request: BaseRequest, on_end: Callable[[], None] | None) -> None:
    """Call `on_end` as soon as the client has closed its half; None: cancel the callback."""
    handler = request.protocol
    if isinstance(handler, ConnectionHandler):
        handler.on_input_end = on_end
        if on_end is not None and handler.has_input_ended:
            on_end()


def take_failure(request: BaseRequest) -> GatekeeperError | None:
    """The failure of this request on the fast path, if any; returned once."""
    handler = request.protocol
    if not isinstance(handler, ConnectionHandler):
        return None
    failure, handler.failure = handler.failure, None
    return failure


def take_known(request: BaseRequest) -> object:
    """The facts that the fast path handed over with this request, if any; returned once."""
    handler = request.protocol
    if not isinstance(handler, ConnectionHandler):
        return None
    known, handler.known = handler.known, None
    return known
