"""The TLS handshakes of the edge, counted from the lines of Caddy's log.

Rules. Caddy has no counter. It logs a line when a handshake reaches the choice of a certificate,
and one when a handshake over TCP fails. So a handshake counts as *full* from that choice on, even
if it fails later; a resumed session of TLS 1.3 chooses no certificate and has no line. The lines
are in a file, which Caddy rotates at `HANDSHAKE_LOG_MB`: with a pipe, a slow reader would block
Caddy, and so visitors. Client data is quoted in it, so that it cannot forge a line.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from gatekeeper.admin.edge_status import Handshakes

HANDSHAKE_LOG_MB: Final = 4  # some 40,000 lines; it is read each second
READ_EVERY_S: Final = 1.0
_FULL: Final = b'"name":"tls_get_certificate"'
_FAILED: Final = b'{"msg":"http: TLS handshake error from '
_CHUNK_BYTES: Final = 1 << 18
_MAX_LINE_BYTES: Final = 1 << 14
_READS_PER_MINUTE: Final = int(60 / READ_EVERY_S)


class HandshakeLog:
    """Counts handshakes since its creation. Call `read_lines` every `READ_EVERY_S`, and `close` at
    the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._rest = b""  # the start of an incomplete line
        self._full = self._failed = 0
        self._minute = deque([(0, 0)], maxlen=_READS_PER_MINUTE + 1)
        with suppress(OSError):  # lines of former runs are not counted
            self._file = os.open(path, os.O_RDONLY)
            os.lseek(self._file, 0, os.SEEK_END)

    @property
    def handshakes(self) -> Handshakes:
        full, failed = self._minute[0]
        return Handshakes(self._full, self._failed, self._full - full, self._failed - failed)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S)
            self.read_lines()

    def read_lines(self) -> None:
        """Count the lines since the last call."""
        with suppress(OSError):  # Caddy has not written it yet, or is rotating it
            if self._file is not None:
                self._read(self._file)
                if self._is_replaced(self._file):
                    self.close()
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY)
                self._read(self._file)
        self._minute.append((self._full, self._failed))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file, self._rest = None, b""

    def _read(self, file: int) -> None:
        while chunk := os.read(file, _CHUNK_BYTES):
            whole, _, rest = (self._rest + chunk).rpartition(b"\n")
            self._rest = rest[-_MAX_LINE_BYTES:]
            self._full += whole.count(_FULL)
            self._failed += whole.count(_FAILED)

    def _is_replaced(self, file: int) -> bool:
        """Whether the file was replaced. A truncated file is read from its start."""
        ours, there = os.fstat(file), os.stat(self._path)
        if ours.st_size < os.lseek(file, 0, os.SEEK_CUR):
            os.lseek(file, 0, os.SEEK_SET)
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)
