"""An event loop with a simulated clock: a test that waits takes no time, on every machine.

Rules. A test marked `simulated_time` runs on it; client and server are in the test's own process.
The sockets are real. The clock does not advance while any callback or file is ready, and jumps to
the next timer otherwise. So no response is late on a slow machine, and a run is judged only by its
own clock. Code under test that reads the time of day receives `TimeOfDay`.
"""

from __future__ import annotations

import asyncio
import selectors
import time

# The kernel may deliver data to another socket of this process a moment later.
_DELIVERY_S = 0.000_1


class _Selector(selectors.DefaultSelector):
    """Skips the time in which no file is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            time.sleep(_DELIVERY_S)
            ready = super().select(0)
        if not ready:
            self.now_s += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its time of day starts at that of the machine."""

    def __init__(self) -> None:
        self._leaping = _Selector()
        self._began_ns = time.time_ns()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now_s

    def time_ns(self) -> int:
        """The time of day."""
        return self._began_ns + round(self.time() * 1e9)


class TimeOfDay:
    """The time of day by the clock of the running loop; replaces `time` in a module under test."""

    @staticmethod
    def time_ns() -> int:
        loop = asyncio.get_running_loop()
        return loop.time_ns() if isinstance(loop, SimulatedLoop) else time.time_ns()

    @staticmethod
    def time() -> float:
        return TimeOfDay.time_ns() / 1e9
