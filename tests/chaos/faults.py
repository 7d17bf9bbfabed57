"""Gates with one intentional fault, and gates with a wrong clock.

Rules. `make chaos-faults` must find every fault, which shows that the checks can fail. A wrong
clock is not a fault and must have no effect. A fault is one changed line of the gate. The gates of
such a run use a copy of the package with that line changed; the sources here are not touched.
"""

from __future__ import annotations

import compileall
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import gatekeeper
from gatekeeper.simulate.opening_promises import EARLY
from gatekeeper.simulate.pressure_promises import FLOODS, LURKERS, THROUGHPUT
from gatekeeper.simulate.verdict import FORGED_TOKENS, MAX_ACTIVE, ORDER, RATE, WATERMARK

_PACKAGE = Path(gatekeeper.__file__).parent
_SCRIPTS = "room/scripts/"
RELEASED_WHILE_HELD = "released while the queue was held"


@dataclass(frozen=True, slots=True)
class Fault:
    """`replacement` instead of `line`, everywhere in `file`.

    `breaks` is the name of a promise of the verdict, or `RELEASED_WHILE_HELD`, which only the admin
    listener shows. `calm`: the fault shows only without disruptions, which would excuse a fault of
    pace or of memory; an early opening too, since a loss of the store closes the room. `has_event`:
    the fault concerns events. The other runs have no event, which would leave too little time for
    their line.
    """

    breaks: str
    file: str
    line: str
    replacement: str
    calm: bool = False
    has_event: bool = False

    def is_found(self, *, broken: list[str], problems: tuple[str, ...]) -> bool:
        """Whether a run found this fault: `broken` are the names of its broken promises."""
        if self.breaks == RELEASED_WHILE_HELD:
            return any(RELEASED_WHILE_HELD in problem for problem in problems)
        return self.breaks in broken


FAULTS = {
    "rate is tripled": Fault(
        RATE, _SCRIPTS + "_admission.lua", "due * 1000 / 60", "due * 3000 / 60", calm=True
    ),
    "three slots too many": Fault(
        MAX_ACTIVE,
        _SCRIPTS + "_admission.lua",
        "return math.max(max_active - ",
        "return math.max(3 + max_active - ",
    ),
    "newcomers bypass the queue": Fault(
        ORDER,
        _SCRIPTS + "_admission.lua",
        "gate == 'rate' and waiting == 0 and level >= math.min(burst, 2) * UNIT",
        "gate == 'rate'",
    ),
    "returning visitors go to the end": Fault(
        ORDER,
        _SCRIPTS + "poll.lua",
        "call('ZADD', QUEUE, fmt(turn), visitor)",
        "s.last = s.last + 1 call('ZADD', QUEUE, fmt(s.last), visitor)",
    ),
    "releases do not wait for recovery": Fault(
        ORDER,
        _SCRIPTS + "_admission.lua",
        "if now < s.recovering_until then return 'closed', 0 end",
        "",
    ),
    "held queue is released": Fault(
        RELEASED_WHILE_HELD,
        _SCRIPTS + "_admission.lua",
        "if s.mode ~= 'auto' then return 'closed' end",
        "",
    ),
    "watermark is not written back": Fault(
        WATERMARK, _SCRIPTS + "join.lua", "known = { watermark = 9, ", "known = { "
    ),
    "unconfirmed newcomers are ranked": Fault(
        FLOODS,
        _SCRIPTS + "arrive.lua",
        "standing, free = fmt(waiting), free - 1",
        "standing, free = fmt(waiting), free - 1 call('ZADD', QUEUE, turn, visitor) "
        "call('HSET', DEADLINES, visitor, tenths(present + 20000000))",
        calm=True,
    ),
    "no-shows give nothing back": Fault(
        THROUGHPUT, _SCRIPTS + "_admission.lua", "give_back(s, costs)", "", calm=True
    ),
    "second missed release keeps the place": Fault(
        LURKERS,
        _SCRIPTS + "poll.lua",
        "local is_moved = moved_to > arrival",
        "local is_moved = false",
        calm=True,
    ),
    "an event opens before its start": Fault(
        EARLY,
        _SCRIPTS + "_admission.lua",
        "return (phase and phase ~= 'r' or undrawn(s) > 0) and 'closed' or 'rate'",
        "return 'rate'",
        calm=True,
        has_event=True,
    ),
    "a draw is by arrival": Fault(
        ORDER,
        "policy/schedule.py",
        "return draw.drawn_turn_us(",
        "return arrival_us or draw.drawn_turn_us(",
        has_event=True,
    ),
    "signatures are not verified": Fault(
        FORGED_TOKENS,
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
    """The environment variables of a process that runs the gate with this fault and clock."""
    with TemporaryDirectory(prefix="gk-fault-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(_WRONG_CLOCK.format(by_s=clock_error_s))
        if fault is not None:
            _copy_with(fault, folder)
        yield {"PYTHONPATH": os.pathsep.join((name, str(_PACKAGE.parent)))}


def _copy_with(fault: Fault, folder: Path) -> None:
    copy = folder / "gatekeeper"
    shutil.copytree(_PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("templates", "static"):
        (folder / name).symlink_to(_PACKAGE.parent / name)
    file = copy / fault.file
    file.write_text(apply_fault(file.read_text("utf-8"), fault), "utf-8")
    # Compiled once, instead of in each process while all of them start.
    compileall.compile_dir(copy, quiet=2)


def apply_fault(text: str, fault: Fault) -> str:
    """The text with the fault. Raises ValueError when the line does not exist."""
    if fault.line not in text:
        raise ValueError(f"{fault.file}: line {fault.line!r} not found")
    return text.replace(fault.line, fault.replacement)
