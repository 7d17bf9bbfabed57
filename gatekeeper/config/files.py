"""Reads whole files that the operator names.

Rules. Only regular files, up to a limit. Opening a named pipe blocks until there is a writer, and a
device has no end: a reload, and a shutdown after it, would block as well. A reload reads each file
again, and a pipe can be read only once.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 4 << 20


def read_file(path: Path) -> bytes:
    """The contents. Raises OSError, also if it is not a regular file, or too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"Larger than {MAX_BYTES >> 20} MiB", str(path))
    return data
