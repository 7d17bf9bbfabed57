"""Watchdog of embedded servers: probed each second, and replaced when they hang.

Rules. Any reaction shows that a server runs: a refusal, an error, a closed connection. Only
timeouts count, `RESPONSE_TIMEOUT_S` for each probe in a row. A probe is short and needs no lock of
the server.

    state        probes in a row without a response      effect
    responding   0                                       none
    silent       SILENT_AFTER                            `EmbeddedServerProcess.is_running` is false
    hanging      HANGING_AFTER                           SIGKILL; `children` starts it again
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

PROBE_EVERY_S = 1.0
RESPONSE_TIMEOUT_S = 2.0
SILENT_AFTER = 2
HANGING_AFTER = 4  # 9 s at most; the next process serves 2 s later

log = structlog.get_logger()


class WatchedServer(Protocol):
    """What the watch uses of an `EmbeddedServer`."""

    async def probe(self) -> None:
        """Wait for any reaction of the server, including an error."""
        ...

    def close_probe(self) -> None: ...

    def kill(self) -> None: ...


class ServerWatch:
    """The watch of one process; `run` ends when it has killed it."""

    def __init__(self, server: WatchedServer, name: str) -> None:
        self._server = server
        self._name = name
        self._silences = 0  # in a row

    @property
    def is_silent(self) -> bool:
        return self._silences >= SILENT_AFTER

    async def run(self) -> None:
        try:
            while self._silences < HANGING_AFTER:
                if not self._silences:
                    await asyncio.sleep(PROBE_EVERY_S)
                await self._probe()
        finally:
            self._server.close_probe()
        silent_s = HANGING_AFTER * RESPONSE_TIMEOUT_S
        log.error("embedded_server_hangs", server=self._name, silent_s=silent_s)
        self._server.kill()

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                await self._server.probe()
        except TimeoutError:
            self._silences += 1
            return
        except Exception:
            log.exception("server_watch_failed", server=self._name)
        self._silences = 0
