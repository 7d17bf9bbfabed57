"""Which exits may be caused by damaged files, and the files that are set aside."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gatekeeper.process.damaged_files import (
    forget_oldest,
    may_be_damaged,
    put_back,
    set_aside,
)

NOW = datetime(2026, 12, 1, 10, 0, 0, tzinfo=UTC)
BAD = "1:M # Bad file format reading the append only file appendonly.aof.2.incr.aof"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a store that exited."""
    for name in ("lock", "server.log", "server.log.old", "store.sock", "dump.rdb"):
        (tmp_path / name).write_text(name)
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "manifest").write_text("of the log")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("code", [1, 2, 255, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS])
def test_failure_with_files_may_be_damage(home: Path, code: int) -> None:
    assert may_be_damaged(home, code=code, log=BAD)


@pytest.mark.parametrize(
    ("code", "log"),
    [
        (0, BAD),
        (-signal.SIGKILL, ""),
        (-signal.SIGTERM, BAD),
        (-signal.SIGINT, ""),
        (1, "Can't open the append-only file: No space left on device"),
        (1, "Can't open or create append-only dir: Permission denied"),
        (1, "Error: Read-only file system"),
        (1, "Disk quota exceeded"),
        (1, "Opening socket: Too many open files"),
    ],
)
def test_other_exits_are_no_damage(home: Path, code: int, log: str) -> None:
    assert not may_be_damaged(home, code=code, log=log)


def test_store_without_files_has_no_damage(tmp_path: Path) -> None:
    for name in ("lock", "server.log", "damaged-20261201T100000Z"):
        (tmp_path / name).write_text("")
    assert not may_be_damaged(tmp_path, code=1, log=BAD)


def test_files_are_set_aside_under_a_dated_name(home: Path) -> None:
    folder = set_aside(home, now=NOW)
    assert folder == home / "damaged-20261201T100000Z"
    assert names(folder) == {"appendonlydir", "dump.rdb", "server.log"}
    assert (folder / "appendonlydir" / "manifest").read_text() == "of the log"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert names(home) == {"lock", "server.log", "server.log.old", "store.sock", folder.name}
    (home / "dump.rdb").write_text("the next one")
    again = set_aside(home, now=NOW)
    assert again == home / "damaged-20261201T100000Z-2"
    assert names(again) == {"dump.rdb", "server.log"}


def test_files_are_put_back_over_empty_ones(home: Path) -> None:
    folder = set_aside(home, now=NOW)
    (home / "appendonlydir").mkdir()
    (home / "appendonlydir" / "empty").write_text("")
    put_back(folder)
    assert names(home) == {
        *("lock", "server.log", "server.log.old", "store.sock"),
        *("dump.rdb", "appendonlydir"),
    }
    assert names(home / "appendonlydir") == {"manifest"}


def test_newest_folders_are_kept(home: Path) -> None:
    for day in range(1, 8):
        (home / "dump.rdb").write_text("")
        folder = set_aside(home, now=datetime(2026, 12, day, tzinfo=UTC))
        os.utime(folder, (day, day))
        forget_oldest(home)
    assert {name for name in names(home) if name.startswith("damaged-")} == {
        *("damaged-20261205T000000Z", "damaged-20261206T000000Z", "damaged-20261207T000000Z")
    }
