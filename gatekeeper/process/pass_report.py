"""The busiest passes of one worker, as a file next to its metric files, for the supervisor.

Rules. Written every two seconds while a room counts its passes, and replaced atomically. Without a
folder for metrics nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from gatekeeper.room.pass_figures import busiest, encode_passes, pass_file
from gatekeeper.web.room_gate import RoomGate

_EVERY: Final = 2  # heartbeats

log = structlog.get_logger()


class PassReport:
    """Call `tick` with each heartbeat of the worker, once a second."""

    def __init__(self) -> None:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
        self._file = pass_file(Path(folder), os.getpid()) if folder else None
        self._ticks = 0
        self._is_empty = True

    def tick(self, gates: Iterable[RoomGate]) -> None:
        """Write the report when it is due."""
        self._ticks += 1
        if self._file is None or self._ticks % _EVERY:
            return
        passes = [
            each
            for gate in gates
            if gate.uses is not None
            for each in gate.uses.sweep(gate.admission.room.view.decisive.revoked)
        ]
        if not passes and self._is_empty:
            return
        self._is_empty = not passes
        draft = self._file.with_suffix(".draft")
        try:
            draft.write_bytes(encode_passes(busiest(passes)))
            draft.replace(self._file)
        except OSError as error:
            log.warning("passes_not_reported", error=str(error))

    def close(self) -> None:
        """Remove the file: a later process may have the same pid."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
