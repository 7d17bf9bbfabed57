"""The way to the origin: what an admitted request crosses, and its answer.

web.gate ─▶ check_request ─▶ client_of ─▶ Forwarder.forward ─▶ Relayed
                                              │
    headers, answer, framing: pure            ├─ pool, upstream: the origin's side
                                              ├─ downstream, upload: the client's side
                                              └─ tunnel: both, after a 101
"""

from gatekeeper.proxy.aiohttp_server import SERVER_OPTIONS
from gatekeeper.proxy.client import client_of
from gatekeeper.proxy.context import Client, ForwardContext, OnHead, ProxiedResponse
from gatekeeper.proxy.forwarder import Forwarder
from gatekeeper.proxy.request_check import check_request

__all__ = [
    "SERVER_OPTIONS",
    "Client",
    "ForwardContext",
    "Forwarder",
    "OnHead",
    "ProxiedResponse",
    "check_request",
    "client_of",
]
