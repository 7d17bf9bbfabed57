"""Ends a test that takes too long, with one thread per process.

pytest-timeout starts and joins a thread for each test, which costs more than most unit tests do. At
the timeout pytest-timeout's own action runs: it prints the stacks of all threads and ends the
process.
"""

import threading
import time

import pytest
from pytest_timeout import Settings, timeout_timer  # type: ignore[import-untyped]

_EVERY_S = 1.0


class Watchdog:
    """Watches the latest test until it ends."""

    def __init__(self) -> None:
        self._watched: tuple[float, pytest.Item, Settings] | None = None
        self._thread: threading.Thread | None = None

    def begin(self, item: pytest.Item, settings: Settings) -> None:
        self._watched = time.monotonic() + settings.timeout, item, settings
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def end(self) -> None:
        self._watched = None

    def _watch(self) -> None:
        while True:
            time.sleep(_EVERY_S)
            watched = self._watched
            if watched is not None and time.monotonic() >= watched[0]:
                timeout_timer(watched[1], watched[2])
