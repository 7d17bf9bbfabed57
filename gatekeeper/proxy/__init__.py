"""The way to the origin: what an admitted request crosses, and its answer.

web.gate ─▶ check_request ─▶ client_of ─▶ Forwarder.forward ─▶ Relayed
                                              │
    headers, answer, framing: pure            ├─ pool, upstream: the origin's side
                                              ├─ downstream, upload: the client's side
                                              └─ tunnel: both, after a 101
"""

from gatekeeper.proxy.check import check_request
from gatekeeper.proxy.client import client_of
from gatekeeper.proxy.crossing import Client, Crossing, OnHead, Relayed
from gatekeeper.proxy.forward import Forwarder
from gatekeeper.proxy.server import SERVER_OPTIONS

__all__ = [
    "SERVER_OPTIONS",
    "Client",
    "Crossing",
    "Forwarder",
    "OnHead",
    "Relayed",
    "check_request",
    "client_of",
]
