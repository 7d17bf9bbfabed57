"""The work of a call as a number that is the same on every machine and in every run."""

import gc
import sys
from collections.abc import Callable
from types import FrameType


def calls_of(do: Callable[[], object]) -> int:
    """The number of function calls, in Python and in C, that `do` makes. No garbage of other tests
    is collected meanwhile: finalizers and callbacks of a collection call functions too."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    previous, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(previous)
        if collects:
            gc.enable()
    return count
