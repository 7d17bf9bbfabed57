"""Real gates, origins and visitors for tests that go through sockets.

Rules: a complete gate runs in this process, or as a separate process when the test kills, stops or
configures it. A visitor is an HTTP client with a cookie jar; it may use any replica.

    origin    an origin that records its requests
    gate      one replica in this process
    visitor   a browser or app, and the responses it reads
    process   `gatekeeper …` as a process of its own
"""

from tests.gates.gate import Gate, GateStarter, running_gate
from tests.gates.http_visitor import HTML, TIMEOUT, Response, Visitor
from tests.gates.origin import Origin, closed_port, silent_origin
from tests.gates.process import (
    GateProcess,
    descendants,
    gatekeeper,
    is_alive,
    quick_command,
    run_here,
)

__all__ = [
    "HTML",
    "TIMEOUT",
    "Gate",
    "GateProcess",
    "GateStarter",
    "Origin",
    "Response",
    "Visitor",
    "closed_port",
    "descendants",
    "gatekeeper",
    "is_alive",
    "quick_command",
    "run_here",
    "running_gate",
    "silent_origin",
]
