"""The audit log: each change with its operator, time, old and new value, and client address.

Rules. An entry is one JSON line in `audit.jsonl` of the state folder, appended and synced before
the response is sent, and one event of the structured log. Process groups that share a folder share
the files (`audit_files`); each shows the entries of the files at its start and its own since. A
disk error does not stop a change: the log and the control room report it.

Refused attempts are entries too, up to `_REFUSED_BURST` at once and one per `_REFUSED_INTERVAL_S`;
an entry counts the attempts that were suppressed before it. They are kept apart, on disk in
`audit-refused.jsonl` and in memory, and are at most a quarter of a list while there are changes to
show: attempts never evict a change.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import structlog

from gatekeeper.admin.audit_files import LineFiles
from gatekeeper.printable import printable

Value = str | int | float | None
Outcome = Literal["done", "refused", "failed"]

MAX_ENTRIES = 500
_FILE, _REFUSED_FILE = "audit.jsonl", "audit-refused.jsonl"
_MAX_FILE_BYTES = 4 * 1024 * 1024
_ROTATED_FILES, _ROTATED_REFUSED_FILES = 4, 1
_REFUSED_BURST, _REFUSED_INTERVAL_S = 10, 6.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Entry:
    """One change or attempt. `before` and `after` are the fields `from` and `to` in the file."""

    at: str  # RFC 3339, UTC
    who: str
    what: str
    address: str = ""  # None for a signal
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
    try:
        raw = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(raw, dict):
        raise ValueError("expected an object")  # noqa: TRY004  one error for every line that is not an entry
    values = raw.pop("from", None), raw.pop("to", None)
    if not all(isinstance(value, str) for value in raw.values()):
        raise ValueError("expected texts")
    if not all(isinstance(value, str | int | float | None) for value in values):
        raise ValueError("expected single values")
    if not all(math.isfinite(value) for value in values if isinstance(value, int | float)):
        raise ValueError("expected numbers")  # NaN and Infinity are not JSON for a browser
    try:
        return Entry(**raw, before=values[0], after=values[1])
    except TypeError as error:
        raise ValueError(str(error)) from error


class _NumberedEntry(NamedTuple):
    """An entry with its sequence number since the start, which orders entries even if the clock
    jumps."""

    number: int  # 0: from the files
    entry: Entry


class AuditLog:
    """The audit log of one process group, in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        wall_s: Callable[[], float] = time.time,
        max_file_bytes: int = _MAX_FILE_BYTES,
    ) -> None:
        self._files = LineFiles(folder / _FILE, max_bytes=max_file_bytes, rotated=_ROTATED_FILES)
        self._refused_files = LineFiles(
            folder / _REFUSED_FILE, max_bytes=max_file_bytes, rotated=_ROTATED_REFUSED_FILES
        )
        self._wall_s = wall_s
        self._write_lock = asyncio.Lock()
        # Files of earlier releases contain both kinds.
        kept = list(_entries(self._files.newest_lines(MAX_ENTRIES)))
        kept += _entries(self._refused_files.newest_lines(MAX_ENTRIES))
        self._changes: deque[_NumberedEntry] = deque(maxlen=MAX_ENTRIES)
        self._refused: deque[_NumberedEntry] = deque(maxlen=MAX_ENTRIES)
        for entry in kept:
            self._list_of(entry).append(_NumberedEntry(0, entry))
        self._refused_tokens = float(_REFUSED_BURST)
        self._refused_at_s = wall_s()
        self._unwritten = 0
        self._suppressed = 0
        self._started = f"{wall_s():.3f}"
        self._count = 0  # entries since the start

    def newest(self, limit: int = MAX_ENTRIES, *, room: str | None = None) -> list[Entry]:
        """Up to `limit` entries, the newest first, of one room or of all."""
        changes, refused = (
            [each for each in reversed(entries) if room in (None, each.entry.room)]
            for entries in (self._changes, self._refused)
        )
        attempts = refused[: max(limit // 4, limit - len(changes))]
        both = attempts, changes[: limit - len(attempts)]
        merged = heapq.merge(*both, key=lambda each: (each.number, each.entry.at), reverse=True)
        return [each.entry for each in merged]

    def between(self, since_s: float, until_s: float, *, room: str, limit: int) -> list[Entry]:
        """The newest `limit` changes of a period, of a room and of the whole gate, oldest first,
        without refused attempts. Reads the files: call it in a thread."""
        found = (
            entry
            for entry in _entries(self._files.lines())
            if entry.room in ("", room)
            and not _is_refused(entry)
            and since_s <= _at_s(entry) < until_s
        )
        return list(deque(found, maxlen=limit))

    @property
    def mark(self) -> str:
        """The version of the log, which changes with every entry and every restart."""
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
        self._count += 1
        self._list_of(entry).append(_NumberedEntry(self._count, entry))
        log.info("audit", **entry.as_json())
        files = self._refused_files if _is_refused(entry) else self._files
        async with self._write_lock:
            try:
                await asyncio.to_thread(files.append, _encoded(entry))
            except OSError as error:
                self._unwritten += 1
                log.error("audit_write_failed", error=error.strerror)  # noqa: TRY400

    def _list_of(self, entry: Entry) -> deque[_NumberedEntry]:
        return self._refused if _is_refused(entry) else self._changes

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


def _encoded(entry: Entry) -> bytes:
    text = json.dumps(entry.as_json(), ensure_ascii=False, separators=(",", ":"))
    return printable(text).encode() + b"\n"


def _entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries among the lines. A damaged line is skipped."""
    for line in lines:
        try:
            yield parse_entry(line)
        except ValueError:
            continue


def _is_refused(entry: Entry) -> bool:
    return entry.outcome == "refused"


def _at_s(entry: Entry) -> float:
    """The time of an entry; outside every period if it is malformed."""
    try:
        at = datetime.fromisoformat(entry.at)
    except (TypeError, ValueError):
        return -1.0
    return at.timestamp() if at.tzinfo is not None else -1.0
