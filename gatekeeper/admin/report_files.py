"""The minutes of the report on disk: one file per room and day, in `minutes` of the state folder.

Rules. A line is appended per minute and never changed. Files are synced every `_SYNC_EVERY_S`: a
power loss costs at most these minutes, as a gap. A truncated line damages no other: the next one
begins on a new line, and bad lines are skipped and counted. A file is deleted `_KEPT_S` after its
last line, and has at most `MAX_FILE_BYTES`. Process groups that share the folder append to
the same files.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gatekeeper.admin.report_minutes import MAX_LINE_BYTES, Minute, merged, parse_minute
from gatekeeper.config.types import RoomName

FOLDER = "minutes"
KEPT_DAYS = 8  # a week, and the day that it began in
MAX_FILE_BYTES = 4 * 1024 * 1024  # 2,900 bytes a minute
_DAY_S = 86_400
_KEPT_S = KEPT_DAYS * _DAY_S
_SYNC_EVERY_S = 15 * 60
_NAME = re.compile(r".+\.[0-9]{4}-[0-9]{2}-[0-9]{2}\.jsonl")


@dataclass(frozen=True, slots=True)
class StoredMinutes:
    """The minutes of a period, in order, and one sentence for each problem of reading."""

    minutes: list[Minute]
    problems: list[str]


class MinuteFiles:
    """The files of one state folder. Synchronous: call it in a thread."""

    def __init__(
        self,
        folder: Path,
        *,
        wall_s: Callable[[], float] = time.time,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._folder = folder / FOLDER
        self._wall_s = wall_s
        self._max_file_bytes = max_file_bytes
        self._cleaned_at_s = float("-inf")

    def append(self, minutes: Mapping[RoomName, Minute]) -> None:
        """Append a minute of each room. Raises OSError after trying all of them."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._delete_old()
        failure: OSError | None = None
        for room, minute in minutes.items():
            try:
                self._append(self._path(room, minute.at_s), minute)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def read(self, room: RoomName, *, since_s: float, until_s: float) -> StoredMinutes:
        """The minutes of a room that begin in a period."""
        found: list[Minute] = []
        problems: list[str] = []
        for path in self._days(room, since_s=since_s, until_s=until_s):
            bad = 0
            try:
                for line in _lines(path):
                    try:
                        found.append(parse_minute(line))
                    except ValueError:
                        bad += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"{FOLDER}/{path.name} cannot be read: {error.strerror}")
            if bad:
                lines = "1 line is" if bad == 1 else f"{bad} lines are"
                problems.append(f"{FOLDER}/{path.name}: {lines} damaged and left out")
        kept = [each for each in found if since_s <= each.at_s < until_s]
        return StoredMinutes(merged(kept), problems)

    def newest(self, room: RoomName) -> Minute | None:
        """The last minute of a room that was kept today."""
        try:
            with self._path(room, self._wall_s()).open("rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - 2 * MAX_LINE_BYTES, 0))
                lines = file.read().splitlines()
        except OSError:
            return None
        for line in reversed(lines):
            try:
                return parse_minute(line)
            except ValueError:
                continue
        return None

    def _append(self, path: Path, minute: Minute) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        try:
            size = os.fstat(file).st_size
            is_cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            line = (b"\n" if is_cut else b"") + minute.encode()
            if size + len(line) > self._max_file_bytes:
                raise OSError(0, f"{path.name} is full")
            if os.write(file, line) != len(line):
                raise OSError(0, "incomplete write")
            if minute.at_s % _SYNC_EVERY_S == 0:
                os.fdatasync(file)
        finally:
            os.close(file)

    def _path(self, room: RoomName, at_s: float) -> Path:
        day = datetime.fromtimestamp(at_s, UTC).date().isoformat()
        return self._folder / f"{room}.{day}.jsonl"

    def _days(self, room: RoomName, *, since_s: float, until_s: float) -> Iterator[Path]:
        first = int(since_s // _DAY_S)
        last = min(int(until_s // _DAY_S), first + KEPT_DAYS + 1)
        return (self._path(room, day * _DAY_S) for day in range(first, last + 1))

    def _delete_old(self) -> None:
        now_s = self._wall_s()
        if now_s - self._cleaned_at_s < _DAY_S / 24:
            return
        self._cleaned_at_s = now_s
        for path in self._folder.iterdir():
            try:
                if _NAME.fullmatch(path.name) and now_s - path.stat().st_mtime > _KEPT_S:
                    path.unlink()
            except OSError:
                continue  # another process group was first, or the operator has to remove it


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; one that is longer than any minute comes in pieces."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if line.strip():
                yield line
