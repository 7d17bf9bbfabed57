"""Gates that are broken on purpose, and gates whose machine's clock is wrong.

Rules. A check that cannot fail is none, so chaos has to find every fault; a wrong clock is none,
and must show nowhere. A fault is a line of the gate said wrongly. The gates of such a run are the
package copied to a folder with that line changed; nothing here changes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import gatekeeper
from gatekeeper.simulate.verdict import NO_LIE_COUNTS

_PACKAGE = Path(gatekeeper.__file__).parent


@dataclass(frozen=True, slots=True)
class Fault:
    """`instead` of `line`, wherever it stands in `file`, which breaks a promise of the verdict, or
    that of a hold, which only the operator can see."""

    breaks: str
    file: str
    line: str
    instead: str


_SCRIPTS = "room/scripts/"
MOVED_WHILE_HELD = "released while the line was held"
_ORDER = "first come, first served"
_RATE = "never above rate and burst"
_SLOTS = "never more than max_active inside"
_WATERMARK = "the watermark never falls"
FAULTS = {
    "three times as many fall due": Fault(
        _RATE, _SCRIPTS + "_room.lua", "elapsed * rate * 1000 / 60", "elapsed * rate * 3000 / 60"
    ),
    "three slots too many": Fault(
        _SLOTS,
        _SCRIPTS + "_room.lua",
        "local free = max_active - ",
        "local free = 3 + max_active - ",
    ),
    "newcomers do not look at the line": Fault(
        _ORDER, _SCRIPTS + "arrive.lua", " and waiting == 0 then", " then"
    ),
    "who returns goes to the end": Fault(
        _ORDER,
        _SCRIPTS + "poll.lua",
        "call('ZADD', QUEUE, fmt(turn), visitor)",
        "s.last = s.last + 1 call('ZADD', QUEUE, fmt(s.last), visitor)",
    ),
    "a loss is not recovered from": Fault(
        _ORDER,
        _SCRIPTS + "_room.lua",
        "local is_recovering = now < s.recovering_until",
        "local is_recovering = false",
    ),
    "a held line moves on": Fault(
        MOVED_WHILE_HELD,
        _SCRIPTS + "_room.lua",
        "if s.mode ~= 'auto' then return 'closed', 0 end",
        "",
    ),
    "the watermark is forgotten": Fault(
        _WATERMARK, _SCRIPTS + "join.lua", "known = { watermark = 7, ", "known = { "
    ),
    "any signature will do": Fault(
        NO_LIE_COUNTS,
        "policy/tokens.py",
        "if not hmac.compare_digest(",
        "if False and not hmac.compare_digest(",
    ),
}


_WRONG_CLOCK = """import time
time.time = lambda right=time.time: right() + {by_s}
time.monotonic = lambda right=time.monotonic: right() - {by_s} / 3
"""


@contextmanager
def environment(fault: Fault | None, *, clock_error_s: float) -> Iterator[dict[str, str]]:
    """In which a process runs the gate with this fault, and takes its own clocks for right."""
    with TemporaryDirectory(prefix="gk-fault-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(_WRONG_CLOCK.format(by_s=clock_error_s))
        if fault is not None:
            _copy(folder, fault)
        yield {"PYTHONPATH": name}


def _copy(folder: Path, fault: Fault) -> None:
    broken = folder / "gatekeeper"
    shutil.copytree(_PACKAGE, broken, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("templates", "static"):
        (folder / name).symlink_to(_PACKAGE.parent / name)
    file = broken / fault.file
    file.write_text(changed(file.read_text("utf-8"), fault), "utf-8")


def changed(text: str, fault: Fault) -> str:
    """Raises ValueError when the line is not there any more."""
    if fault.line not in text:
        raise ValueError(f"{fault.file} has no {fault.line!r}")
    return text.replace(fault.line, fault.instead)
