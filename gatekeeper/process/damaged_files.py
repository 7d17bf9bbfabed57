"""Files with which an embedded server does not start: set aside, so that it starts empty.

Rules. Only folders set aside earlier are deleted, except for the newest `_MAX_KEPT`. A server that
exits because a resource is missing, or by an external signal, has no damaged files. If the server
does not start with an empty folder either, it gets its files back: they are not the cause. A caller
holds the lock of the folder while files move.

    <state folder>/store/damaged-20261201T100000Z/    appendonlydir/  server.log
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

_PREFIX = "damaged-"
_KEPT = frozenset({"lock", "server.log", "server.log.old", "store.sock"})
_LOG = "server.log"
_MANIFEST = "appendonly.aof.manifest"
_MAX_KEPT = 3
# A server may crash on damaged data. Other signals are external: by an operator, or by the kernel's
# OOM killer.
_CRASHES = frozenset(
    -number
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
)
_NO_DAMAGE = (
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Permission denied",
    "Operation not permitted",
    "Too many open files",
)


def may_be_damaged(home: Path, *, code: int, log: str) -> bool:
    """Whether a server that exited with `code` at its start may have done so because of its files;
    `log` is its output."""
    is_failure = code > 0 or code in _CRASHES
    return is_failure and not any(text in log for text in _NO_DAMAGE) and any(_data(home))


def lacks_manifest(home: Path) -> bool:
    """Whether the append-only log of Valkey or Redis has files and no manifest that lists them: the
    server would start empty without an error, and write over them."""
    files = [path.name for path in home.glob("appendonlydir/*")]
    return bool(files) and _MANIFEST not in files


def set_aside(home: Path, *, now: datetime | None = None) -> Path:
    """Move the server's files, and its log, to a new folder with a dated name; the folder."""
    name = f"{_PREFIX}{now or datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    folder, number = home / name, 1
    while folder.exists():
        number += 1
        folder = home / f"{name}-{number}"
    files = [*_data(home)]
    folder.mkdir(mode=0o700)
    with suppress(FileNotFoundError):
        shutil.copyfile(home / _LOG, folder / _LOG)
    for file in files:
        file.rename(folder / file.name)
    return folder


def put_back(folder: Path) -> None:
    """Undo `set_aside`; the empty files that the server created meanwhile are deleted."""
    home = folder.parent
    for file in [*_data(home)]:
        _delete(file)
    for file in [*_data(folder)]:
        file.rename(home / file.name)
    _delete(folder)


def forget_oldest(home: Path) -> None:
    """Delete all but the newest folders that were set aside."""
    folders = [path for path in home.glob(f"{_PREFIX}*") if path.is_dir()]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime)[:-_MAX_KEPT]:
        _delete(folder)


def _data(home: Path) -> Iterator[Path]:
    """The server's own files in its folder."""
    return (
        path
        for path in home.iterdir()
        if path.name not in _KEPT and not path.name.startswith(_PREFIX)
    )


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
