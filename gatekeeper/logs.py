"""Logs: one line per event, with fields, on standard error.

Rules. JSON, or colours on a terminal. No token, cookie, secret or query string is logged. Libraries
log through the same lines, warnings and errors only. Control characters in a field are escaped: in
JSON by its own rules, on a terminal by `printable`. A client or a failing origin can cause an
event with every request, so every kind of line is rate-limited: `Sampler` passes some and counts
the others. Only the lines of the audit log are never dropped; it limits them itself.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from io import StringIO
from time import monotonic
from typing import Any, Final, TextIO

import structlog

from gatekeeper.printable import printable

MAX_LINES: Final = 10  # of one kind, per period
PERIOD_S: Final = 10.0
_MAX_KINDS = 256  # libraries may put values into their messages
_NEVER_DROPPED = frozenset({"audit"})


@dataclass(slots=True)
class _Period:
    """The lines of one kind since `began_s`."""

    began_s: float
    lines: int = 0
    suppressed: int = 0


class Sampler:
    """Passes `MAX_LINES` lines of each kind in each period, and counts the others."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._periods: dict[Hashable, _Period] = {}

    def pass_line(self, kind: Hashable) -> int | None:
        """Whether to write a line of this kind. None: drop it. Else write it, with the number of
        lines of its kind that were dropped since the last number."""
        now_s = self._clock()
        if kind not in self._periods and len(self._periods) >= _MAX_KINDS:
            kind = "other"
        period = self._periods.setdefault(kind, _Period(now_s))
        suppressed = 0
        if now_s - period.began_s >= PERIOD_S:
            suppressed = period.suppressed
            period.began_s, period.lines, period.suppressed = now_s, 0, 0
        if period.lines >= MAX_LINES:
            period.suppressed += 1
            return None
        period.lines += 1
        return suppressed

    def take_suppressed(self) -> list[tuple[Hashable, int]]:
        """The kinds with lines dropped in a period that is over, each with the number."""
        now_s = self._clock()
        over = [
            (kind, period)
            for kind, period in self._periods.items()
            if now_s - period.began_s >= PERIOD_S
        ]
        for kind, _ in over:
            del self._periods[kind]
        return [(kind, period.suppressed) for kind, period in over if period.suppressed]

    def __call__(
        self, _logger: object, _method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Processor of structlog: drops or passes a line."""
        if line["event"] in _NEVER_DROPPED:
            return line
        suppressed = self.pass_line((line["event"], line.get("room", "")))
        if suppressed is None:
            raise structlog.DropEvent
        if suppressed:
            line["suppressed"] = suppressed
        return line

    def filter(self, record: logging.LogRecord) -> bool:
        """Filter of the standard library's loggers."""
        suppressed = self.pass_line((record.name, record.msg))
        if suppressed:
            record.msg, record.args = f"{record.getMessage()} (suppressed={suppressed})", ()
        return suppressed is not None


_sampler = Sampler()


def log_suppressed() -> None:
    """Log how many lines were dropped in periods that are over. Called about once a second."""
    for kind, suppressed in _sampler.take_suppressed():
        event, where = kind if isinstance(kind, tuple) else (kind, "")
        structlog.get_logger().warning(
            "log_lines_suppressed", of=event, room=where or None, suppressed=suppressed
        )


def _as_json(line: object, **options: Any) -> str:
    return printable(json.dumps(line, **options))  # JSON does not escape DEL


def _escape_fields(
    _logger: object, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Processor of structlog that escapes fields for a terminal."""
    return {
        key: printable(value) if isinstance(value, str) else value for key, value in line.items()
    }


def _print_traceback(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write the traceback; its last line is the text of the error."""
    traceback = StringIO()
    structlog.dev.plain_traceback(traceback, exc_info)
    output.write("\n".join(map(printable, traceback.getvalue().split("\n"))))


def set_up_logging(*, process: str, level: int = logging.INFO) -> None:
    """Configure this process's logs; `process` distinguishes workers and supervisor."""
    on_terminal = sys.stderr.isatty()
    structlog.contextvars.bind_contextvars(process=process)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.typing.Processor] = (
        [_escape_fields, structlog.dev.ConsoleRenderer(exception_formatter=_print_traceback)]
        if on_terminal
        else [structlog.processors.JSONRenderer(serializer=_as_json)]
    )
    structlog.configure(
        processors=[
            _sampler,
            *shared,
            structlog.processors.StackInfoRenderer(),
            *([] if on_terminal else [structlog.processors.format_exc_info]),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    handler.addFilter(_sampler.filter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Without this every malformed request prints a traceback; it gets a 400 and no log line.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # It reconnects by itself; `events_unreachable` and `events_recovered` are logged once each.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
