"""The audit log: who changed what, when, from what to what, and from where.

Rules. One JSON line an entry, appended and synced before the answer goes out, in `audit.jsonl` of
the state folder; past `_MOST_BYTES` that file becomes `audit.jsonl.1` and so on, and the oldest
goes. Each entry is an event of the structured log besides. Process groups that share a folder
share the files, by a lock; what is shown is this process's own and what the file held when it
began. A disk that takes no more stops nobody: the log and the control room say so. Attempts that
were refused are entries too, a few a minute; of the rest the number is kept.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import structlog

Value = str | int | float | None
Outcome = Literal["done", "refused", "failed"]

MOST_SHOWN = 500
_FILE = "audit.jsonl"
_MOST_BYTES = 4 * 1024 * 1024
_OLD_FILES = 4
_REFUSED_AT_ONCE, _REFUSED_EVERY_S = 10, 6.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, or one attempt. `before` and `after` are `from` and `to` in the file."""

    at: str  # RFC 3339, UTC
    who: str
    what: str
    address: str
    outcome: Outcome = "done"
    room: str = ""
    before: Value = None
    after: Value = None
    visitor: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Value]:
        values: dict[str, Value] = {
            "at": self.at,
            "who": self.who,
            "what": self.what,
            "room": self.room,
            "from": self.before,
            "to": self.after,
            "visitor": self.visitor,
            "address": self.address,
            "outcome": self.outcome,
            "note": self.note,
        }
        return {
            name: value
            for name, value in values.items()
            if value not in ("", None) or (name in {"from", "to"} and value == "")
        }


def entry_of(line: str | bytes) -> Entry:
    """An entry from its line. Raises ValueError when it is none."""
    raw = json.loads(line)
    if not isinstance(raw, dict):
        raise ValueError("expected an object")  # noqa: TRY004  one error for all that is not ours
    raw |= {"before": raw.pop("from", None), "after": raw.pop("to", None)}
    try:
        return Entry(**raw)
    except TypeError as error:
        raise ValueError(str(error)) from error


class AuditLog:
    """The log of one process group, in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        wall_s: Callable[[], float] = time.time,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._path = folder / _FILE
        self._wall_s = wall_s
        self._most_bytes = most_bytes
        self._writing = asyncio.Lock()
        self._entries = deque(_last_of(self._path), maxlen=MOST_SHOWN)
        self._refused_due = float(_REFUSED_AT_ONCE)
        self._refused_at_s = wall_s()
        self._unwritten = 0
        self._not_told = 0
        self._began = f"{wall_s():.3f}"
        self._count = 0  # of entries since then

    def newest(self, limit: int = MOST_SHOWN, *, room: str | None = None) -> list[Entry]:
        """The last entries, newest first; with `room` those of that room."""
        found = (entry for entry in reversed(self._entries) if room in (None, entry.room))
        return [entry for entry, _ in zip(found, range(limit), strict=False)]

    @property
    def mark(self) -> str:
        """What this log stands at; another one when there is more to read, also after a restart."""
        return f"{self._began}+{self._count}"

    @property
    def unwritten(self) -> int:
        """How many entries the disk did not take."""
        return self._unwritten

    async def add(self, who: str, what: str, *, address: str, **more: Any) -> None:
        """Keep one entry; the fields are those of `Entry`."""
        now = datetime.fromtimestamp(self._wall_s(), UTC)
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = Entry(at, who, what, address, **more)
        self._entries.append(entry)
        self._count += 1
        log.info("audit", **entry.as_json())
        line = json.dumps(entry.as_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
        async with self._writing:
            try:
                await asyncio.to_thread(self._write, line.encode())
            except OSError as error:
                self._unwritten += 1
                log.error("audit_not_written", error=error.strerror)  # noqa: TRY400

    async def refused(self, who: str, what: str, *, address: str, note: str) -> None:
        """Keep one attempt that was refused, unless there were too many just now."""
        now_s = self._wall_s()
        passed_s = max(now_s - self._refused_at_s, 0.0)
        self._refused_at_s = now_s
        self._refused_due = min(self._refused_due + passed_s / _REFUSED_EVERY_S, _REFUSED_AT_ONCE)
        if self._refused_due < 1:
            self._not_told += 1
            return
        self._refused_due -= 1
        if self._not_told:
            note, self._not_told = f"{note}; {self._not_told} more before this", 0
        await self.add(who, what, address=address, outcome="refused", note=note)

    def _write(self, line: bytes) -> None:
        with _locked(self._path.with_name("audit.lock")):
            # Opened each time: another process may have moved the file.
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if os.write(file, line) != len(line):
                    raise OSError(0, "written in part")
                os.fsync(file)
                full = os.fstat(file).st_size >= self._most_bytes
            finally:
                os.close(file)
            if full:
                for number in range(_OLD_FILES, 0, -1):
                    older = self._path if number == 1 else self._numbered(number - 1)
                    if older.exists():
                        older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{_FILE}.{number}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _last_of(path: Path) -> Iterator[Entry]:
    """What the files end with; a line that is none of ours (a crash cut it) is passed over."""
    for file in (path.with_name(f"{_FILE}.1"), path):
        try:
            lines = file.read_bytes().splitlines()
        except OSError:
            continue
        for line in lines[-MOST_SHOWN:]:
            try:
                yield entry_of(line)
            except ValueError:
                continue
