"""An event loop on a simulated clock: a test that waits takes no time, whatever the machine does.

Rules. A test marked `simulated_time` runs on it; client and server are in the test's own process.
Real sockets, but the clock stands still while anything is ready, and leaps to the next timer when
nothing is. So a slow machine makes no response late, and a run is judged by its own clock alone.
Code under test that reads the time of day is given `TimeOfDay`.
"""

from __future__ import annotations

import asyncio
import selectors
import time

# The kernel may deliver what was sent to another socket of this process a moment later.
_DELIVERY_S = 0.000_1


class _Selector(selectors.DefaultSelector):
    """Leaps over the time in which no file is ready."""

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
    """Its time of day begins with that of the machine."""

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
    """By the clock of the running loop; takes the place of `time` in a module under test."""

    @staticmethod
    def time_ns() -> int:
        loop = asyncio.get_running_loop()
        return loop.time_ns() if isinstance(loop, SimulatedLoop) else time.time_ns()

    @staticmethod
    def time() -> float:
        return TimeOfDay.time_ns() / 1e9
