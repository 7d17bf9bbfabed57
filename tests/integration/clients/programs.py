"""Finds and runs programs that are clients of a gate."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from tests.gates import Gate

_TIMEOUT_S = 60.0


def program(name: str, package: str) -> str:
    """The path of a program; `package` is Debian's."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"these tests need {name} (Debian: apt-get install {package})")
    return found


async def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program in `folder` until it ends, without the settings of the user."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=kept | {"HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


async def newcomers(gate: Gate) -> int:
    """How many visitors have arrived in the test's room."""
    await gate.queue.advance()
    state = gate.room().view.state
    assert state is not None
    return state.arrived_total
