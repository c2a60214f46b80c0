"""The service's log on standard error, and what libraries say in the same shape."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from front.settings import Settings


def configure(settings: Settings) -> None:
    """Sets up the log of this process."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer: Any = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if settings.log_format == "json" else _as_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _adopt_libraries()


def _as_is(_: Any, __: str, event: Any) -> Any:
    return event


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Hands a line on. Lost connections are everyday business of Kafka's client, so it has no traceback of its own."""
        try:
            structlog.get_logger(record.name).log(record.levelno, record.getMessage(), logger=record.name)
        except Exception:
            self.handleError(record)


def _adopt_libraries() -> None:
    root = logging.getLogger()
    root.handlers = [_ToStructlog(logging.WARNING)]
    root.setLevel(logging.WARNING)
