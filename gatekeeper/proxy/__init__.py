"""Forwards admitted requests to the origin and relays its responses.

    web.handler ─▶ check_request ─▶ client_of ─▶ Forwarder.forward ─▶ ProxiedResponse

- `plain_head`: the parser of plain requests; pure
- `request_check`: requests that RFC 9112 forbids and aiohttp accepts
- `client_address`: the client's address, scheme and host behind trusted proxies
- `context`: the types that `web` passes in and gets back
- `forwarder`: one exchange, from the request to the end of its response
- `headers`: the request head for the origin, the response head for the client; pure
- `cache_fields`: what a response says to caches, and how that is taken back; pure
- `response`: the parser of response heads, and the framing that a head announces; pure
- `framing`: where a response body ends; pure
- `pool`, `upstream`: idle connections to the origin, and one such connection
- `upload`: the request body, sent while the response is awaited
- `downstream`: the client's side of an exchange
- `own_response`: the gate's own responses on aiohttp's path, as bytes
- `refusal_reasons`: why a request is refused that no handler sees; pure
- `write_deadline`: the deadline of a client that reads nothing
- `head_reader`: where the heads of a client's byte stream end; pure
- `tunnel`: a WebSocket, after a 101
- `aiohttp_server`: options and connection handler of the HTTP server
- `handled_request`: what a handler needs of the connection of its request
- `fastpath`: plain requests, forwarded between the two sockets without aiohttp
"""

from gatekeeper.proxy.aiohttp_server import SERVER_OPTIONS
from gatekeeper.proxy.client_address import client_of
from gatekeeper.proxy.context import ForwardContext, OnHead, ProxiedResponse
from gatekeeper.proxy.forwarder import Forwarder
from gatekeeper.proxy.request_check import check_request

__all__ = [
    "SERVER_OPTIONS",
    "ForwardContext",
    "Forwarder",
    "OnHead",
    "ProxiedResponse",
    "check_request",
    "client_of",
]
