"""Forwards admitted requests to the origin and relays its responses.

    web.handler ─▶ check_request ─▶ client_of ─▶ Forwarder.forward ─▶ ProxiedResponse

- `plain_head`: the parser of plain requests; pure
- `request_check`: requests that RFC 9112 forbids and aiohttp accepts
- `client_address`: the client's address, scheme and host behind trusted proxies
- `context`: the types exchanged with `web`
- `forwarder`: one exchange, from the request to the end of its response
- `headers`: the request head for the origin, the response head for the client; pure
- `cache_fields`: cacheability of responses, and the fields that prevent it; pure
- `response`: the parser of response heads, and the framing that a head announces; pure
- `framing`: the framing of response bodies; pure
- `pool`, `upstream`: the connection pool of the origin, and one such connection
- `upload`: the request body, sent while the response is awaited
- `downstream`: the client's side of an exchange
- `own_response`: the gate's own responses on aiohttp's path, as bytes
- `refusal_reasons`: reasons for requests refused before a handler; pure
- `write_deadline`: the deadline of a client that does not read
- `head_reader`: splits a client's byte stream into request heads; pure
- `tunnel`: a WebSocket, after a 101
- `aiohttp_server`: options and connection handler of the HTTP server
- `handled_request`: the connection of a request, as its handler uses it
- `fastpath`: plain requests, forwarded between two sockets without aiohttp
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
