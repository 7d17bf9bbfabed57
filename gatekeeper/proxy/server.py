"""What the proxy relies on in `aiohttp.web.Server`, which parses the client's side.

Server(handler, **SERVER_OPTIONS)
"""

from __future__ import annotations

from typing import Any, Final

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
