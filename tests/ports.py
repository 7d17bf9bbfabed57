"""Loopback ports for servers that cannot choose one themselves, or keep it over a restart.

Rules: the ports are outside of the range that the system uses for other sockets, since another
socket could take one between the choice and the bind, or during a restart. Each process that runs
tests has its own ports, also next to another run: it holds the first of them.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count

_FIRST, _EACH, _PROCESSES = 20_000, 300, 40  # below 32,768, where the range of Linux begins
_held: list[socket.socket] = []
_number = count()


def free_port() -> int:
    """A port that is free for TCP and UDP."""
    for _ in range(_EACH):
        port = _own_ports()[next(_number) % (_EACH - 1)]
        probes = [_bound(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        for probe in probes:
            if probe is not None:
                probe.close()
        if None not in probes:
            return port
    raise RuntimeError("every port of this process is taken")


@cache
def closed_port() -> int:
    """A port on which nothing listens. It is held, so that nothing else can listen on it."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    port: int = held.getsockname()[1]
    return port


@contextmanager
def taken_port(port: int = 0) -> Iterator[int]:
    """A port on which another program listens; 0: any free port."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield taken.getsockname()[1]


def until_listening(port: int, process: subprocess.Popen[bytes], *, within_s: float) -> None:
    """Wait until our server accepts connections; RuntimeError if it ends or is too late."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")


@cache
def _own_ports() -> range:
    for first in range(_FIRST, _FIRST + _EACH * _PROCESSES, _EACH):
        held = _bound(first, socket.SOCK_STREAM)
        if held is not None:
            _held.append(held)
            return range(first + 1, first + _EACH)
    raise RuntimeError(f"{_PROCESSES} processes run tests already")


def _bound(port: int, kind: socket.SocketKind) -> socket.socket | None:
    """A socket that holds the port; None: it is taken, perhaps by a connection that just ended."""
    held = socket.socket(type=kind)
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        held.close()
        return None
    return held
