"""What libraries log goes where our own log goes, in the same shape."""

from __future__ import annotations

import logging

import structlog


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Hands a line on. Lost connections are everyday business of Kafka's client, so it has no traceback of its own."""
        try:
            structlog.get_logger(record.name).log(record.levelno, record.getMessage(), logger=record.name)
        except Exception:
            self.handleError(record)


def adopt_library_logs() -> None:
    """Takes over what libraries say from warnings on."""
    root = logging.getLogger()
    root.handlers = [_ToStructlog(logging.WARNING)]
    root.setLevel(logging.WARNING)
