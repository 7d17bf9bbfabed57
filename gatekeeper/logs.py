"""Logs: one line per event, with fields, on standard error.

Rules. JSON, or colours on a terminal. No token, cookie, secret or query string is logged. Libraries
log through the same lines, warnings and errors only.
"""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logging(*, process: str, level: int = logging.INFO) -> None:
    """Configure this process's logs; `process` tells workers and supervisor apart."""
    on_terminal = sys.stderr.isatty()
    structlog.contextvars.bind_contextvars(process=process)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.StackInfoRenderer(),
            *([] if on_terminal else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Without this every malformed request prints a traceback; it gets a 400 and no log line.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # It reconnects by itself; `events_unreachable` and `events_recovered` log it once.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
