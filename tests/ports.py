"""Ports of loopback for servers that cannot choose one themselves, or keep it over a restart.

Rules: no port of the range from which the system takes those of other sockets, since it may give a
port away between the choice and the bind, or while a server restarts. Each process of a test run
has ports of its own.
"""

import os
import socket
from contextlib import ExitStack
from functools import cache
from itertools import count

_FIRST, _EACH, _PROCESSES = 20_000, 500, 25  # below 32,768, where Linux begins
_number = count(os.getpid())  # so that two runs begin at different ones


def free_port() -> int:
    """A port that is free for TCP and UDP."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    for _ in range(_EACH):
        port = _FIRST + process * _EACH + next(_number) % _EACH
        if _is_free(port):
            return port
    raise RuntimeError("every port of this process is taken")


def _is_free(port: int) -> bool:
    with ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            probe = stack.enter_context(socket.socket(type=kind))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


@cache
def closed_port() -> int:
    """A port on which nothing listens; it is held, so that nothing will."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    port: int = held.getsockname()[1]
    return port


_held: list[socket.socket] = []
