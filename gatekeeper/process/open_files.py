"""The limit of open files, which bounds the number of connections."""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_file_limit() -> int:
    """Raise this process's soft limit as far as possible, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # the hard limit exceeds the system's
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return file_limit()


def file_limit() -> int:
    """The soft limit of open files of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
