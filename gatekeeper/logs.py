"""Logs: one line an event, with fields, on standard error.

Rules. JSON unless a person is looking. Never a token, a cookie, a secret or a query string.
Libraries speak through the same lines, and only when something is wrong with them.
"""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logging(*, process: str, level: int = logging.INFO) -> None:
    """Configure this process's logs; `process` tells workers and supervisor apart."""
    for_people = sys.stderr.isatty()
    structlog.contextvars.bind_contextvars(process=process)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.StackInfoRenderer(),
            *([] if for_people else [structlog.processors.format_exc_info]),
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
    # Every malformed request would print a traceback here; they are answered with 400 and no more.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # Reconnecting is its normal way; `events_unreachable` and `events_recovered` log it once.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
