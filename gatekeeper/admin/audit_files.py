"""The files of an audit log: lines are appended and synced; files rotate at a size.

Rules. A file of at least `max_bytes` is rotated to `NAME.1` and so on; the oldest of `rotated` is
deleted. Process groups that share a folder share the files under a lock. A line that a crash or a
full disk truncated is terminated before the next one, so that no other line is damaged.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LineFiles:
    """The file `path` and its rotated ones. All methods block: call them in a thread."""

    def __init__(self, path: Path, *, max_bytes: int, rotated: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._rotated = rotated

    def append(self, line: bytes) -> None:
        """Write a line, which ends with a newline, and sync it. Raises OSError."""
        with _locked(self._path.with_name("audit.lock")):
            # Opened each time: another process may have rotated the file.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            file = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line
                if os.write(file, line) != len(line):
                    raise OSError(0, "incomplete write")
                os.fsync(file)
                is_full = size + len(line) >= self._max_bytes
            finally:
                os.close(file)
            if is_full:
                self._rotate()

    def lines(self) -> Iterator[bytes]:
        """The lines of all files, the oldest first. An unreadable file counts as empty."""
        for path in (*map(self._numbered, range(self._rotated, 0, -1)), self._path):
            try:
                with path.open("rb") as file:
                    yield from file
            except OSError:
                continue

    def newest_lines(self, limit: int) -> Iterator[bytes]:
        """The last `limit` lines of each of the two newest files, the oldest first."""
        for path in (self._numbered(1), self._path):
            try:
                lines = path.read_bytes().split(b"\n")
            except OSError:
                continue
            yield from [line for line in lines if line][-limit:]

    def _rotate(self) -> None:
        for number in range(self._rotated, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
