"""Control characters in texts from outside are escaped in logs, on a terminal and in JSON."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from gatekeeper import logs
from gatekeeper.printable import printable

HOSTILE = "\x1b[2J\x00\r\n\x7f\x9b31m\u2028\u202e\u2066\ud800"
ESCAPED = "\\u001b[2J\\u0000\\u000d\\u000a\\u007f\\u009b31m\\u2028\\u202e\\u2066\\ud800"


class Screen(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def start_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Screen]]:
    """Start a log on a screen, which is a terminal or not."""
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)

    def start(is_terminal: bool) -> Screen:
        screen = Screen(is_terminal=is_terminal)
        monkeypatch.setattr(logs, "_sampler", logs.Sampler())
        monkeypatch.setattr("sys.stderr", screen)
        logs.set_up_logging(process="test")
        return screen

    yield start
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.basicConfig(level=level, handlers=handlers, force=True)


def write_hostile_lines() -> None:
    log = structlog.get_logger()
    log.info("audit", who=HOSTILE, note=HOSTILE)
    log.error("reload_refused", problems=[HOSTILE])
    logging.getLogger("asyncio").error("%s", HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("admin_failed")
        logging.getLogger("asyncio").exception("task failed")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_log_escapes_control_characters(
    start_log: Callable[[bool], Screen], is_terminal: bool
) -> None:
    screen = start_log(is_terminal)
    write_hostile_lines()
    written = screen.getvalue()
    for raw in ("\x1b[2J", "\x00", "\r", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"):
        assert raw not in written, ascii(raw)
    if is_terminal:
        assert written.count(ESCAPED) == 3
        assert written.count("\\u009b31m\\u2028") == 5  # also in a list and two tracebacks
    else:
        lines = [json.loads(line) for line in written.split("\n") if line]
        assert len(lines) == 5
        assert (lines[0]["who"], lines[0]["note"]) == (HOSTILE, HOSTILE)


def test_printable_keeps_what_people_read() -> None:
    text = 'Zürich, 東京, مرحبا, می‌خواهم, 👩‍👧, \u00a0 \\ "'
    assert printable(text) == text
    assert printable(HOSTILE) == ESCAPED
    assert json.loads(f'"{printable(HOSTILE)}"') == HOSTILE
