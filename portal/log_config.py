"""The format of log lines. Ours, gunicorn's, Celery's and Python's warnings each take one line on standard error.

structlog renders our lines before Python's logging sees them. That takes a third less time than the other way round, and
a busy worker writes a line for each email.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any

import structlog

from portal.logs import OneLine, WithoutLinks, console_line

_BEFORE_RENDERING: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]


def log_config(log_format: str, level: str) -> dict[str, Any]:
    """Configure structlog, and return what Python's logging needs to write other libraries' lines likewise."""
    json = log_format == "json"
    plain: Any = structlog.processors.JSONRenderer() if json else OneLine(console_line)
    renderer = WithoutLinks(plain)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_BEFORE_RENDERING, renderer, _mark_as_rendered],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # No line names the code, thread or process that wrote it, and to ask for them takes a quarter of a line's time.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    # The documented setup on one machine needs no TLS. If TLS is needed, `check --deploy` says so.
    warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS", UserWarning)
    if json:
        _log_uncaught_exceptions()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"one_line": {"()": OneLineFormatter, "renderer": renderer}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "one_line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Their own handlers would write each line twice.
            **{name: {"handlers": [], "propagate": True} for name in ("django", "django.server", "gunicorn.error")},
            "django.request": {"level": "ERROR"},  # request_finished says what was refused
            "gunicorn.access": {"handlers": [], "propagate": True, "level": "WARNING"},  # request_finished says it
            "mail.log": {"level": "ERROR"},  # aiosmtpd's session chatter
            # Two lines for each hint, and one for each of beat's.
            **{name: {"level": "WARNING"} for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat")},
        },
    }


class OneLineFormatter(logging.Formatter):
    """Renders the records of other libraries like our own, which are already rendered."""

    def __init__(self, renderer: Any) -> None:
        super().__init__()
        self._renderer = renderer

    def format(self, record: logging.LogRecord) -> str:
        if getattr(record, "rendered", False):
            return str(record.msg)
        event: Any = {"event": record.getMessage().strip()}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        logger = logging.getLogger(record.name)
        for process in (*_BEFORE_RENDERING, self._renderer):
            event = process(logger, record.levelname.lower(), event)
        return str(event)


def _mark_as_rendered(logger: object, method: str, text: Any) -> tuple[tuple[str], dict[str, Any]]:
    return (text,), {"extra": {"rendered": True}}


def _log_uncaught_exceptions() -> None:
    """Log uncaught exceptions in one line. A traceback would take several."""
    log = structlog.get_logger(__name__)
    sys.excepthook = lambda *exc_info: log.critical("uncaught_exception", exc_info=exc_info)
    threading.excepthook = lambda args: log.critical(
        "uncaught_exception_in_thread",
        thread=args.thread.name if args.thread else "",
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )
