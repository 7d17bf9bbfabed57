"""The distribution of test files over the processes of one run, and their order.

Rules: a file is run by one process. The browser tests are two units, so that a run has two
Chromiums for any number of processes. The long files start first, so that no process ends alone
with one; those that compute and those that mostly wait take turns, so that the cores have work at
any time.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import pytest

_BROWSER = "tests/browser/"
_BROWSERS = 2
_BROWSER_FILES = sorted(path.name for path in Path(__file__).parent.glob("browser/test_*.py"))
_LONG = (
    ("tests/property/test_room_machine.py",),
    (_BROWSER,),
    (
        "tests/chaos/",
        "tests/integration/failure/",
        "tests/integration/replicas/",
        "tests/integration/simulate/",
    ),
)


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def ranks(files: list[str]) -> dict[str, tuple[int, int]]:
    """The rank of each file: the first of each kind of `_LONG`, the second of each, …, then the
    others in their order."""
    found: dict[str, tuple[int, int]] = {}
    for kind, folders in enumerate(_LONG):
        long = [file for file in files if file.startswith(folders)]
        found |= {file: (rank, kind) for rank, file in enumerate(long)}
    others = count(len(files))
    return {file: found.get(file) or (next(others), 0) for file in files}


class FilesOnProcesses(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """`--dist loadfile`, with the browser tests in two units."""

    def _split_scope(self, nodeid: str) -> str:
        file = file_of(nodeid)
        if not file.startswith(_BROWSER):
            return file
        return f"{_BROWSER}{_BROWSER_FILES.index(Path(file).name) % _BROWSERS}"


def order(items: list[pytest.Item]) -> None:
    """Sort `items` by the rank of their files."""
    by_file = ranks(list(dict.fromkeys(file_of(item.nodeid) for item in items)))
    items.sort(key=lambda item: by_file[file_of(item.nodeid)])
