"""The files of the repository that are in git."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_TIMEOUT_S = 60


@cache
def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, timeout=_TIMEOUT_S, check=True
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


@cache
def modules() -> list[Path]:
    return [
        path
        for path in tracked()
        if name_of(path).startswith("gatekeeper/") and path.suffix == ".py"
    ]


@cache
def all_test_names() -> frozenset[str]:
    return frozenset(
        name
        for path in tracked()
        if name_of(path).startswith("tests/") and path.suffix == ".py"
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", text_of(path), re.MULTILINE)
    )


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
