"""The Unix socket on which one worker accepts the connections of the edge.

Rules. The folder of the socket and the socket itself are closed to other users: connections on it
are trusted for the client's address. A restarted worker replaces the socket of its previous
process.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from gatekeeper.errors import StartError

_MODE = 0o600


def edge_listener(path: str) -> socket.socket:
    """A bound socket at `path` that does not listen yet. Raises StartError."""
    folder = Path(path).parent
    if folder.stat().st_mode & 0o077:
        raise StartError(f"{folder}: open to other users; expected mode 0700")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~_MODE)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        bound.bind(path)
    except OSError as error:
        bound.close()
        raise StartError(f"edge: cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return bound
