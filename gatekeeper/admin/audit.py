"""The audit log: each change with its operator, time, old and new value, and client address.

Rules. An entry is one JSON line in `audit.jsonl` of the state folder, appended and synced before
the response is sent, and one event of the structured log. A file larger than `_MAX_FILE_BYTES` is
rotated to `audit.jsonl.1` and so on; the oldest is deleted. Process groups that share a folder
share the files under a lock; each shows the entries of the files at its start and its own since.
A disk error does not stop a change: the log and the control room report it. Refused attempts are
entries too, up to `_REFUSED_BURST` at once and one per `_REFUSED_INTERVAL_S`; an entry counts the
attempts that were left out before it.
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

MAX_ENTRIES = 500
_FILE = "audit.jsonl"
_MAX_FILE_BYTES = 4 * 1024 * 1024
_ROTATED_FILES = 4
_REFUSED_BURST, _REFUSED_INTERVAL_S = 10, 6.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Entry:
    """One change or attempt. `before` and `after` are the fields `from` and `to` in the file."""

    at: str  # RFC 3339, UTC
    who: str
    what: str
    address: str = ""  # none for a signal
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


def parse_entry(line: str | bytes) -> Entry:
    """Parse one line of the file. Raises ValueError when it is not an entry."""
    raw = json.loads(line)
    if not isinstance(raw, dict):
        raise ValueError("expected an object")  # noqa: TRY004  one error for every line that is not an entry
    raw |= {"before": raw.pop("from", None), "after": raw.pop("to", None)}
    try:
        return Entry(**raw)
    except TypeError as error:
        raise ValueError(str(error)) from error


class AuditLog:
    """The audit log of one process group, in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        wall_s: Callable[[], float] = time.time,
        max_file_bytes: int = _MAX_FILE_BYTES,
    ) -> None:
        self._path = folder / _FILE
        self._wall_s = wall_s
        self._max_file_bytes = max_file_bytes
        self._write_lock = asyncio.Lock()
        self._entries = deque(_read_newest(self._path), maxlen=MAX_ENTRIES)
        self._refused_tokens = float(_REFUSED_BURST)
        self._refused_at_s = wall_s()
        self._unwritten = 0
        self._suppressed = 0
        self._started = f"{wall_s():.3f}"
        self._count = 0  # entries since the start

    def newest(self, limit: int = MAX_ENTRIES, *, room: str | None = None) -> list[Entry]:
        """Up to `limit` entries, the newest first, of one room or of all."""
        found = (entry for entry in reversed(self._entries) if room in (None, entry.room))
        return [entry for entry, _ in zip(found, range(limit), strict=False)]

    def between(self, since_s: float, until_s: float, *, room: str, most: int) -> list[Entry]:
        """The newest `most` changes of a period, of a room and of the whole gate, the oldest first,
        from the files: call it in a thread. Refused attempts are left out."""
        found: deque[Entry] = deque(maxlen=most)
        rotated = [self._numbered(number) for number in range(_ROTATED_FILES, 0, -1)]
        for path in (*rotated, self._path):
            for entry in _read_entries(path):
                is_wanted = entry.room in ("", room) and entry.outcome != "refused"
                if is_wanted and since_s <= _at_s(entry) < until_s:
                    found.append(entry)
        return list(found)

    @property
    def mark(self) -> str:
        """A version of the log: it changes with every entry and every restart."""
        return f"{self._started}+{self._count}"

    @property
    def unwritten(self) -> int:
        """The number of entries that could not be written to disk."""
        return self._unwritten

    async def add(self, who: str, what: str, *, address: str, **more: Any) -> None:
        """Record one entry; the fields are those of `Entry`."""
        now = datetime.fromtimestamp(self._wall_s(), UTC)
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = Entry(at, who, what, address, **more)
        self._entries.append(entry)
        self._count += 1
        log.info("audit", **entry.as_json())
        line = json.dumps(entry.as_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
        async with self._write_lock:
            try:
                await asyncio.to_thread(self._write, line.encode())
            except OSError as error:
                self._unwritten += 1
                log.error("audit_write_failed", error=error.strerror)  # noqa: TRY400

    async def refused(self, who: str, what: str, *, address: str, note: str) -> None:
        """Record a refused attempt, within the rate limit of such entries."""
        now_s = self._wall_s()
        elapsed_s = max(now_s - self._refused_at_s, 0.0)
        self._refused_at_s = now_s
        self._refused_tokens = min(
            self._refused_tokens + elapsed_s / _REFUSED_INTERVAL_S, _REFUSED_BURST
        )
        if self._refused_tokens < 1:
            self._suppressed += 1
            return
        self._refused_tokens -= 1
        if self._suppressed:
            note, self._suppressed = f"{note}; {self._suppressed} more before this", 0
        await self.add(who, what, address=address, outcome="refused", note=note)

    def _write(self, line: bytes) -> None:
        with _locked(self._path.with_name("audit.lock")):
            # Opened each time: another process may have rotated the file.
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if os.write(file, line) != len(line):
                    raise OSError(0, "incomplete write")
                os.fsync(file)
                full = os.fstat(file).st_size >= self._max_file_bytes
            finally:
                os.close(file)
            if full:
                for number in range(_ROTATED_FILES, 0, -1):
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


def _read_entries(path: Path) -> Iterator[Entry]:
    """The entries of a file. A damaged line is skipped."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    yield parse_entry(line)
                except (ValueError, RecursionError):
                    continue
    except OSError:
        return


def _at_s(entry: Entry) -> float:
    """When it was made; in no period if that is not a time."""
    try:
        at = datetime.fromisoformat(entry.at)
    except (TypeError, ValueError):
        return -1.0
    return at.timestamp() if at.tzinfo is not None else -1.0


def _read_newest(path: Path) -> Iterator[Entry]:
    """The newest entries of the two newest files. A line cut by a crash is skipped."""
    for file in (path.with_name(f"{_FILE}.1"), path):
        try:
            lines = file.read_bytes().splitlines()
        except OSError:
            continue
        for line in lines[-MAX_ENTRIES:]:
            try:
                yield parse_entry(line)
            except ValueError:
                continue
