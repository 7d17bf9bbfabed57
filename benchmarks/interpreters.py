"""The interpreters that a benchmark runs the gate on: its own, and another one by `--python`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass

_DESCRIBE = """
import platform, sysconfig
optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
print(platform.python_version(), "with" if optimized else "without")
"""
_TIMEOUT_S = 20


@dataclass(frozen=True)
class Interpreter:
    """`name`: its version; `build`: the same, and how it was configured."""

    program: str
    name: str
    build: str


def add_option(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--python",
        metavar="PROGRAM",
        help="another interpreter, which has the packages of the gate: run the gate on both",
    )


def interpreters(other: str | None) -> list[Interpreter]:
    """That of this process, and the other one if there is one."""
    return [_described(each) for each in (sys.executable, other) if each]


def _described(program: str) -> Interpreter:
    done = subprocess.run(
        [program, "-c", _DESCRIBE],
        check=True,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    version, how = done.stdout.split()
    name = f"Python {version}"
    return Interpreter(program, name, f"{name}, configured {how} --enable-optimizations")
