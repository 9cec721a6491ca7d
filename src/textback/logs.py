"""Structured logs: one event per line, with ids. Numbers are masked, bodies never get here."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import IO, Any

import structlog

from textback.core.phone import masked

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


def configure(level: str, *, pretty: bool, to: IO[str] | None = None) -> None:
    """Send our events and those of libraries through one formatter, to `to` or standard output."""
    out = to or sys.stdout
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if pretty
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These speak of every request they make, some with URLs that hold numbers.
    for talkative in ("httpx", "httpcore", "twilio.http_client", "uvicorn.access"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _mask(
    _logger: Any,  # noqa: ANN401 - structlog's signature
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """The last guard: whatever a library or a traceback says, no whole number leaves."""
    for key, value in event.items():
        if isinstance(value, str) and "+" in value:
            event[key] = _NUMBER.sub(lambda m: masked(m.group()), value)
    return event
